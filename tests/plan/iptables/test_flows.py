"""Packets traced through the rules of every row of the flow table, in both families."""

from __future__ import annotations

import pytest

from kproxy.plan.iptables.names import endpoint_name
from kproxy.state.addresses import Family, with_port
from kproxy.state.service import ServicePortName
from tests.plan.iptables.flow_objects import ADDRESSES, HEALTH_PORT, INTERFACES, make_rig
from tests.plan.iptables.flows import DROP, FLOWS, NODE_PORT, PASS, REJECT, Expected, Flow, snat, to
from tests.plan.iptables.tracer import Fate, Packet, Verdict
from tests.state.shorthand import PORT, name_of, pod_ip

V4, V6 = Family.IPV4, Family.IPV6


@pytest.mark.parametrize(
    ("flow", "family"),
    [pytest.param(flow, family, id=f"{flow}, {family}") for flow in FLOWS for family in flow.families],
)
def test_flow(flow: Flow, family: Family) -> None:
    rig = make_rig(flow, family)
    interface = INTERFACES.get(flow.source, "eth0")
    source, destination = ADDRESSES[flow.source][family], ADDRESSES[flow.destination][family]
    for protocol in ("tcp", "udp", "sctp"):
        packet = Packet(source, destination, flow.port or 80, protocol, interface)
        fates = rig.trace(packet, forward_policy=flow.forward_policy)
        check(flow.expected, fates, packet)


def check(expected: Expected, fates: list[Fate], packet: Packet) -> None:
    trail = "\n".join(f"{fate}: " + "\n    ".join(("", *fate.trail)) for fate in fates)
    if expected is REJECT:
        verdict = Verdict.RESET if packet.protocol == "tcp" else Verdict.UNREACHABLE
        assert [(fate.verdict, fate.translated) for fate in fates] == [(verdict, "")], trail
        return
    assert {fate.verdict for fate in fates} == {expected.verdict}, trail
    if expected is DROP:
        return
    if not expected.endpoints:
        assert [(fate.translated, fate.masqueraded) for fate in fates] == [("", False)], trail
        return
    wanted = expected.endpoints.split()
    assert sorted(name_of(fate.translated.rpartition(":")[0].strip("[]")) for fate in fates) == sorted(wanted), trail
    for fate in fates:
        assert fate.probability == pytest.approx(1 / len(wanted), abs=1e-9), trail
        address, _, port = fate.translated.rpartition(":")
        assert int(port) == PORT
        hairpin = address.strip("[]") == packet.source
        assert fate.masqueraded is (expected.snat or hairpin), trail


# Rows 28 to 30: session affinity.


def affinity_list(name: str, family: Family, protocol: str = "tcp") -> str:
    port = ServicePortName("ns1", "svc1", protocol, protocol.upper())
    return endpoint_name(port, with_port(pod_ip(name, family), PORT))


AFFINITY: list[tuple[str, str, str, str, str]] = [
    # (row, words, endpoints, the endpoints whose lists hold the client, where it goes)
    ("28: pinned", "", "a1 b1 b2", "b1", "b1"),
    ("29: no longer, or never", "", "a1 b1 b2", "", "a1 b1 b2"),
    ("30: the pinned endpoint is gone", "", "a1 b2", "b1", "a1 b2"),
    ("30: the pinned endpoint is passed over", "", "a1 b1!term", "b1", "a1"),
    ("28: Local, pinned here", "eTP externalIPs", "a1 a2 b1", "a2", "a2"),
    ("30: Local, pinned elsewhere", "eTP externalIPs", "a1 a2 b1", "b1", "a1 a2"),
]


@pytest.mark.parametrize("family", [V4, V6])
@pytest.mark.parametrize(
    ("words", "endpoints", "pinned", "goes_to"), [row[1:] for row in AFFINITY], ids=[row[0] for row in AFFINITY]
)
def test_affinity(words: str, endpoints: str, pinned: str, goes_to: str, family: Family) -> None:
    flow = Flow("", "outside", "X" if "externalIPs" in words else "C", f"ClusterIP affinity {words}", endpoints, PASS)
    rig = make_rig(flow, family)
    packet = Packet(ADDRESSES["outside"][family], ADDRESSES[flow.destination][family], 80)
    pins = frozenset(affinity_list(name, family) for name in pinned.split())
    fates = rig.trace(packet, pins=pins)
    snatted = "eTP" not in words
    check(to(goes_to, snat=snatted), fates, packet)
    # Who was chosen at random is remembered; a pin that was found is renewed by the look-up itself.
    for fate in fates:
        name = name_of(fate.translated.rpartition(":")[0].strip("[]"))
        assert fate.pinned == (frozenset() if name in pinned.split() else {affinity_list(name, family)})


def test_affinity_is_shared_by_all_addresses_of_a_port_and_not_by_its_ports() -> None:
    rig = make_rig(Flow("", "pod", "C", "NodePort affinity externalIPs", "a1 b1", PASS), V4)
    pins = frozenset([affinity_list("b1", V4)])
    for destination, port in (("C", 80), ("X", 80), ("NA", NODE_PORT)):
        packet = Packet(ADDRESSES["outside"][V4], ADDRESSES[destination][V4], port)
        check(snat("b1"), rig.trace(packet, pins=pins), packet)
        packet = Packet(packet.source, packet.destination, port, "udp")
        check(snat("a1 b1"), rig.trace(packet, pins=pins), packet)


# Health check node ports (row 86): let in before anything else could refuse them.


@pytest.mark.parametrize("family", [V4, V6])
@pytest.mark.parametrize("endpoints", ["a1", "b1", ""])
def test_the_health_check_port_is_let_in(family: Family, endpoints: str) -> None:
    rig = make_rig(Flow("86", "outside", "NA", "LoadBalancer eTP", endpoints, PASS), family)
    packet = Packet(ADDRESSES["outside"][family], ADDRESSES["NA"][family], HEALTH_PORT)
    (fate,) = rig.trace(packet)
    assert (fate.verdict, fate.translated) == (Verdict.ACCEPTED, "")
    assert fate.trail[-1].startswith("filter KUBE-NODEPORTS: ")
    (other,) = rig.trace(Packet(packet.source, packet.destination, HEALTH_PORT, "udp"))
    assert not any("KUBE-NODEPORTS: " in step and "health" in step for step in other.trail)
