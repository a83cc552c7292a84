"""The socket against the kernel, in network namespaces of its own; the tools of the protocols are the witnesses."""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import TYPE_CHECKING

import pytest

from kproxy.errors import FeatureMissing, KernelError, PermissionMissing
from kproxy.netlink import conntrack, nfnetlink
from kproxy.netlink.errors import NetlinkRefused
from kproxy.netlink.exchange import Request
from kproxy.netlink.message import F_CREATE, F_DUMP, NOOP, attribute, attribute_map
from kproxy.netlink.socket import NetlinkSocket, raise_refusals
from kproxy.state.addresses import Family
from tests.netlink import entries
from tests.netlink.netns import PrivateNetns

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

FLOWS = 3000


@pytest.fixture
def netns() -> Iterator[PrivateNetns]:
    with PrivateNetns() as made:
        yield made


def insert_flows(netns: PrivateNetns, count: int) -> None:
    clients = (f"10.2.{number >> 8}.{number & 255}" for number in range(count))
    netns.conntrack(
        *(
            f"-I -p udp -s {client} -d 10.96.0.10 --sport 4711 --dport 53 -r 10.1.0.5 -q {client} "
            "--reply-port-src 53 --reply-port-dst 4711 -t 600"
            for client in clients
        )
    )


def absent(number: int) -> Request:
    """The request to delete an entry that is not there, with a name of its own."""
    flow = conntrack.read_flow(entries.TRANSLATED)
    assert flow is not None
    request = conntrack.delete_request(flow)
    return Request(f"delete flow {number}", request.type, request.body)


def test_in_bulk_refusals_are_told_from_the_rest(netns: PrivateNetns) -> None:
    """Over several sends; a kernel that answers nothing in between is not waited for."""
    insert_flows(netns, FLOWS)

    def delete() -> list[NetlinkRefused | None]:
        with NetlinkSocket() as netlink:
            bodies = [message.body for message in netlink.dump(conntrack.dump_request(Family.IPV4))]
            flows = [flow for flow in map(conntrack.read_flow, bodies) if flow is not None]
            requests = [conntrack.delete_request(flow) for flow in flows]
            for place in (0, 17, 1500, FLOWS - 1):
                requests[place] = absent(place)
            return netlink.bulk(requests)

    outcomes = netns.run(delete)
    refused = {index: outcome for index, outcome in enumerate(outcomes) if outcome is not None}
    assert len(outcomes) == FLOWS
    assert {index: (outcome.operation, outcome.code) for index, outcome in refused.items()} == {
        place: (f"delete flow {place}", errno.ENOENT) for place in (0, 17, 1500, FLOWS - 1)
    }


def test_dump_over_many_datagrams(netns: PrivateNetns) -> None:
    insert_flows(netns, FLOWS)

    def dump() -> tuple[int, int]:
        with NetlinkSocket() as netlink:
            flows = [conntrack.read_flow(message.body) for message in netlink.dump(conntrack.dump_request(Family.IPV4))]
            again = sum(1 for _ in netlink.dump(conntrack.dump_request(Family.IPV4, 53)))
        return len({flow.entry for flow in flows if flow}), again

    assert netns.tool("conntrack", "-C").strip() == str(FLOWS)
    assert netns.run(dump) == (FLOWS, FLOWS)


def test_each_request_of_a_large_batch_has_its_outcome(netns: PrivateNetns) -> None:
    def batch() -> list[NetlinkRefused | None]:
        with NetlinkSocket() as netlink:
            return netlink.batch([absent(number) for number in range(FLOWS)])

    outcomes = netns.run(batch)
    assert [(outcome.operation, outcome.code) if outcome else None for outcome in outcomes] == [
        (f"delete flow {number}", errno.ENOENT) for number in range(FLOWS)
    ]
    raise_refusals(outcomes, tolerate=frozenset({errno.ENOENT}))
    with pytest.raises(NetlinkRefused, match="delete flow 0: there is no such object"):
        raise_refusals(outcomes)


def test_an_empty_batch(netns: PrivateNetns) -> None:
    def batch() -> list[NetlinkRefused | None]:
        with NetlinkSocket() as netlink:
            return netlink.batch([], in_one_send=True) + netlink.batch([])

    assert netns.run(batch) == []


def test_lost_acknowledgements_are_told_and_the_socket_lives_on(
    netns: PrivateNetns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NetlinkSocket, "_make_room_for_acks", lambda _self, _acks: FLOWS)

    def batch() -> tuple[list[NetlinkRefused | None], list[NetlinkRefused | None]]:
        with NetlinkSocket() as netlink:
            lost = netlink.batch([absent(number) for number in range(FLOWS)])
            return lost, netlink.batch([absent(0)])

    lost, after = netns.run(batch)
    assert {outcome.code for outcome in lost if outcome} == {errno.ENOENT, errno.ENOBUFS}
    assert len([outcome for outcome in lost if outcome]) == FLOWS
    assert [outcome.code for outcome in after if outcome] == [errno.ENOENT]


def add_table(name: str) -> Request:
    """nft add table ip NAME"""
    body = nfnetlink.header(Family.IPV4) + attribute(1, name.encode() + b"\0")  # NFTA_TABLE_NAME
    kind = nfnetlink.message_type(nfnetlink.NFTABLES, 0)
    return Request(f"add table ip {name}", kind, body, F_CREATE)


