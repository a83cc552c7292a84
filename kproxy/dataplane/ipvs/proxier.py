"""Makes one family's virtual servers, VIPs and packet filter hold what is wanted."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from kproxy.dataplane.ipvs.kernel import Refused, SchedulerMissing
from kproxy.dataplane.ipvs.leftovers import read_ownership
from kproxy.dataplane.mode import Synced
from kproxy.dataplane.nftables.proxier import NftablesProxier
from kproxy.errors import ObjectError
from kproxy.plan.ipvs.filter import IPVS
from kproxy.plan.ipvs.frontends import IpvsSettings
from kproxy.plan.ipvs.servers import IpvsServers
from kproxy.plan.node_ports import parse_node_port_addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from kproxy.config import Config
    from kproxy.dataplane.ipvs.kernel import IpvsKernel
    from kproxy.dataplane.nftables.watch import TableWatch
    from kproxy.plan.intent import PortIntent
    from kproxy.plan.ipvs.servers import IpvsDifference
    from kproxy.state.node import NodeInfo


MAX_LEFT_OUT = 100
"""Services that may be left out because of their addresses; beyond that the cause is elsewhere."""


class IpvsProxier:
    """The IPVS mode of one family. Not for several threads at once."""

    def __init__(
        self,
        config: Config,
        kernel: IpvsKernel,
        *,
        watch: TableWatch | None = None,
        unsupported: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.family = kernel.family
        self.unsupported = dict(unsupported or {})
        self.filter = NftablesProxier(config, kernel.family, IPVS, watch=watch)
        self.servers = IpvsServers(IpvsSettings(config.ipvs.scheduler))
        self._config = config
        self._kernel = kernel
        self._clock = clock
        self._node_ips: tuple[str, ...] = ()
        self._refused: dict[str, ObjectError] = {}
        self._in_step = False
        # Elements that may go when the kernel has no use for them any more.
        self._outgoing: set[tuple[str, bytes]] = set()

    @property
    def refused(self) -> Mapping[str, ObjectError]:
        """Services that the kernel does not take, or that have an address which is the node's."""
        return self.servers.taken | self.filter.refused | self._refused

    def configure(self, node: NodeInfo, addresses: tuple[str, ...], service_cidrs: tuple[str, ...] = ()) -> None:
        """Take over what is known of the node, of this family; VIPs are not among `addresses`.

        Addresses of `service_cidrs` that no Service has leave the node as they are, as in kube-proxy's IPVS mode.
        """
        self.filter.configure(node, addresses)
        self._node_ips = addresses
        node_ports = parse_node_port_addresses(self._config.node_port_addresses, node.ips)
        serving = node_ports.matching(self.family, addresses)
        settings = IpvsSettings(
            self._config.ipvs.scheduler,
            node_ips=(node.ips[self.family],),
            node_port_ips=tuple(ip for ip in serving if not (ip.startswith("127.") or ip == "::1")),
        )
        self.servers.configure(settings, elsewhere=addresses)

    def set_service(self, key: str, intents: Iterable[PortIntent], health_check_node_port: int) -> None:
        """Enter, replace or (without intents) remove a Service; the kernel hears of it at the next sync."""
        intents = tuple(intents)
        self._refused.pop(key, None)
        self.filter.set_service(key, intents, health_check_node_port)
        self.servers.set_service(key, intents)

    def sync(self, *, full: bool = False) -> Synced:
        """Write what differs; after a failure, at the first call, or if `full`, from what the kernel really holds.

        Raises `KernelError`. A Service whose scheduler the kernel lacks, or an address of which it does not take, is
        left out and entered in `refused`.
        """
        full = full or not self._in_step
        self._in_step = False
        if full:
            self._read_back()
        filtered = [self._sync_filter(full=full)]
        while True:
            difference = self.servers.difference()
            try:
                if difference:
                    self._kernel.apply(difference)
            except Refused as refused:
                if not self._leave_out(refused):
                    raise
                self._read_back()
                filtered.append(self._sync_filter(full=False))
                continue
            break
        self.servers.applied(difference)
        differences = [difference, *self._let_go()]
        filtered += self._close_filter()
        self._in_step = True
        return _synced(full, differences, filtered)

    def intact(self) -> bool:
        """Tell whether nobody removed virtual servers, VIPs or the table. Raises `KernelError`.

        This is also when destinations that have no connections left are let go of: time passes without a change.
        """
        if not self.filter.intact():
            return False
        if self._in_step and any(self._let_go()):
            list(self._close_filter())
        held = self._kernel.read_servers()
        if any(held.get(server) != how for server, how in self.servers.servers.items()):
            return False
        return set(self.servers.addresses) <= set(self._kernel.read_addresses())

    def count_rules(self) -> Mapping[str, int]:
        """Return the number of rules in the packet filter's table."""
        return self.filter.count_rules()

    def _sync_filter(self, *, full: bool) -> Synced:
        """Write the packet filter, but for what goes: an address that the node still has must not lose its guard."""
        self._take_elements()
        return self.filter.sync(full=full)

    def _close_filter(self) -> Iterator[Synced]:
        """Take from the packet filter what went from the kernel."""
        self._take_elements()
        if self._outgoing:
            for element in self._outgoing:
                self.filter.ruleset.set_element(*element, wanted=False)
            self._outgoing.clear()
            yield self.filter.sync()

    def _take_elements(self) -> None:
        for element, wanted in self.servers.take_elements().items():
            if wanted:
                self._outgoing.discard(element)
                self.filter.ruleset.set_element(*element, wanted=True)
            else:
                self._outgoing.add(element)

    def _read_back(self) -> None:
        """Believe what the kernel holds of ours. The table still says what was ours before: it is written later."""
        held = self._kernel.read()
        excluded = self._config.ipvs.exclude_cidrs
        ownership = read_ownership(self.family, held.addresses, self._node_ips, excluded)
        ours = ownership.ours(held.servers) | (held.servers.keys() & self.servers.known)
        self.servers.read_back(
            {server: how for server, how in held.servers.items() if server in ours},
            {destination: weight for destination, weight in held.destinations.items() if destination.server in ours},
            held.addresses,
        )

    def _let_go(self) -> Iterator[IpvsDifference]:
        """Take away what drains and has no connections left, if it is time to look; yield what was done."""
        now_s = self._clock()
        due = self.servers.drain.due(now_s)
        if due:
            self.servers.drained(self.servers.drain.looked(now_s, due, self._kernel.connections(due)))
            difference = self.servers.difference()
            self._kernel.apply(difference)
            self.servers.applied(difference)
            yield difference

    def _leave_out(self, refused: Refused) -> bool:
        """Leave the Services out whose wishes the kernel refused; False if it was not about any, or about too many."""
        reasons: dict[str, str] = {}
        for server, key in self.servers.owners.items():
            reason = refused.reasons.get(server) or refused.reasons.get(server.ip)
            if reason is not None:
                reasons.setdefault(key, reason)
        too_many = len(self._refused) + len(reasons) > MAX_LEFT_OUT and not isinstance(refused, SchedulerMissing)
        if not reasons or too_many:
            return False
        for key, reason in reasons.items():
            self.filter.set_service(key, (), 0)
            self.servers.set_service(key, ())
            self._refused[key] = ObjectError(f"Service {key}", "", f"{reason}; skipped")
        return True


def _synced(full: bool, differences: Sequence[IpvsDifference], filtered: Sequence[Synced]) -> Synced:
    """Put the words of both halves together."""
    written: Counter[str] = Counter()
    deleted = sum(synced.deleted for synced in filtered)
    for one in differences:
        written["virtual servers"] += len(one.add_servers) + len(one.set_servers)
        written["destinations"] += len(one.add_destinations) + len(one.set_destinations)
        written["addresses"] += len(one.add_addresses)
        deleted += len(one.delete_servers) + len(one.delete_destinations) + len(one.delete_addresses)
    words = [f"{count} {what}" for what, count in written.items() if count]
    words += [f"{synced.written} of the packet filter" for synced in filtered if synced.written]
    return Synced(full, ", ".join(words), deleted, {})
