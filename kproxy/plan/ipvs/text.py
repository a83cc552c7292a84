"""Virtual servers as lines of `ipvsadm -Sn`: for people, and for `ipvsadm -R`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.plan.ipvs.server import Flag
from kproxy.state.addresses import with_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.plan.ipvs.server import Destination, Scheduling, VirtualServer
    from kproxy.plan.ipvs.servers import IpvsDifference

_OPTIONS = {"TCP": "-t", "UDP": "-u", "SCTP": "--sctp-service"}


def render_servers(difference: IpvsDifference) -> Iterator[str]:
    """Yield the lines that add what a difference adds, each virtual server before its destinations."""
    by_server: dict[VirtualServer, list[Destination]] = {server: [] for server in sorted(difference.add_servers)}
    for destination in sorted(difference.add_destinations):
        by_server[destination.server].append(destination)
    for server, destinations in by_server.items():
        yield f"-A {_named(server)} {_chosen(difference.add_servers[server])}"
        for destination in destinations:
            place = with_port(destination.ip, destination.port)
            yield f"-a {_named(server)} -r {place} -m -w {difference.add_destinations[destination]}"


def _named(server: VirtualServer) -> str:
    return f"{_OPTIONS[server.protocol]} {with_port(server.ip, server.port)}"


def _chosen(how: Scheduling) -> str:
    """Return the scheduler and its options; persistence is for a client's whole address."""
    words = [f"-s {how.scheduler}"]
    if how.flags & Flag.PERSISTENT:
        words.append(f"-p {how.timeout_s}")
    if how.flags & Flag.SOURCE_PORT:
        words.append(f"-b {how.scheduler}-port")
    return " ".join(words)
