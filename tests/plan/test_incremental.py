"""Whatever happens to a cluster, in whatever batches: each mode wants in the end what a fresh start would want.

From objects to what goes to the kernel, with Services that take each other's addresses and ports, in both families.
The kernels are a few dictionaries, and as strict: none takes what is there, or deletes what is not.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.plan.family import FamilyPlan
from kproxy.plan.iptables.ruleset import IptablesRuleset
from kproxy.plan.ipvs.filter import IPVS
from kproxy.plan.ipvs.frontends import IpvsSettings
from kproxy.plan.ipvs.servers import IpvsServers
from kproxy.plan.local_traffic import LocalTraffic
from kproxy.plan.nftables.design import NFTABLES, Design
from kproxy.plan.nftables.layout import LayoutOptions
from kproxy.plan.nftables.packing import LOCAL_SLOTS, unpack_slot
from kproxy.plan.nftables.ruleset import NftablesRuleset, RulesetOptions
from kproxy.plan.nftables.transaction import AddElements, DeleteElements
from kproxy.rulebook import iptables_skeleton
from kproxy.state.addresses import FAMILIES, Family
from kproxy.state.cluster import ClusterState
from tests.plan.ipvs.rig import FakeKernel
from tests.state.objects import NODE, gone, here, node, service
from tests.state.shorthand import make_slice

if TYPE_CHECKING:
    from kproxy.kube import wire
    from kproxy.sources.changes import Change

SERVICES = 5
NODE_IPS = {Family.IPV4: "192.168.0.1", Family.IPV6: "fd00:192:168::1"}
EXTERNAL = ("192.0.2.1", "192.0.2.2", "FD00:192:0:2::1", "192.168.0.1", "fd00:192:168::1")
VIPS = ("203.0.113.1", "203.0.113.2", "fd00:203::1")
ENDPOINTS = ("a1", "a2", "b1", "b2", "b3")
MARKS = ("", "", "", "!term", "!left", "!dead", "!unready", "@z1", "@z2", "@z1%node-a", "%node-b")


class Cluster:
    """Objects that change at random; `last` has those that are there."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.last: dict[tuple[str, str], wire.KubeObject] = {}

    def change(self) -> Change:
        """One object comes, changes or goes."""
        number, what = self._dice.randrange(SERVICES), self._dice.random()
        if what < 0.05:
            return self._here(self._node())
        obj = self._service(number) if what < 0.6 else self._slice(number)
        before = self.last.get((type(obj).__name__, f"ns1/{obj.metadata.name}"))
        if before is not None and self._dice.random() < 0.2:
            return self._gone(before)
        return self._here(obj)

    def _here(self, obj: wire.KubeObject) -> Change:
        change = here(obj)
        self.last[change.kind, change.key] = obj
        return change

    def _gone(self, obj: wire.KubeObject) -> Change:
        change = gone(obj)
        del self.last[change.kind, change.key]
        return change

    def _node(self) -> wire.Node:
        ips = [("InternalIP", ip) for ip in NODE_IPS.values() if self._dice.random() < 0.8]
        return node(labels={"topology.kubernetes.io/zone": self._dice.choice(("z1", "z2"))}, addresses=ips)

    def _service(self, number: int) -> wire.Service:
        dice = self._dice
        protocols = dice.choice((["TCP"], ["UDP"], ["SCTP"], ["TCP", "UDP"], ["TCP", "UDP", "TCP"]))
        node_ports = dice.sample((30080, 30081, 30082, 30083), 3)
        ports = [
            {"name": f"p{at}", "port": 80 + at // 2, "protocol": protocol}
            | ({"nodePort": node_ports[at]} if dice.random() < 0.6 else {})
            for at, protocol in enumerate(protocols)
        ]
        spec: dict[str, Any] = {
            "ports": ports,
            "type": dice.choice(("ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer", "ExternalName")),
            "externalTrafficPolicy": dice.choice(("Cluster", "Local")),
            "internalTrafficPolicy": dice.choice(("Cluster", "Cluster", "Local")),
            "externalIPs": dice.sample(EXTERNAL, dice.randrange(3)),
            "healthCheckNodePort": dice.choice((0, 30090, 30091)),
        }
        if dice.random() < 0.3:
            spec["sessionAffinity"] = "ClientIP"
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": dice.choice((60, 10800))}}
        if dice.random() < 0.3:
            spec["loadBalancerSourceRanges"] = dice.sample(("192.168.0.0/16", "192.168.0.1/32", "fd00::/8"), 2)
        mode = dice.choice((None, "VIP", "Proxy"))
        ingress = [{"ip": ip, "ipMode": mode} for ip in dice.sample(VIPS, dice.randrange(3))]
        own = (f"172.30.0.{dice.choice((number, number, 9))}", f"fd00:172:30::{number}")
        annotations = {"kproxy.dev/ipvs-scheduler": "lc"} if dice.random() < 0.2 else None
        ips = dice.choice((own, own[:1], own[1:], own[::-1]))
        created = f"2026-01-0{1 + dice.randrange(3)}T00:00:00Z"
        return service(f"ns1/svc{number}", ips=ips, ingress=ingress, annotations=annotations, created=created, **spec)

    def _slice(self, number: int) -> wire.EndpointSlice:
        dice = self._dice
        words = " ".join(f"{one}{dice.choice(MARKS)}" for one in dice.sample(ENDPOINTS, dice.randrange(5)))
        family = dice.choice(FAMILIES)
        ports = [
            {"name": f"p{at}", "protocol": protocol, "port": dice.choice((8080, 8081))}
            for at, protocol in enumerate(dice.choice((("TCP", "UDP", "TCP"), ("UDP",), ("TCP", "TCP"), ("SCTP",))))
        ]
        name = f"s{number}-{family.lower()}-{dice.randrange(2)}"
        return make_slice(words, name, f"ns1/svc{number}", family, ports)


class NftKernel:
    """The elements of one table. A transaction that a kernel would refuse is a fault."""

    def __init__(self) -> None:
        self.sets: dict[str, dict[bytes, bytes]] = {}

    def sync(self, ruleset: NftablesRuleset) -> None:
        difference = ruleset.difference()
        for operation in difference.transaction.operations:
            if isinstance(operation, DeleteElements):
                held = self.sets.setdefault(operation.spec.name, {})
                for key in operation.keys:
                    del held[key]
            elif isinstance(operation, AddElements):
                held = self.sets.setdefault(operation.spec.name, {})
                for key, value in operation.elements.items():
                    assert held.setdefault(key, value) == value
        ruleset.applied(difference)
        assert ruleset.difference().empty
        ruleset.swept(ruleset.sweep()[1])
        assert {name: held for name, held in self.sets.items() if held} == {
            name: held for name, held in ruleset.elements().items() if held
        }


class Wanted:
    """All modes of one family."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.plan = FamilyPlan(family)
        self.nft, self.filter = _nft(family, NFTABLES), _nft(family, IPVS)
        self.servers = IpvsServers(IpvsSettings("rr"))
        mark = f"{1 << 14:#x}"
        skeleton = iptables_skeleton(family, mark=mark, localhost_node_ports=True, drop_invalid=True)
        self.iptables = IptablesRuleset(family, skeleton)
        self.kernel, self.nft_kernel, self.filter_kernel = FakeKernel(), NftKernel(), NftKernel()

    def update(self, state: ClusterState, dirty: set[str], *, node_changed: bool) -> None:
        """As the syncer does it."""
        planned = self.plan.update(state, dirty)
        if node_changed:
            ip = state.node.ips[self.family]
            options = RulesetOptions(LayoutOptions(LocalTraffic("10.180.0.0/16")), ip, (ip,))
            self.nft.configure(options)
            self.filter.configure(options)
            self.servers.configure(IpvsSettings("rr", (ip,), (ip,)), elsewhere=(ip,))
        for key in planned.services:
            intents = self.plan.intents.get(key, ())
            for ruleset in (self.nft, self.filter, self.servers):
                ruleset.set_service(key, intents)
            self.iptables.set_service(key, intents, self.plan.health_check_node_port(key))

    def sync(self) -> None:
        self.nft_kernel.sync(self.nft)
        self.filter_kernel.sync(self.filter)
        self.kernel.sync(self.servers)
        self.iptables.applied(*self.iptables.difference()[1:])

    def drain(self) -> None:
        """No connection is left anywhere."""
        due = self.servers.drain.due(1e9)
        self.servers.drained(self.servers.drain.looked(1e9, due, {}))
        self.kernel.sync(self.servers)

    def outcome(self) -> dict[str, Any]:
        """What is wanted, in a form in which nothing depends on the order of endpoints."""
        return {
            "intents": self.plan.intents,
            "health": sorted(self.plan.service_health(), key=str),
            "udp": dict(self.plan.udp.serving),
            "no local": self.plan.no_local_endpoints(),
            "nftables": _unordered(self.nft),
            "filter": _unordered(self.filter),
            "chains": [{chain.name: chain for chain in one.table().chains} for one in (self.nft, self.filter)],
            # Weight 0: an endpoint that terminates keeps the flows it has, and whether it can have any is history.
            "ipvs": ([one for one in self.kernel.listed() if not one.endswith(" -w 0")], self.kernel.addresses),
            "iptables": dict(self.iptables.chains),
        }


def _nft(family: Family, design: Design) -> NftablesRuleset:
    ruleset = NftablesRuleset(family, design)
    ruleset.difference()
    return ruleset


def _unordered(ruleset: NftablesRuleset) -> dict[str, Any]:
    """The elements; of lists of endpoints which frontend has which."""
    found: dict[str, Any] = dict(ruleset.elements())
    for name in ("endpoints", "nodeport-endpoints"):
        lists: dict[tuple[bytes, bool], set[bytes]] = {}
        for key, value in found[name].items():
            frontend, slot = unpack_slot(key)
            lists.setdefault((frontend, slot >= LOCAL_SLOTS), set()).add(value)
        found[name] = lists
    return found


def _plan(state: ClusterState, wanted: list[Wanted]) -> None:
    dirty, node_changed = state.take_dirty()
    for one in wanted:
        one.update(state, dirty | state.services.keys() if node_changed else dirty, node_changed=node_changed)


@pytest.mark.parametrize("seed", range(25))
def test_the_end_is_that_of_a_fresh_start(seed: int) -> None:
    dice = random.Random(seed)
    cluster, state = Cluster(dice), ClusterState(NODE)
    wanted = [Wanted(family) for family in FAMILIES]
    for _ in range(60):
        state.apply([cluster.change() for _ in range(dice.choice((1, 1, 2, 5)))])
        if dice.random() < 0.3:
            continue  # more comes before it is planned
        _plan(state, wanted)
        for one in wanted:
            if dice.random() < 0.8:
                one.sync()  # else it failed
    fresh_state, fresh = ClusterState(NODE), [Wanted(family) for family in FAMILIES]
    fresh_state.apply([here(obj) for obj in cluster.last.values()])
    _plan(state, wanted)
    _plan(fresh_state, fresh)
    for was, now in zip(wanted, fresh, strict=True):
        for one in (was, now):
            one.sync()
            one.drain()
        found = was.outcome()
        for what, expected in now.outcome().items():
            assert found[what] == expected, what
