"""However the objects came to be what they are, the zone answers as one that was told them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.message
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.dns.forward import Forward
from kproxy.dns.responder import Responder
from kproxy.dns.zone import Zone
from kproxy.dns.zone_config import ZoneConfig
from tests.dns.cluster import endpoints_object, gone, namespace, records, service, slice_

if TYPE_CHECKING:
    from kproxy.sources.changes import Change

CONFIG = ZoneConfig(addresses=("10.0.0.1", "10.96.0.1"), reverse=("10.0.0.0/24", "10.96.0.0/16"))
IPS = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
SERVICES = ["a", "b"]
PORTS = ["http/TCP/80", "dns/UDP/53", "/TCP/9"]

names = st.sampled_from([f"{space}/{name}" for space in ("n1", "n2") for name in SERVICES])
some_ports = st.lists(st.sampled_from(PORTS), max_size=2, unique=True)
endpoints = st.lists(
    st.builds(
        "{}{}{}".format, st.sampled_from(IPS), st.sampled_from(["", "=x", "=y"]), st.sampled_from(["", "+", "!"])
    ),
    max_size=4,
)
changes = st.one_of(
    st.builds(
        lambda key, ip, on: service(key, ip, on=on),
        names,
        st.sampled_from(["None", "10.96.0.1", "10.96.0.2"]),
        some_ports,
    ),
    st.builds(
        lambda key, target: service(key, external_name=target),
        names,
        st.sampled_from(["a.n1.svc.cluster.local", "b.n1.svc.cluster.local", "x.example", "10.0.0.1"]),
    ),
    st.builds(
        lambda key, number, of, ips, on: slice_(f"{key}-{number}", of, *ips, on=on),
        names,
        st.integers(1, 2),
        st.sampled_from(SERVICES),
        endpoints,
        some_ports,
    ),
    st.builds(lambda key, ips, on: endpoints_object(key, *ips, on=on), names, endpoints, some_ports),
    st.builds(namespace, st.sampled_from(["n1", "n2", "n3"])),
    st.builds(gone, st.just("Service"), names),
    st.builds(lambda key, number: gone("EndpointSlice", f"{key}-{number}"), names, st.integers(1, 2)),
    st.builds(gone, st.just("Endpoints"), names),
    st.builds(gone, st.just("Namespace"), st.sampled_from(["n1", "n2", "n3"])),
)


def questions() -> list[bytes]:
    zone = "svc.cluster.local."
    asked = [(name, qtype) for name in ("cluster.local.", zone) for qtype in ("A", "NS", "SOA")]
    asked += [(f"{space}.{zone}", "A") for space in ("n1", "n2", "n3")]
    for space in ("n1", "n2"):
        for name in SERVICES:
            own = f"{name}.{space}.{zone}"
            asked += [(own, qtype) for qtype in ("A", "AAAA", "SRV", "CNAME", "ANY")]
            asked += [(f"{label}.{own}", "A") for label in ("x", "y", "10-0-0-1", "10-0-0-2", "_tcp", "_udp")]
            asked += [
                (f"_{port}._{protocol}.{own}", qtype)
                for port, protocol in (("http", "tcp"), ("dns", "udp"))
                for qtype in ("SRV", "A")
            ]
    asked += [(f"{number}.0.0.10.in-addr.arpa.", "PTR") for number in (1, 2, 3)]
    asked += [(f"{number}.0.96.10.in-addr.arpa.", "PTR") for number in (1, 2)]
    return [dns.message.make_query(name, qtype, id=1).to_wire() for name, qtype in asked]


QUESTIONS = questions()


def said(responder: Responder) -> list[object]:
    """Everything the responder says, in a form in which order does not count."""
    found: list[object] = []
    for question in QUESTIONS:
        reply = responder.answer(question)
        if isinstance(reply, Forward):
            found.append(reply.question)
            continue
        assert isinstance(reply, bytes)
        message = dns.message.from_wire(reply)
        found.append((message.flags, message.rcode(), *map(records, message.sections[1:])))
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(changes, min_size=1, max_size=4), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_a_zone_that_grew_is_one_that_was_made(batches: list[list[Change]], chance: object) -> None:
    grown = Zone(CONFIG)
    grown.synced = True
    responder = Responder(grown, tcp=True)
    objects: dict[tuple[str, str], Change] = {}
    for batch in batches:
        grown.apply(batch)
        said(responder)  # so that whatever it keeps is kept
        for change in batch:
            objects.pop((change.kind, change.key), None)
            if change.obj is not None:
                objects[change.kind, change.key] = change
    made = Zone(CONFIG)
    last = list(objects.values())
    chance.shuffle(last)  # type: ignore[attr-defined]
    made.apply(last)
    made.synced = True
    assert said(responder) == said(Responder(made, tcp=True))
    assert [str(problem) for problem in grown.problems()] == [str(problem) for problem in made.problems()]


@settings(max_examples=50, deadline=None)
@given(st.lists(changes, max_size=20))
def test_when_all_is_gone_nothing_is_held(batch: list[Change]) -> None:
    zone = Zone(CONFIG)
    zone.apply(batch)
    zone.apply([gone(change.kind, change.key) for change in batch])
    held = vars(zone._holdings)
    ignored = ("pods", "_config", "_touched", "_shared")
    assert {name: value for name, value in held.items() if value and name not in ignored} == {}
