"""The proxy modes by name: how each starts, prepares the node and renders. A new mode is one more entry here."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kproxy.config import Config
    from kproxy.dataplane.leftovers import Leftovers
    from kproxy.dataplane.mode import Drift, Proxier
    from kproxy.metrics.registry import Metrics
    from kproxy.plan.family import FamilyPlan
    from kproxy.state.cluster import ClusterState


class Mode(NamedTuple):
    """What the agent and the command line ask of a mode.

    `start` returns a proxier for each usable family, IPv4 first; it raises `FeatureMissing` or `PermissionMissing` and
    writes no rule of a Service. `set_sysctls` is the privileged part alone (--init-only). `render` returns what a first
    sync would write into an empty kernel, in the language of the mode's tool. `connect` lets metrics read the counters
    that the kernel keeps for the mode. `take_over` returns what removes the rules of whatever served Services on this
    node before; it is called after the first sync, and from time to time as long as it says that something is left.
    `drift` returns what tells of changes by others, None where nothing does.
    """

    start: Callable[[Config], Sequence[Proxier]]
    set_sysctls: Callable[[Config], None]
    render: Callable[[Config, ClusterState, FamilyPlan], str]
    connect: Callable[[Sequence[Proxier], Metrics], None]
    take_over: Callable[[Config], Callable[[], bool]] = lambda _: lambda: False
    drift: Callable[[Sequence[Proxier]], Drift | None] = lambda _: None


def mode(name: str) -> Mode:
    """Return the mode of that name (one of `kproxy.config_values.MODES`)."""
    return _MODES[name]()


# Each mode is imported when it is used: a node runs one, and the others may need what it does not have.
def _iptables() -> Mode:
    from kproxy.dataplane.iptables import counters, ruleset_for, start
    from kproxy.dataplane.iptables.proxier import IptablesProxier

    def connect(proxiers: Sequence[Proxier], metrics: Metrics) -> None:
        tools = [proxier.tool for proxier in proxiers if isinstance(proxier, IptablesProxier)]
        metrics.ct_state_invalid_dropped_packets.read = lambda: counters.invalid_dropped(tools)
        metrics.localhost_nodeports_accepted_packets.read = lambda: counters.localhost_node_ports(tools)

    take_over = partial(_take_over, "iptables")
    return Mode(start.start_iptables, start.set_sysctls, ruleset_for.render_iptables, connect, take_over)


def _nftables() -> Mode:
    from kproxy.dataplane.nftables import ruleset_for, start
    from kproxy.dataplane.nftables.counters import ConnectionCounters
    from kproxy.dataplane.nftables.drift import TableDrift
    from kproxy.dataplane.nftables.proxier import NftablesProxier

    def drift(proxiers: Sequence[Proxier]) -> Drift | None:
        watches = [proxier.watch for proxier in proxiers if isinstance(proxier, NftablesProxier)]
        return next((TableDrift(watch) for watch in watches if watch is not None), None)

    def connect(proxiers: Sequence[Proxier], metrics: Metrics) -> None:
        counting = [proxier for proxier in proxiers if isinstance(proxier, NftablesProxier) and proxier.counts_services]
        if counting:
            families = [proxier.family for proxier in counting]
            endpoints = any(proxier.counts_endpoints for proxier in counting)
            metrics.connections.read = ConnectionCounters(families, endpoints=endpoints).read

    take_over = partial(_take_over, "nftables")
    render = ruleset_for.render_nftables
    return Mode(start.start_nftables, start.set_sysctls, render, connect, take_over, drift)


def _take_over(mode: str, config: Config) -> Callable[[], bool]:
    @cache
    def leftovers() -> Leftovers:
        # Not before the rules are in: it imports what all other modes need.
        from kproxy.dataplane.leftovers import Leftovers

        return Leftovers(mode, config.ipvs.exclude_cidrs)

    return lambda: leftovers().remove()


def _nothing_to_count(proxiers: Sequence[Proxier], metrics: Metrics) -> None:
    """Do nothing: the mode has no counters of its own."""


def _ipvs() -> Mode:
    from kproxy.dataplane.ipvs import render, start
    from kproxy.dataplane.ipvs.proxier import IpvsProxier
    from kproxy.dataplane.nftables.drift import TableDrift
    from kproxy.plan.ipvs.filter import IPVS

    def drift(proxiers: Sequence[Proxier]) -> Drift | None:
        watches = [proxier.filter.watch for proxier in proxiers if isinstance(proxier, IpvsProxier)]
        return next((TableDrift(watch, IPVS) for watch in watches if watch is not None), None)

    take_over = partial(_take_over, "ipvs")
    return Mode(start.start_ipvs, start.set_sysctls, render.render_ipvs, _nothing_to_count, take_over, drift)


_MODES: dict[str, Callable[[], Mode]] = {"iptables": _iptables, "nftables": _nftables, "ipvs": _ipvs}
