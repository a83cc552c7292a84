"""Makes one family's virtual servers, VIPs and packet filter hold what is wanted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kproxy.dataplane.ipvs.kernel import SchedulerMissing
from kproxy.dataplane.ipvs.leftovers import read_ownership
from kproxy.dataplane.mode import Synced
from kproxy.dataplane.nftables.proxier import NftablesProxier
from kproxy.errors import ObjectError
from kproxy.plan.ipvs.filter import IPVS, VIPS
from kproxy.plan.ipvs.frontends import IpvsSettings
from kproxy.plan.ipvs.servers import IpvsServers
from kproxy.plan.nftables.packing import pack_ip
from kproxy.plan.node_ports import parse_node_port_addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kproxy.config import Config
    from kproxy.dataplane.ipvs.kernel import IpvsKernel
    from kproxy.dataplane.nftables.watch import TableWatch
    from kproxy.plan.intent import PortIntent
    from kproxy.plan.ipvs.servers import IpvsDifference
    from kproxy.state.node import NodeInfo


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

    @property
    def refused(self) -> Mapping[str, ObjectError]:
        """Services whose scheduler the kernel lacks, or that have an address which is the node's."""
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

        Raises `KernelError`. A Service whose scheduler the kernel lacks is left out and entered in `refused`.
        """
        full = full or not self._in_step
        self._in_step = False
        if full:
            self._read_back()
        filtered = self._sync_filter(full=full)
        self._let_go()
        while True:
            difference = self.servers.difference()
            try:
                if difference:
                    self._kernel.apply(difference)
            except SchedulerMissing as missing:
                if not self._leave_out(missing):
                    raise
                self._read_back()
                filtered = self._sync_filter(full=False)
                continue
            break
        self.servers.applied(difference)
        self._in_step = True
        return _synced(full, difference, filtered)

    def intact(self) -> bool:
        """Tell whether nobody removed virtual servers, VIPs or the table. Raises `KernelError`.

        This is also when destinations that have no connections left are let go of: time passes without a change.
        """
        if not self.filter.intact():
            return False
        if self.servers.drain.due(self._clock()):
            self._let_go()
            difference = self.servers.difference()
            self._kernel.apply(difference)
            self.servers.applied(difference)
        held = self._kernel.read_servers()
        if any(held.get(server) != how for server, how in self.servers.servers.items()):
            return False
        return set(self.servers.addresses) <= set(self._kernel.read_addresses())

    def count_rules(self) -> Mapping[str, int]:
        """Return the number of rules in the packet filter's table."""
        return self.filter.count_rules()

    def _sync_filter(self, *, full: bool) -> Synced:
        for ip, wanted in self.servers.take_moved_vips().items():
            self.filter.ruleset.set_element(VIPS, pack_ip(ip), wanted=wanted)
        return self.filter.sync(full=full)

    def _read_back(self) -> None:
        """Believe what the kernel holds of ours. The table still says what was ours before: it is written later."""
        held = self._kernel.read()
        excluded = self._config.ipvs.exclude_cidrs
        ownership = read_ownership(self.family, held.addresses, self._node_ips, excluded)
        ours = ownership.ours(held.servers) | (held.servers.keys() & self.servers.servers.keys())
        self.servers.read_back(
            {server: how for server, how in held.servers.items() if server in ours},
            {destination: weight for destination, weight in held.destinations.items() if destination.server in ours},
            held.addresses,
        )

    def _let_go(self) -> None:
        now_s = self._clock()
        due = self.servers.drain.due(now_s)
        if due:
            self.servers.drained(self.servers.drain.looked(now_s, self._kernel.connections(due)))

    def _leave_out(self, missing: SchedulerMissing) -> bool:
        key = self.servers.owner_of(missing.server)
        if key is None:
            return False
        self.filter.set_service(key, (), 0)
        self.servers.set_service(key, ())
        self._refused[key] = ObjectError(f"Service {key}", "", f"{missing}; skipped")
        return True


def _synced(full: bool, difference: IpvsDifference, filtered: Synced) -> Synced:
    """Put the words of both halves together."""
    written = {
        "virtual servers": len(difference.add_servers) + len(difference.set_servers),
        "destinations": len(difference.add_destinations) + len(difference.set_destinations),
        "addresses": len(difference.add_addresses),
    }
    words = [f"{count} {what}" for what, count in written.items() if count]
    words += [f"{filtered.written} of the packet filter"] if filtered.written else []
    deleted = len(difference.delete_servers) + len(difference.delete_destinations) + len(difference.delete_addresses)
    return Synced(full, ", ".join(words), deleted + filtered.deleted, {})