def add_chain(table: str, name: str) -> Request:
    """nft add chain ip TABLE NAME"""
    body = attribute(1, table.encode() + b"\0") + attribute(3, name.encode() + b"\0")  # NFTA_CHAIN_TABLE, _NAME
    kind = nfnetlink.message_type(nfnetlink.NFTABLES, 3)
    return Request(f"add chain ip {table} {name}", kind, nfnetlink.header(Family.IPV4) + body, F_CREATE)


def transaction(*requests: Request) -> list[NetlinkRefused | None]:
    edge = nfnetlink.header(None, nfnetlink.NFTABLES)
    begin = Request("begin", nfnetlink.BATCH_BEGIN, edge, ack=False)
    end = Request("commit", nfnetlink.BATCH_END, edge, ack=False)
    with NetlinkSocket() as netlink:
        return netlink.batch([begin, *requests, end], in_one_send=True)


def test_a_transaction_in_one_send(netns: PrivateNetns) -> None:
    chains = [add_chain("filter-this", f"chain-{number}") for number in range(FLOWS)]
    assert netns.run(lambda: transaction(add_table("filter-this"), *chains)) == [None] * (FLOWS + 3)
    listed = netns.tool("nft", "list", "chains", "ip")
    assert "table ip filter-this" in listed
    assert listed.count("chain chain-") == FLOWS


def test_a_refused_transaction_changes_nothing_and_names_the_fault(netns: PrivateNetns) -> None:
    outcomes = netns.run(lambda: transaction(add_table("one"), add_chain("other", "input"), add_table("two")))
    assert [str(outcome) for outcome in outcomes if outcome] == [
        "add chain ip other input: there is no such object (ENOENT)"
    ]
    assert outcomes[2] is not None
    assert netns.tool("nft", "list", "tables") == ""


def test_other_protocols_and_single_answers(netns: PrivateNetns) -> None:
    """rtnetlink: `ip link show` and `ip link show dev lo`, whose header is `struct ifinfomsg`."""
    get_link = 18

    def ask() -> tuple[list[bytes | None], bytes | None]:
        with NetlinkSocket(0) as netlink:
            listed = netlink.dump(Request("list links", get_link, bytes(16), F_DUMP))
            names = [attribute_map(message.body, 16).get(3) for message in listed]  # IFLA_IFNAME
            (answer,) = netlink.request(Request("get link 1", get_link, struct.pack("=BBHiII", 0, 0, 0, 1, 0, 0)))
            with pytest.raises(NetlinkRefused, match="get link 999: no such link") as refused:
                netlink.request(Request("get link 999", get_link, struct.pack("=BBHiII", 0, 0, 0, 999, 0, 0)))
            assert refused.value.code == errno.ENODEV
        return names, attribute_map(answer.body, 16).get(3)

    names, name = netns.run(ask)
    assert b"lo\0" in names
    assert name == b"lo\0"


def test_the_kernels_own_words_are_passed_on(netns: PrivateNetns) -> None:
    """`ip route add 10.1.2.3/8 dev lo` prints the same text."""
    route = struct.pack("=BBBBBBBBI", 2, 8, 0, 0, 254, 4, 253, 1, 0) + attribute(1, bytes([10, 1, 2, 3]))

    def ask() -> list[NetlinkRefused | None]:
        with NetlinkSocket(0) as netlink:
            return netlink.batch([Request("add route 10.1.2.3/8", 24, route, F_CREATE)])

    (outcome,) = netns.run(ask)
    assert str(outcome) == (
        "add route 10.1.2.3/8: the kernel finds the request invalid (EINVAL): Invalid prefix for given prefix length"
    )


def test_no_answer_in_time(netns: PrivateNetns) -> None:
    def ask() -> None:
        with NetlinkSocket(timeout_s=0.01) as netlink:
            netlink.request(Request("say nothing", NOOP, b"", ack=False))

    with pytest.raises(KernelError, match=r"^say nothing: no answer from the kernel within 0.01 s$"):
        netns.run(ask)


def test_a_dump_given_up_half_way_closes_the_socket(netns: PrivateNetns) -> None:
    insert_flows(netns, FLOWS)

    def ask() -> None:
        with NetlinkSocket() as netlink:
            entries_of_dump = netlink.dump(conntrack.dump_request(Family.IPV4))
            next(entries_of_dump)
            entries_of_dump.close()  # type: ignore[attr-defined]
            netlink.batch([absent(0)])

    with pytest.raises(KernelError, match="EBADF"):
        netns.run(ask)


def test_without_the_capability(netns: PrivateNetns) -> None:
    def ask() -> None:
        drop_capabilities_of_this_thread()
        with NetlinkSocket() as netlink:
            list(netlink.dump(conntrack.dump_request(Family.IPV4)))

    with pytest.raises(PermissionMissing, match=r"list IPv4 conntrack entries: .*CAP_NET_ADMIN"):
        netns.run(ask)


def drop_capabilities_of_this_thread() -> None:
    header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    assert ctypes.CDLL(None).capset(header, bytes(24)) == 0


def test_a_protocol_the_kernel_does_not_have() -> None:
    with pytest.raises(FeatureMissing, match="netlink protocol 31"):
        NetlinkSocket(31)


def test_only_dump_requests_are_dumped() -> None:
    with NetlinkSocket() as netlink, pytest.raises(ValueError, match="not a dump"):
        next(netlink.dump(Request("add", 16, b"")))
