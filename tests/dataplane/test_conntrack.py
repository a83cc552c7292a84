"""Stale flows in a real conntrack table: the conntrack tool makes the entries and says what is left."""

from __future__ import annotations

import errno
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane.conntrack import delete_stale, load
from kproxy.errors import PermissionMissing
from kproxy.netlink import conntrack
from kproxy.netlink.errors import DumpInterrupted, NetlinkRefused, refusal
from kproxy.netlink.message import Message
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.stale_flows import UdpFrontend
from kproxy.plan.udp_frontends import UdpFrontends
from kproxy.state.addresses import Family
from tests.netlink import entries
from tests.netlink.netns import PrivateNetns
from tests.netlink.test_socket import drop_capabilities_of_this_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kproxy.netlink.exchange import Request

NOTHING: frozenset[str] = frozenset()


@pytest.fixture
def netns() -> Iterator[PrivateNetns]:
    with PrivateNetns() as made:
        yield made


class Addresses:
    """The addresses of one family's story."""

    def __init__(self, family: Family) -> None:
        self.family = family
        six = family is Family.IPV6
        self.client = "fd02::9" if six else "10.2.0.9"
        self.vip = "fd00::a" if six else "10.96.0.10"
        self.other_vip = "fd00::b" if six else "10.96.0.11"
        self.old = "fd01::5" if six else "10.1.0.5"
        self.new = "fd01::6" if six else "10.1.0.6"
        self.node = "fd03::1" if six else "192.168.0.1"
        self.elsewhere = "fd09::7" if six else "198.51.100.7"

    def allowed(self, *addresses: str, port: int = 5353) -> frozenset[str]:
        return frozenset(f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address in addresses)

    def flow(
        self, sport: int, destination: str, dport: int, replier: str, reply_port: int = 5353, more: str = "-p udp"
    ) -> str:
        return (
            f"-I {more} -s {self.client} -d {destination} --sport {sport} --dport {dport} "
            f"-r {replier} -q {self.client} --reply-port-src {reply_port} --reply-port-dst {sport} -t 600"
        )

    def left(self, netns: PrivateNetns) -> set[str]:
        """Source ports of the entries that are left, as `conntrack -L` prints them (with their zone, if any)."""
        found = set()
        for line in netns.tool("conntrack", "-L", "-f", self.family.lower()).splitlines():
            port = re.search(r"sport=(\d+)", line)
            zone = re.search(r"zone(?:-orig|-reply)?=\d+", line)
            assert port is not None
            found.add(port[1] + (f" {zone[0]}" if zone else ""))
        return found


@pytest.fixture(params=list(Family), ids=str)
def of(request: pytest.FixtureRequest) -> Addresses:
    return Addresses(request.param)


