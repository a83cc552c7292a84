from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.kube import stream, wire
from kproxy.kube.stream import (
    Arrived,
    Bookmark,
    Event,
    Failure,
    Gone,
    Refused,
    StreamBroken,
    WatchStream,
    read_list,
    read_status,
)
from tests.kube import texts
from tests.kube.texts import bookmark, line, page, service


def web(ip: str = "10.96.0.1", name: str = "web") -> wire.Service:
    """What `texts.service` means, without its resourceVersion."""
    return wire.Service(
        wire.ObjectMeta(name, "default", creation_timestamp="2026-01-01T00:00:00Z"),
        wire.ServiceSpec(cluster_ip=ip, cluster_ips=[ip], ports=[wire.ServicePort(80, protocol="TCP")]),
        wire.ServiceStatus(wire.LoadBalancerStatus()),
    )


def wrong(name: str = "bad", version: int = 4) -> dict[str, Any]:
    obj = service(name, version)
    obj["spec"]["ports"][0]["port"] = "eighty"
    return obj


NAMELESS = {"kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "8"}}

CASES: list[tuple[str, bytes, Event]] = [
    ("added", line("ADDED", service("web", 2)), Arrived("default/web", web(), "2")),
    ("modified", line("MODIFIED", service("web", 3, "10.96.0.9")), Arrived("default/web", web("10.96.0.9"), "3")),
    ("deleted", line("DELETED", service("web", 4)), Gone("default/web", "4")),
    ("deleted, what is left of it is wrong", line("DELETED", wrong("web", 4)), Gone("default/web", "4")),
    ("bookmark", bookmark(7), Bookmark("7", initial_end=False)),
    ("end of the initial events", bookmark(7, end=True), Bookmark("7", initial_end=True)),
    ("expired", line("ERROR", texts.EXPIRED), Failure(410, "Expired", "too old resource version: 5 (9)")),
    (
        "too many requests",
        line("ERROR", texts.status(429, "TooManyRequests", "storage is (re)initializing", 3)),
        Failure(429, "TooManyRequests", "storage is (re)initializing", 3.0),
    ),
    ("an error that is none", line("ERROR", {"kind": "Odd"}), Failure(0)),
    ("carriage return", line("ADDED", service("web", 2)).replace(b"\n", b"\r\n"), Arrived("default/web", web(), "2")),
    (
        "null for absent",
        line("ADDED", {**service("web", 2), "status": {"loadBalancer": {"ingress": None}}}),
        Arrived("default/web", web(), "2"),
    ),
]

REFUSALS = [
    ("a wrong type", line("ADDED", wrong()), "default/bad", "Service default/bad: spec.ports[0].port: ", "4"),
    (
        "not UTF-8 in a field that is read",
        line("ADDED", service("web", 5, "10.96.0.1")).replace(b'"10.96.0.1", "clusterIPs"', b'"\xff", "clusterIPs"'),
        "default/web",
        "Service default/web: not UTF-8",
        "5",
    ),
    ("another kind", line("ADDED", texts.node("n1", 6)), "", "Service: kind: not a Service", "6"),
    ("no name", line("ADDED", NAMELESS), "", "Service (no name): metadata.name: missing", "8"),
]

BROKEN = [
    ("not JSON", b"<html>502 Bad Gateway</html>\n"),
    ("half an event", line("ADDED", service("web"))[:40] + b"\n"),
    ("no event", b"[]\n"),
    ("bookmark without metadata", b'{"type":"BOOKMARK","object":{}}\n'),
]


def feed(data: bytes, size: int = 0, kind: str = "Service") -> list[Event]:
    """All events of some bytes, fed in chunks of `size` (0: at once)."""
    watch = WatchStream(kind)
    return [
        event
        for start in range(0, len(data), size or len(data))
        for event in watch.feed(data[start : start + (size or len(data))])
    ]


@pytest.mark.parametrize("size", [0, 1, 7])
@pytest.mark.parametrize(("data", "event"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_line_is_an_event(data: bytes, event: Event, size: int) -> None:
    assert feed(data, size) == [event]


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize(("data", "key", "text", "version"), [c[1:] for c in REFUSALS], ids=[c[0] for c in REFUSALS])
def test_an_object_that_does_not_decode_is_refused_by_name(
    data: bytes, key: str, text: str, version: str, size: int
) -> None:
    good = line("ADDED", service("web", 9))
    [refused, after] = feed(data + good, size)
    assert isinstance(refused, Refused)
    assert (refused.key, refused.version) == (key, version)
    assert str(refused.error).startswith(text)
    assert after == Arrived("default/web", web(), "9")


@pytest.mark.parametrize("data", [case[1] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_what_is_no_event_breaks_the_stream_after_those_before_it(data: bytes) -> None:
    watch = WatchStream("Service")
    events = watch.feed(line("ADDED", service("web", 2)) + data + line("DELETED", service("web", 3)))
    assert next(events) == Arrived("default/web", web(), "2")
    with pytest.raises(StreamBroken):
        next(events)


def test_events_of_a_later_api_are_passed_over() -> None:
    assert feed(line("SUMMARY", service("web"))) == []


def test_blank_lines_are_nothing() -> None:
    assert feed(b"\n \n" + bookmark(3) + b"\n") == [Bookmark("3", initial_end=False)]


def test_nodes_have_no_namespace() -> None:
    [event] = feed(line("ADDED", texts.node("n1", 2)), kind="Node")
    assert isinstance(event, Arrived)
    assert event.key == "n1"


def test_a_cut_event_is_known() -> None:
    watch = WatchStream("Service")
    data = bookmark(1)
    for end in range(1, len(data)):
        assert list(watch.feed(data[end - 1 : end])) == []
        assert watch.in_line
    assert list(watch.feed(data[-1:])) == [Bookmark("1", initial_end=False)]
    assert not watch.in_line


def test_a_line_of_several_mib() -> None:
    obj = service("web", 2)
    obj["metadata"]["annotations"] = {"big": "é" * 3_000_000}
    [event] = feed(line("ADDED", obj), 65_536)
    assert isinstance(event, Arrived)
    assert event.obj.metadata.annotations == {"big": "é" * 3_000_000}


def test_a_line_without_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_LINE_BYTES", 1000)
    watch = WatchStream("Service")
    assert list(watch.feed(b"x" * 1000)) == []
    with pytest.raises(StreamBroken):
        list(watch.feed(b"x"))


ALL = b"".join([case[1] for case in CASES] + [case[1] for case in REFUSALS] + [line("ADDED", service("ä\u2028😀", 3))])


@given(st.lists(st.integers(0, len(ALL)), max_size=30))
def test_chunks_do_not_matter(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(ALL)]
    watch = WatchStream("Service")
    events = [event for a, b in itertools.pairwise(bounds) for event in watch.feed(ALL[a:b])]
    assert [str(event) for event in events] == [str(event) for event in feed(ALL)]
    assert not watch.in_line


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_events_or_break_the_stream(data: bytes, quoted: bool) -> None:
    text = b'{"type":"ADDED","object":{"metadata":{"name":"' + data + b'"}}}' if quoted else data
    with contextlib.suppress(StreamBroken):
        feed(text + b"\n", 3)


def test_a_page_of_a_list() -> None:
    found = read_list("Service", page([service("a", 2), service("b", 3)], 9, "next"))
    assert found.objects == [Arrived("default/a", web(name="a"), "2"), Arrived("default/b", web(name="b"), "3")]
    assert (found.version, found.continue_token) == ("9", "next")


def test_a_page_with_an_object_that_does_not_decode() -> None:
    found = read_list("Service", page([service("a", 2), wrong()], 9))
    assert found.objects[0] == Arrived("default/a", web(name="a"), "2")
    refused = found.objects[1]
    assert isinstance(refused, Refused)
    assert refused.key == "default/bad"
    assert (found.version, found.continue_token) == ("9", "")


def test_an_empty_list_may_be_null() -> None:
    assert read_list("Service", b'{"metadata":{"resourceVersion":"4"},"items":null}').objects == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"<html>", page([service("a")], 1)[:-1]])
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(StreamBroken):
        read_list("Service", body)


def test_a_status_or_whatever_else() -> None:
    body = json.dumps(texts.status(503, "ServiceUnavailable", "not yet", 2)).encode()
    assert read_status(body) == Failure(503, "ServiceUnavailable", "not yet", 2.0)
    assert read_status(body, 503, 5.0).retry_after_s == 5.0
    assert read_status(b"<html>\n Bad  Gateway\xff\x00", 502) == Failure(502, "", "<html> Bad Gateway\ufffd\\x00")
