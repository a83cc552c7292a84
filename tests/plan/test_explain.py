"""What `explain` says is what the rules do: every row of the flow table, in both families and all protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane.iptables.ruleset_for import serves_localhost
from kproxy.plan.explain import Explanation, Question, Surroundings, explain
from kproxy.plan.intent import Verdict
from kproxy.plan.local_traffic import local_traffic
from kproxy.plan.node_ports import parse_node_port_addresses
from kproxy.state.addresses import FAMILIES, Family
from tests.plan.iptables.flow_objects import ADDRESSES, INTERFACES, make_rig
from tests.plan.iptables.flows import DROP, FLOWS, PASS, REJECT, Expected, Flow, to
from tests.state.shorthand import name_of

if TYPE_CHECKING:
    from tests.plan.iptables.rig import Rig


def surroundings(rig: Rig, *, iptables: bool) -> Surroundings:
    node_ports = parse_node_port_addresses(rig.config.node_port_addresses, rig.state.node.ips)
    every = node_ports.matches_all(rig.family)
    return Surroundings(
        local=local_traffic(rig.config.local, rig.state.node, rig.family),
        masquerade_all=rig.config.masquerade_all,
        node_ip=rig.state.node.ips[rig.family],
        addresses=rig.addresses,
        node_port_ips=None if every else node_ports.matching(rig.family, rig.addresses),
        localhost_node_ports=serves_localhost(rig.config),
        iptables=iptables,
        service_cidrs=("172.30.0.0/16", "fd00:172:30::/108"),
    )


def ask(flow: Flow, family: Family, protocol: str, *, iptables: bool = True) -> Explanation:
    rig = make_rig(flow, family)
    source, destination = ADDRESSES[flow.source][family], ADDRESSES[flow.destination][family]
    interface = INTERFACES.get(flow.source, "eth0") or ""
    question = Question(protocol, source, destination, flow.port or 80, interface)
    intents = [intent for intents in rig.plan.intents.values() for intent in intents]
    return explain(question, intents, surroundings(rig, iptables=iptables))


def outcome(said: Explanation) -> Expected:
    match said.verdict:
        case None:
            return PASS
        case Verdict.REJECT:
            return REJECT
        case Verdict.DROP:
            return DROP
        case Verdict.FORWARD:
            return to(" ".join(sorted(name_of(one.ip) for one in said.endpoints)), snat=said.masqueraded)


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
@pytest.mark.parametrize(
    ("flow", "family"),
    [
        pytest.param(flow, family, id=f"{flow}, {family}")
        for flow in FLOWS
        # Not the proxy's doing: loopback addresses from outside are dropped by the node, row 100 by its firewall.
        if flow.row not in ("82", "100")
        for family in flow.families
    ],
)
def test_flow(flow: Flow, family: Family, protocol: str) -> None:
    said = ask(flow, family, protocol)
    expected = flow.expected
    if expected.endpoints:
        expected = to(" ".join(sorted(expected.endpoints.split())), snat=expected.snat)
    assert outcome(said) == expected, "\n".join(map(str, said.steps))
    assert said.steps


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("row", "expected"),
    [("49", REJECT), ("64", DROP), ("84", PASS), ("23", REJECT), ("27", DROP)],
)
def test_what_the_iptables_mode_does_otherwise(row: str, expected: Expected, family: Family) -> None:
    """The reference's section 3: ranges count without endpoints, the node is refused too, node ports keep to theirs."""
    flow = next(flow for flow in FLOWS if flow.row == row)
    assert outcome(ask(flow, family, "TCP", iptables=False)) == expected
    assert outcome(ask(flow, family, "TCP")) == flow.expected != expected