@pytest.mark.root
class TestDeleteStale:
    def test_only_flows_to_endpoints_that_are_gone(self, netns: PrivateNetns, of: Addresses) -> None:
        netns.conntrack(
            of.flow(1001, of.vip, 53, of.old),
            of.flow(1002, of.vip, 53, of.new),
            of.flow(1003, of.vip, 53, of.vip, 53),
            of.flow(1004, of.vip, 54, of.old),
            of.flow(1005, of.other_vip, 53, of.old),
            of.flow(1006, of.old, 5353, of.old),
            of.flow(1007, of.vip, 53, of.old, more="-p tcp --state ESTABLISHED"),
            of.flow(1008, of.vip, 53, of.old, 5354),
        )
        frontends = {UdpFrontend(of.vip, 53): of.allowed(of.new)}
        assert netns.run(lambda: delete_stale(of.family, frontends)) == 3
        assert of.left(netns) == {"1002", "1004", "1005", "1006", "1007"}
        assert netns.run(lambda: delete_stale(of.family, frontends)) == 0

    def test_several_frontends_at_several_ports(self, netns: PrivateNetns, of: Addresses) -> None:
        netns.conntrack(
            of.flow(1001, of.vip, 53, of.old),
            of.flow(1002, of.other_vip, 54, of.old),
            of.flow(1003, of.other_vip, 54, of.new),
            of.flow(1004, of.other_vip, 55, of.old),
        )
        frontends = {UdpFrontend(of.vip, 53): NOTHING, UdpFrontend(of.other_vip, 54): of.allowed(of.new)}
        assert netns.run(lambda: delete_stale(of.family, frontends)) == 2
        assert of.left(netns) == {"1003", "1004"}

    def test_node_ports_only_on_addresses_of_the_node(self, netns: PrivateNetns, of: Addresses) -> None:
        netns.conntrack(
            of.flow(1001, of.node, 30053, of.old),
            of.flow(1002, of.node, 30053, of.new),
            of.flow(1003, of.elsewhere, 30053, of.elsewhere, 30053),
            of.flow(1004, of.node, 30054, of.node, 30054),
        )
        frontends = {UdpFrontend(None, 30053): of.allowed(of.new)}
        assert netns.run(lambda: delete_stale(of.family, frontends, [of.node])) == 1
        assert of.left(netns) == {"1002", "1003", "1004"}

    def test_zones_are_told_apart(self, netns: PrivateNetns, of: Addresses) -> None:
        netns.conntrack(
            of.flow(1001, of.vip, 53, of.new),
            of.flow(1001, of.vip, 53, of.old, more="-p udp -w 7"),
            of.flow(1002, of.vip, 53, of.old),
            of.flow(1002, of.vip, 53, of.new, more="-p udp -w 7"),
            of.flow(1003, of.vip, 53, of.old, more="-p udp --orig-zone 9"),
            of.flow(1003, of.vip, 53, of.new, more="-p udp --orig-zone 8"),
            of.flow(1004, of.vip, 53, of.old, more="-p udp --reply-zone 9"),
            of.flow(1005, of.vip, 53, of.new, more="-p udp --reply-zone 8"),
        )
        frontends = {UdpFrontend(of.vip, 53): of.allowed(of.new)}
        assert netns.run(lambda: delete_stale(of.family, frontends)) == 4
        assert of.left(netns) == {"1001", "1002 zone=7", "1003 zone-orig=8", "1005 zone-reply=8"}

    def test_thousands(self, netns: PrivateNetns, of: Addresses) -> None:
        netns.conntrack(
            *(of.flow(port, of.vip, 53, of.old if port % 4 else of.new) for port in range(2000, 8000)),
            of.flow(1000, of.other_vip, 53, of.old),
        )
        frontends = {UdpFrontend(of.vip, 53): of.allowed(of.new)}
        assert netns.run(lambda: delete_stale(of.family, frontends)) == 4500
        assert of.left(netns) == {"1000"} | {str(port) for port in range(2000, 8000, 4)}

    def test_a_life(self, netns: PrivateNetns, of: Addresses) -> None:
        """First sync, endpoint replaced, scaled to zero, Service deleted."""
        frontend = UdpFrontend(of.vip, 53)
        both, one = of.allowed(of.old, of.new), of.allowed(of.new)
        steps = [(both, {"1001", "1002"}), (one, {"1002"}), (one, {"1002"}), (NOTHING, set())]
        udp = UdpFrontends()
        netns.conntrack(
            of.flow(1001, of.vip, 53, of.old), of.flow(1002, of.vip, 53, of.new), of.flow(1003, of.vip, 53, of.vip, 53)
        )
        for serving, left in steps:
            udp.set_service("ns1/dns", {frontend: serving})
            netns.run(lambda: delete_stale(of.family, udp.changed()))
            udp.cleaned()
            assert of.left(netns) == left
        netns.conntrack(of.flow(1004, of.vip, 53, of.new))
        udp.set_service("ns1/dns", {})
        assert netns.run(lambda: delete_stale(of.family, udp.changed())) == 1
        assert of.left(netns) == set()

    def test_a_flow_made_anew_in_between_is_not_hit(self, netns: PrivateNetns, of: Addresses) -> None:
        """The client was faster than we: same original tuple, and the kernel likes to give it the same id again."""
        frontends = {UdpFrontend(of.vip, 53): of.allowed(of.new)}
        netns.conntrack(of.flow(1001, of.vip, 53, of.old))
        asked = []

        class Slow(NetlinkSocket):
            def batch(self, requests: Sequence[Request], *, in_one_send: bool = False) -> list[NetlinkRefused | None]:
                asked.append(len(requests))
                delete = ["-D", "-p", "udp", "-s", of.client, "-d", of.vip, "--sport", "1001", "--dport", "53"]
                for arguments in (delete, of.flow(1001, of.vip, 53, of.new).split()):
                    subprocess.run(["conntrack", *arguments], check=True, capture_output=True)
                return super().batch(requests, in_one_send=in_one_send)

        assert netns.run(lambda: delete_stale(of.family, frontends, open_socket=Slow)) == 0
        assert asked == [1]
        assert of.left(netns) == {"1001"}

    def test_a_flow_the_other_way_round_is_not_hit(self, netns: PrivateNetns, of: Addresses) -> None:
        """The reply tuple of a stale flow may be the original tuple of another, once the stale one is gone."""
        frontends = {UdpFrontend(of.vip, 53): NOTHING}
        netns.conntrack(of.flow(1001, of.vip, 53, of.old))
        reverse = f"-I -p udp -s {of.old} -d {of.client} --sport 5353 --dport 1001 -r {of.client} -q {of.old} "
        reverse += "--reply-port-src 1001 --reply-port-dst 5353 -t 600"

        class Slow(NetlinkSocket):
            def batch(self, requests: Sequence[Request], *, in_one_send: bool = False) -> list[NetlinkRefused | None]:
                delete = ["-D", "-p", "udp", "-s", of.client, "-d", of.vip, "--sport", "1001", "--dport", "53"]
                for arguments in (delete, reverse.split()):
                    subprocess.run(["conntrack", *arguments], check=True, capture_output=True)
                return super().batch(requests, in_one_send=in_one_send)

        assert netns.run(lambda: delete_stale(of.family, frontends, open_socket=Slow)) == 0
        assert of.left(netns) == {"5353"}

    def test_a_kernel_that_refuses_the_filter(self, netns: PrivateNetns, of: Addresses) -> None:
        netns.conntrack(
            of.flow(1001, of.vip, 53, of.old),
            of.flow(1002, of.vip, 53, of.new),
            of.flow(1003, of.vip, 53, of.old, more="-p tcp --state ESTABLISHED"),
        )
        frontends = {UdpFrontend(of.vip, 53): of.allowed(of.new)}
        assert netns.run(lambda: delete_stale(of.family, frontends, open_socket=WithoutFilter)) == 1
        assert of.left(netns) == {"1002", "1003"}

    def test_a_list_that_is_never_complete_is_used_after_three_attempts(
        self, netns: PrivateNetns, of: Addresses
    ) -> None:
        netns.conntrack(of.flow(1001, of.vip, 53, of.old), of.flow(1002, of.vip, 53, of.new))
        frontends = {UdpFrontend(of.vip, 53): of.allowed(of.new)}
        Interrupted.dumps = 0
        assert netns.run(lambda: delete_stale(of.family, frontends, open_socket=Interrupted)) == 1
        assert Interrupted.dumps == 3
        assert of.left(netns) == {"1002"}

    def test_without_the_capability(self, netns: PrivateNetns, of: Addresses) -> None:
        def clean_up() -> int:
            drop_capabilities_of_this_thread()
            return delete_stale(of.family, {UdpFrontend(of.vip, 53): NOTHING})

        with pytest.raises(PermissionMissing, match="CAP_NET_ADMIN"):
            netns.run(clean_up)


