"""Virtual servers through the real kernel and back, with ipvsadm as the witness. Runs where the kernel has IPVS."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from kproxy.netlink import genetlink, ipvs
from kproxy.netlink.ipvs import IpvsRequests, ListedServer, Timeouts, read_destination, read_server, read_timeouts
from kproxy.netlink.socket import NetlinkSocket, raise_refusals
from kproxy.plan.ipvs.server import Destination, Flag, Scheduling, VirtualServer
from tests.netlink.netns import PrivateNetns
from tests.uml.needs import needs_ipvs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kproxy.netlink.exchange import Request

pytestmark = [pytest.mark.root, pytest.mark.uml, needs_ipvs]

WEB = VirtualServer("10.96.0.20", "TCP", 80)
SERVERS = {
    WEB: (Scheduling("rr", prefix=32), "-t 10.96.0.20:80 -s rr"),
    VirtualServer("10.96.0.20", "UDP", 53): (
        Scheduling("wlc", Flag.PERSISTENT, 10800, 24),
        "-u 10.96.0.20:53 -s wlc -p 10800 -M 255.255.255.0",
    ),
    VirtualServer("10.96.0.20", "SCTP", 9): (
        Scheduling("sh", Flag.SOURCE_PORT | Flag.FALLBACK, 0, 32),
        "--sctp-service 10.96.0.20:9 -s sh -b sh-fallback,sh-port",
    ),
    VirtualServer("10.96.0.21", "UDP", 53): (Scheduling("rr", Flag.ONE_PACKET, 0, 32), "-u 10.96.0.21:53 -s rr -o"),
    VirtualServer("fd00:10:96::20", "TCP", 80): (
        Scheduling("mh", Flag.PERSISTENT | Flag.SOURCE_PORT, 60, 64),
        "-t [fd00:10:96::20]:80 -s mh -p 60 -M 64 -b mh-port",
    ),
    VirtualServer("fd00:10:96::20", "SCTP", 9): (
        Scheduling("lc", 0, 0, 128),
        "--sctp-service [fd00:10:96::20]:9 -s lc",
    ),
}
SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh")


class Ipvs:
    """A namespace with a socket in it."""

    def __init__(self, netns: PrivateNetns) -> None:
        self.netns = netns
        self.socket = netns.run(lambda: NetlinkSocket(genetlink.NETLINK_GENERIC))
        answer = self.socket.request(genetlink.family_request(ipvs.NAME))
        self.requests = IpvsRequests(genetlink.read_family(ipvs.NAME, answer))

    def do(self, *requests: Request) -> None:
        raise_refusals(self.socket.batch(requests))

    def codes(self, *requests: Request) -> list[int]:
        return [outcome.code if outcome else 0 for outcome in self.socket.batch(requests)]

    def servers(self) -> list[ListedServer]:
        return [read_server(message.body) for message in self.socket.dump(self.requests.list_servers())]

    def saved(self) -> set[str]:
        """The lines of ipvsadm."""
        return set(self.netns.tool("ipvsadm", "-Sn").splitlines())

    def restore(self, *lines: str) -> None:
        self.netns.tool("ipvsadm", "-R", stdin="".join(f"{line}\n" for line in lines))


@pytest.fixture
def kernel() -> Iterator[Ipvs]:
    with PrivateNetns() as netns:
        made = Ipvs(netns)
        yield made
        made.socket.close()


def test_what_is_written_is_what_ipvsadm_reads(kernel: Ipvs) -> None:
    kernel.do(*(kernel.requests.add_server(server, how) for server, (how, _) in SERVERS.items()))
    assert kernel.saved() == {f"-A {line}" for _, line in SERVERS.values()}


def test_what_ipvsadm_writes_is_what_is_read(kernel: Ipvs) -> None:
    kernel.restore(*(f"-A {line}" for _, line in SERVERS.values()), "-A -f 7 -s rr")
    found = {listed.server: listed.scheduling for listed in kernel.servers()}
    assert found.pop(None) == Scheduling("rr", 0, 0, 32)
    assert found == {server: how for server, (how, _) in SERVERS.items()}


def test_every_scheduler(kernel: Ipvs) -> None:
    for port, name in enumerate(SCHEDULERS, start=1):
        kernel.do(kernel.requests.add_server(VirtualServer("10.96.0.1", "TCP", port), Scheduling(name)))
    assert {listed.scheduling.scheduler for listed in kernel.servers()} == set(SCHEDULERS)


def test_a_server_is_changed_in_place(kernel: Ipvs) -> None:
    """Persistence comes and goes, the scheduler is another one, and the destinations stay."""
    requests = kernel.requests
    kernel.do(requests.add_server(WEB, Scheduling("rr")), requests.add_destination(Destination(WEB, "10.1.2.3", 4)))
    kernel.do(requests.set_server(WEB, Scheduling("mh", Flag.PERSISTENT | Flag.SOURCE_PORT, 60)))
    place = "-a -t 10.96.0.20:80 -r 10.1.2.3:4 -m -w 1"
    assert kernel.saved() == {"-A -t 10.96.0.20:80 -s mh -p 60 -b mh-port", place}
    kernel.do(requests.set_server(WEB, Scheduling("lc")))
    assert kernel.saved() == {"-A -t 10.96.0.20:80 -s lc", place}


@pytest.mark.parametrize(
    ("server", "ip", "option", "shown"),
    [
        (WEB, "10.244.1.11", "-t 10.96.0.20:80", "10.244.1.11:8080"),
        (VirtualServer("fd00:10:96::20", "UDP", 53), "fd00::b", "-u [fd00:10:96::20]:53", "[fd00::b]:8080"),
    ],
)
def test_a_destination_comes_and_drains_and_goes(
    kernel: Ipvs, server: VirtualServer, ip: str, option: str, shown: str
) -> None:
    requests, destination = kernel.requests, Destination(server, ip, 8080)

    def listed() -> list[ipvs.ListedDestination]:
        dump = kernel.socket.dump(requests.list_destinations(server))
        return [read_destination(server, message.body) for message in dump]

    kernel.do(requests.add_server(server, Scheduling("rr")), requests.add_destination(destination))
    for weight in (1, 0, 5):
        kernel.do(requests.set_destination(destination, weight))
        assert f"-a {option} -r {shown} -m -w {weight}" in kernel.saved()
        assert listed() == [ipvs.ListedDestination(destination, weight, 0, 0, 0)]
    kernel.do(requests.delete_destination(destination))
    assert listed() == []
    kernel.do(requests.delete_server(server))
    assert kernel.saved() == set()


def _answers(requests: IpvsRequests) -> list[tuple[Request, int]]:
    absent = VirtualServer("10.96.0.99", "TCP", 80)
    there, away = Destination(WEB, "10.1.2.3", 4), Destination(WEB, "10.1.2.3", 5)
    return [
        (requests.add_server(WEB, Scheduling("rr")), errno.EEXIST),
        (requests.add_server(absent, Scheduling("nosuch")), errno.ENOENT),
        (requests.set_server(absent, Scheduling("rr")), errno.ESRCH),
        (requests.delete_server(absent), errno.ESRCH),
        (requests.add_destination(there), errno.EEXIST),
        (requests.set_destination(away, 0), errno.ENOENT),
        (requests.delete_destination(away), errno.ENOENT),
        (requests.add_destination(Destination(absent, "10.1.2.3", 4)), errno.ESRCH),
        (requests.delete_destination(Destination(absent, "10.1.2.3", 4)), errno.ESRCH),
    ]


def test_what_the_kernel_answers_is_what_the_docstrings_say(kernel: Ipvs) -> None:
    requests = kernel.requests
    kernel.do(requests.add_server(WEB, Scheduling("rr")), requests.add_destination(Destination(WEB, "10.1.2.3", 4)))
    asked = _answers(requests)
    assert kernel.codes(*(request for request, _ in asked)) == [code for _, code in asked]


def test_an_unknown_server_has_no_destinations(kernel: Ipvs) -> None:
    assert list(kernel.socket.dump(kernel.requests.list_destinations(WEB))) == []


def test_timeouts_of_zero_leave_the_kernels_alone(kernel: Ipvs) -> None:
    def now() -> Timeouts:
        return read_timeouts(kernel.socket.request(kernel.requests.get_timeouts())[0].body)

    kernel.do(kernel.requests.set_timeouts(Timeouts(800, 70, 90)))
    kernel.do(kernel.requests.set_timeouts(Timeouts(tcp_fin_s=60)))
    assert now() == Timeouts(800, 60, 90)
    assert "800 60 90" in kernel.netns.tool("ipvsadm", "-Ln", "--timeout")


@pytest.mark.parametrize("count", [3000])
def test_thousands_in_one_batch(kernel: Ipvs, count: int) -> None:
    server: Callable[[int], VirtualServer] = lambda n: VirtualServer(f"10.96.{n >> 8}.{n & 255}", "TCP", 80)  # noqa: E731
    kernel.do(*(kernel.requests.add_server(server(n), Scheduling("rr")) for n in range(count)))
    assert len(kernel.servers()) == len(kernel.saved()) == count
