"""The whole IPVS state of one family: which virtual servers, destinations, addresses are wanted, and what is missing.

A Service is entered as its intents; only what it changes is looked at again. What the kernel holds is believed as it
was read back, and brought up to date by what was applied.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from kproxy.errors import ObjectError, OwnAddress
from kproxy.plan.delta import DeltaTracker
from kproxy.plan.intent import FrontendKind
from kproxy.plan.ipvs.drain import DRAINING_WEIGHT, Drain, drains
from kproxy.plan.ipvs.filter import DRAINING, VIPS
from kproxy.plan.ipvs.frontends import FIELDS, IpvsSettings, frontends, taken_addresses
from kproxy.plan.ipvs.server import Scheduling
from kproxy.plan.ipvs.vips import Vips
from kproxy.plan.nftables.packing import pack_frontend, pack_ip

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from kproxy.plan.intent import PortIntent
    from kproxy.plan.ipvs.frontends import IpvsFrontend
    from kproxy.plan.ipvs.server import Destination, VirtualServer

WEIGHT = 1


class IpvsDifference(msgspec.Struct, frozen=True):
    """What to do, in the order in which to do it. What is in none of them is in the kernel already.

    A deleted virtual server takes its destinations along, so these are not listed.
    """

    add_servers: dict[VirtualServer, Scheduling] = {}
    set_servers: dict[VirtualServer, Scheduling] = {}
    add_destinations: dict[Destination, int] = {}
    set_destinations: dict[Destination, int] = {}
    add_addresses: list[str] = []
    delete_addresses: list[str] = []
    delete_destinations: list[Destination] = []
    delete_servers: list[VirtualServer] = []

    def __bool__(self) -> bool:
        """Tell whether there is anything to do."""
        return any(getattr(self, field) for field in self.__struct_fields__)


class IpvsServers:
    """Desired and actual IPVS state of one family."""

    def __init__(self, settings: IpvsSettings) -> None:
        self._settings = settings
        self._intents: dict[str, tuple[PortIntent, ...]] = {}
        self._frontends: dict[str, dict[VirtualServer, IpvsFrontend]] = {}
        self._owners: dict[VirtualServer, str] = {}
        self._vips = Vips()
        # Those that no Service wants, with the VIP that each keeps for its connections.
        self._leaving: dict[VirtualServer, str] = {}
        self._moved: set[VirtualServer] = set()
        self._servers: DeltaTracker[VirtualServer, Scheduling] = DeltaTracker()
        self._destinations: DeltaTracker[Destination, int] = DeltaTracker()
        self.drain = Drain()
        self.taken: dict[str, ObjectError] = {}

    @property
    def servers(self) -> Mapping[VirtualServer, Scheduling]:
        """The virtual servers that are wanted, be it for the connections that they still have."""
        return self._servers.desired

    @property
    def known(self) -> Collection[VirtualServer]:
        """The virtual servers that are wanted, and those that were when the kernel was looked at last: all are ours."""
        return self._servers.desired.keys() | self._servers.actual.keys()

    @property
    def addresses(self) -> Collection[str]:
        """The addresses that are wanted on kproxy's own link."""
        return self._vips.tracker.desired.keys()

    def configure(self, settings: IpvsSettings, elsewhere: Collection[str]) -> None:
        """Take over what shapes all Services. `elsewhere` are the node's addresses on links other than kproxy's own.

        A VIP that is among them is served where it is.
        """
        self._vips.leave_to_others(elsewhere)
        if settings != self._settings:
            self._settings = settings
            for key, intents in list(self._intents.items()):
                self.set_service(key, intents)

    def set_service(self, key: str, intents: Iterable[PortIntent]) -> None:
        """Enter, replace or (without intents) remove a Service."""
        intents = tuple(intents)
        wanted: dict[VirtualServer, IpvsFrontend] = {}
        for intent in intents:
            for frontend in frontends(intent, self._settings):
                wanted.setdefault(frontend.server, frontend)
        held = self._frontends.pop(key, {})
        for server in held.keys() - wanted.keys():
            self._remove(held[server])
        for server, frontend in wanted.items():
            before = held.get(server) or self._taken_over(key, server)
            if before != frontend:
                self._replace(before, frontend)
            self._owners[server] = key
        if wanted:
            self._frontends[key] = wanted
        if intents:
            self._intents[key] = intents
        else:
            self._intents.pop(key, None)
        self._note_taken(key, intents)

    def take_elements(self) -> dict[tuple[str, bytes], bool]:
        """Return what moved in the sets `VIPS` and `DRAINING` since this was asked, and whether it is in them now."""
        elements = {(VIPS, pack_ip(ip)): wanted for ip, wanted in self._vips.take_moved().items()}
        for server in self._moved:
            key = pack_frontend(server.ip, server.protocol, server.port)
            elements[DRAINING, key] = server in self._leaving
        self._moved.clear()
        return elements

    @property
    def owners(self) -> Mapping[VirtualServer, str]:
        """The Services that the virtual servers belong to."""
        return self._owners

    def drained(self, destinations: Iterable[Destination]) -> None:
        """Let go of destinations whose last connection ended, and of virtual servers that waited for nothing else."""
        for destination in destinations:
            self._destinations.unwant(destination)
            self.drain.end(destination)
            server = destination.server
            if server in self._leaving and not self.drain.waiting(server):
                self._servers.unwant(server)
                self._stop_leaving(server)

    def read_back(
        self, servers: Mapping[VirtualServer, Scheduling], destinations: Mapping[Destination, int], ips: Collection[str]
    ) -> None:
        """Believe that the kernel holds exactly this; all of it is ours.

        What nobody wants begins to drain, or goes on with it.
        """
        self._servers.replace_actual(servers)
        self._destinations.replace_actual(destinations)
        self._vips.read_back(ips)
        self.drain.clear()
        for destination, weight in list(self._destinations.desired.items()):
            if weight == DRAINING_WEIGHT:
                self._destinations.unwant(destination)
        for server in list(self._leaving):
            self._servers.unwant(server)
            self._stop_leaving(server)
        unwanted = defaultdict(list)
        for destination in destinations:
            if destination not in self._destinations.desired:
                unwanted[destination.server].append(destination)
        for server, leaving in unwanted.items():
            owner = self._owners.get(server)
            if owner is None:
                self._leave_server(server, server.ip if server.ip in ips else "", leaving)
                continue
            for destination in leaving:
                self._leave(destination, self._frontends[owner][server].lingering)

    def difference(self) -> IpvsDifference:
        """Return what is between wanted and held. Pass it to `applied` when it was done."""
        servers, destinations = self._servers.updates(), self._destinations.updates()
        gone = self._servers.deletions()
        going = set(gone)
        have_servers, have_destinations = self._servers.actual, self._destinations.actual
        return IpvsDifference(
            add_servers={key: value for key, value in servers.items() if key not in have_servers},
            set_servers={key: value for key, value in servers.items() if key in have_servers},
            add_destinations={key: value for key, value in destinations.items() if key not in have_destinations},
            set_destinations={key: value for key, value in destinations.items() if key in have_destinations},
            add_addresses=list(self._vips.tracker.updates()),
            delete_addresses=self._vips.tracker.deletions(),
            delete_destinations=[key for key in self._destinations.deletions() if key.server not in going],
            delete_servers=gone,
        )

    def applied(self, difference: IpvsDifference) -> None:
        """Record that a difference is in the kernel."""
        self._servers.applied(difference.add_servers | difference.set_servers, difference.delete_servers)
        # All deletions, those that went along with their virtual server included.
        self._destinations.applied(
            difference.add_destinations | difference.set_destinations, self._destinations.deletions()
        )
        self._vips.tracker.applied(dict.fromkeys(difference.add_addresses, True), difference.delete_addresses)

    def _taken_over(self, key: str, server: VirtualServer) -> IpvsFrontend | None:
        """Take a virtual server from another Service, which is to be looked at later: return what it was there."""
        owner = self._owners.get(server, key)
        return self._frontends[owner].pop(server) if owner != key else None

    def _replace(self, before: IpvsFrontend | None, frontend: IpvsFrontend) -> None:
        server = frontend.server
        self._servers.want(server, frontend.scheduling)
        for destination in frontend.destinations:
            if self._destinations.desired.get(destination) != WEIGHT:
                self._destinations.want(destination, WEIGHT)
                self.drain.end(destination)
        self._vips.hold(frontend.vip)
        if before is not None:
            staying = set(frontend.destinations)
            for destination in (*before.destinations, *before.lingering):
                if destination not in staying:
                    self._leave(destination, frontend.lingering)
            self._vips.release(before.vip)
        elif server in self._leaving:
            self._stop_leaving(server)

    def _remove(self, frontend: IpvsFrontend) -> None:
        server = frontend.server
        del self._owners[server]
        destinations = (*frontend.destinations, *frontend.lingering, *self.drain.waiting(server))
        self._leave_server(server, frontend.vip, destinations)
        self._vips.release(frontend.vip)

    def _leave_server(self, server: VirtualServer, vip: str, destinations: Iterable[Destination]) -> None:
        """Leave a virtual server to the connections that it may have, or take it away where none can be."""
        for destination in destinations:
            self._leave(destination, ())
        how = self._servers.actual.get(server)
        if not self.drain.waiting(server) or not isinstance(how, Scheduling):
            self._servers.unwant(server)
            return
        self._servers.want(server, how)
        self._vips.hold(vip)
        self._leaving[server] = vip
        self._moved.add(server)
        self.drain.hurry(server)

    def _stop_leaving(self, server: VirtualServer) -> None:
        self._vips.release(self._leaving.pop(server))
        self._moved.add(server)

    def _leave(self, destination: Destination, lingering: Collection[Destination]) -> None:
        """Give a destination no new connections, or take it away where it need not wait, or never was."""
        if destination not in self._destinations.actual:
            self._destinations.unwant(destination)
        elif drains(destination.server):
            self._destinations.want(destination, DRAINING_WEIGHT)
            self.drain.begin(destination)
        elif destination in lingering:
            self._destinations.want(destination, DRAINING_WEIGHT)
        else:
            self._destinations.unwant(destination)

    def _note_taken(self, key: str, intents: Iterable[PortIntent]) -> None:
        self.taken.pop(key, None)
        for intent in intents:
            for ip, field in taken_addresses(intent, self._settings.node_ips):
                # Load balancers of some clusters give out the addresses of all nodes: that is no single node's matter.
                error = ObjectError if field == FIELDS[FrontendKind.LOAD_BALANCER] else OwnAddress
                what = f"{ip} is an address of this node, which can't be a VIP; not served on it"
                self.taken.setdefault(key, error(f"Service {key}", field, what))