class WithoutFilter(NetlinkSocket):
    def dump(self, request: Request) -> Iterator[Message]:
        if len(request.body) > 4:
            raise refusal(request.operation, errno.EOPNOTSUPP)
        return super().dump(request)


class Interrupted(NetlinkSocket):
    dumps = 0

    def dump(self, request: Request) -> Iterator[Message]:
        type(self).dumps += 1
        yield from super().dump(request)
        raise DumpInterrupted("interrupted")


def test_nothing_to_look_for_asks_nothing() -> None:
    def refuse() -> NetlinkSocket:
        raise AssertionError("no socket is needed")

    assert delete_stale(Family.IPV4, {}, ["192.168.0.1"], open_socket=refuse) == 0
    assert delete_stale(Family.IPV4, {UdpFrontend(None, 30053): NOTHING}, [], open_socket=refuse) == 0


class Scripted(NetlinkSocket):
    """No kernel behind it: lists one flow, and answers deletions with what it was told to."""

    outcomes: tuple[NetlinkRefused | None, ...] = ()

    def __init__(self) -> None:
        pass

    def close(self) -> None:
        pass

    def dump(self, request: Request) -> Iterator[Message]:
        yield Message(0x1FF, 2, 1, b"not an entry")
        yield Message(conntrack.ENTRY, 2, 1, entries.TRANSLATED)

    def batch(self, requests: Sequence[Request], *, in_one_send: bool = False) -> list[NetlinkRefused | None]:
        return list(self.outcomes)


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [((None, None), 2), ((None, refusal("x", errno.ENOENT)), 1), ((refusal("x", errno.ENOENT),), 0)],
)
def test_flows_that_are_gone_already_are_not_counted(
    monkeypatch: pytest.MonkeyPatch, outcomes: tuple[NetlinkRefused | None, ...], expected: int
) -> None:
    monkeypatch.setattr(Scripted, "outcomes", outcomes)
    assert delete_stale(Family.IPV4, {UdpFrontend("10.96.0.10", 53): NOTHING}, open_socket=Scripted) == expected


def test_any_other_refusal_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "outcomes", (None, refusal("delete this one", errno.EBUSY)))
    with pytest.raises(NetlinkRefused, match="delete this one: in use"):
        delete_stale(Family.IPV4, {UdpFrontend("10.96.0.10", 53): NOTHING}, open_socket=Scripted)


def test_a_kernel_that_is_asked_to_load_it_and_has_none() -> None:
    """Whoever wanted it says what is missing."""

    class Without(Scripted):
        def dump(self, request: Request) -> Iterator[Message]:
            raise refusal("list IPv4 conntrack entries", errno.EINVAL)

    load(open_socket=Without)


@pytest.mark.root
def test_the_kernel_understands_how_it_is_asked_to_load_it(netns: PrivateNetns) -> None:
    sent: list[Request] = []

    class Noted(NetlinkSocket):
        def dump(self, request: Request) -> Iterator[Message]:
            yield from super().dump(request)
            sent.append(request)

    netns.run(lambda: load(open_socket=Noted))
    assert len(sent) == 1
