from __future__ import annotations

from kproxy.dns import feed
from kproxy.dns.tally import Tally
from tests.dns.cluster import gone, namespace, service, slice_

CHANGES = [
    service("shop/web", "10.96.0.1", on=["http/TCP/80"]),
    slice_("shop/web-1", "web", "10.0.0.1=a", "10.0.0.2", on=["http/TCP/8080"]),
    namespace("shop"),
    gone("Service", "shop/old"),
]
ITEMS = [feed.encode_object(change) for change in CHANGES]


def test_changes_arrive_as_they_were() -> None:
    reader = feed.FrameReader(feed.ToWorker)
    messages = [message for data in feed.encode_changes(ITEMS * 60, 7) for message in reader.feed(data)]
    assert len(messages) == 3
    assert [
        change for message in messages if isinstance(message, feed.Changes) for change in feed.decode_changes(message)
    ] == CHANGES * 60
    assert all(isinstance(message, feed.Changes) and message.serial == 7 for message in messages)


def test_big_objects_are_sent_one_by_one() -> None:
    big = feed.encode_object(slice_("shop/big-1", "big", *[f"10.{n >> 8}.{n & 255}.1=pod-{n}" for n in range(1000)]))
    sent = [feed.encode_object(change) for change in CHANGES] + [big] * 3
    messages = [
        message for data in feed.encode_changes(sent, 7) for message in feed.FrameReader(feed.ToWorker).feed(data)
    ]
    assert [len(message.items) for message in messages if isinstance(message, feed.Changes)] == [5, 1, 1]


def test_one_octet_at_a_time() -> None:
    sent: list[feed.Message] = [
        feed.Setup({"domain": "cluster.local"}, [("192.0.2.1", 53)]),
        feed.Listen([feed.Listening("udp", "dns://127.0.0.1:53")]),
        feed.Mark(3, synced=True),
        feed.Upstreams([]),
        feed.Drain(),
    ]
    reader = feed.FrameReader(feed.ToWorker)
    data = b"".join(map(feed.encode, sent))
    assert [message for at in range(len(data)) for message in reader.feed(data[at : at + 1])] == sent


def test_counts_come_back() -> None:
    tally = Tally(feed.Listening("udp", "dns://127.0.0.1:53"), 1)
    tally.answered(0.0003, taken=5, answered=4)
    counts = feed.Counts(tally.take_replies({}), [tally.take_durations()], {"lost": 1}, {})
    (heard,) = feed.FrameReader(feed.FromWorker).feed(feed.encode(counts))
    assert heard == counts
    assert counts.samples[0].buckets[:3] == [0, 4, 0]
