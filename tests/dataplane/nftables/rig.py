"""A node in a network namespace of its own: objects in, the nftables mode applies them, the kernel is read back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from kproxy.config import build_config
from kproxy.dataplane.nftables.proxier import NftablesProxier
from kproxy.dataplane.nftables.reader import read_set, read_table
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.family import FamilyPlan
from kproxy.plan.nftables import layout
from kproxy.plan.nftables.contents import SLOT_MAPS
from kproxy.plan.nftables.packing import LOCAL_SLOTS
from kproxy.state.cluster import ClusterState
from tests.plan.nftables.objects import CLUSTER_CIDRS, NODE_IPS
from tests.state.objects import NODE, here

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kproxy.dataplane.mode import Synced
    from kproxy.kube import wire
    from kproxy.plan.nftables.model import Rule, Snapshot
    from kproxy.sources.changes import Change
    from kproxy.state.addresses import Family
    from tests.netlink.netns import PrivateNetns


class Held(NamedTuple):
    """What the kernel holds. Slots are a matter of history, so `lists` has only which endpoints are in them."""

    chains: Mapping[str, tuple[Rule, ...]]
    elements: Mapping[str, Mapping[bytes, bytes]]
    lists: Mapping[tuple[str, bytes, bool], frozenset[bytes]]


class Rig:
    """One family of one node. Everything that touches the kernel runs inside the namespace."""

    def __init__(self, netns: PrivateNetns, family: Family, **flags: object) -> None:
        self.netns = netns
        self.family = family
        values = {"hostname_override": NODE, "cluster_cidr": CLUSTER_CIDRS, "proxy_mode": "nftables", **flags}
        self.config = build_config(values)
        self.state = ClusterState(NODE)
        self.plan = FamilyPlan(family)
        self.proxier = NftablesProxier(self.config, family)
        netns.on_exit(lambda: self.proxier.close())

    def load(self, *objects: wire.KubeObject) -> Synced:
        """Take objects in and sync."""
        self.apply(here(obj) for obj in objects)
        return self.sync()

    def apply(self, changes: Iterable[Change]) -> None:
        """Take changes in, and plan what they touch."""
        self.state.apply(changes)
        dirty, node_changed = self.state.take_dirty()
        if node_changed:
            dirty |= self.state.services.keys()
            self.proxier.configure(self.state.node, (NODE_IPS[self.family],))
        self.plan.update(self.state, dirty)
        for key in dirty:
            self.proxier.set_service(key, self.plan.intents.get(key, ()), 0)

    def sync(self, *, full: bool = False) -> Synced:
        return self.netns.run(lambda: self.proxier.sync(full=full))

    def restart(self) -> None:
        """Forget everything but the objects, as a new process does."""
        self.proxier.close()
        self.proxier = NftablesProxier(self.config, self.family)
        self.proxier.configure(self.state.node, (NODE_IPS[self.family],))
        for key, intents in self.plan.intents.items():
            self.proxier.set_service(key, intents, 0)

    def nft(self, *words: str, stdin: str = "") -> str:
        return self.netns.tool("nft", *words, stdin=stdin)

    def pins(self) -> dict[bytes, bytes]:
        def read() -> dict[bytes, bytes]:
            with NetlinkSocket() as netlink:
                return read_set(netlink, self.family, layout.TABLE, self.proxier.ruleset.pins)

        return self.netns.run(read)

    def held(self) -> Held:
        """Read the table back. AssertionError when a list has a gap, or an endpoint twice."""
        snapshot = self.netns.run(self._snapshot)
        assert snapshot is not None
        lists: dict[tuple[str, bytes, bool], dict[int, bytes]] = {}
        for name in SLOT_MAPS:
            for key, endpoint in snapshot.elements[name].items():
                slot = int.from_bytes(key[-4:], sys.byteorder)
                local = slot >= LOCAL_SLOTS
                lists.setdefault((name, key[:-4], local), {})[slot - LOCAL_SLOTS * local] = endpoint
        for where, by_slot in lists.items():
            assert sorted(by_slot) == list(range(len(by_slot))), f"{where} has a gap"
            assert len(set(by_slot.values())) == len(by_slot), f"{where} has an endpoint twice"
        return Held(
            {chain.name: chain.rules for chain in snapshot.table.chains},
            {name: dict(held) for name, held in snapshot.elements.items() if name not in SLOT_MAPS},
            {where: frozenset(by_slot.values()) for where, by_slot in lists.items()},
        )

    def _snapshot(self) -> Snapshot | None:
        with NetlinkSocket() as netlink:
            return read_table(netlink, self.family, layout.TABLE)
