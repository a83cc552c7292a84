from __future__ import annotations

import ipaddress
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.nfnetlink.nfctsocket import FILTER_FLAG_CTA_PROTO_DST_PORT, FILTER_FLAG_CTA_PROTO_NUM, nfct_msg

from kproxy.netlink import conntrack
from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.message import attribute_map, split_attributes, split_messages
from kproxy.plan.stale_flows import Flow
from kproxy.state.addresses import Family
from tests.netlink import entries

if TYPE_CHECKING:
    from collections.abc import Callable

    from kproxy.netlink.exchange import Request

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the recorded bytes are little endian")


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


# Values from the lines of `conntrack -L` that stand above the bytes.
FLOWS: dict[str, tuple[bytes, int, bytes, int] | None] = {
    "translated": (ip("10.96.0.10"), 53, ip("10.1.0.5"), 5353),
    "black hole in zone 7": (ip("10.96.0.10"), 53, ip("10.96.0.10"), 53),
    "zone 9 for the original direction": (ip("10.96.0.10"), 53, ip("10.1.0.5"), 53),
    "zone 9 for the reply direction": (ip("10.96.0.10"), 53, ip("10.1.0.5"), 53),
    "TCP": None,
    "ICMP": None,
    "translated, IPv6": (ip("fd00::a"), 53, ip("fd01::5"), 5353),
}
READERS = (conntrack.read_flow, conntrack.read_flow_attributes)
reader = pytest.mark.parametrize("read", READERS, ids=("fixed layout first", "attribute by attribute"))


@reader
@pytest.mark.parametrize("name", FLOWS)
def test_reads_what_the_kernel_lists(name: str, read: Callable[[bytes], Flow | None]) -> None:
    entry, expected = entries.ENTRIES[name], FLOWS[name]
    assert read(entry) == (None if expected is None else Flow(*expected, entry))


@reader
def test_other_families_are_no_flows(read: Callable[[bytes], Flow | None]) -> None:
    assert read(b"\x07" + entries.TRANSLATED[1:]) is None


@reader
@pytest.mark.parametrize("name", FLOWS)
def test_a_truncated_entry_is_read_right_or_refused(name: str, read: Callable[[bytes], Flow | None]) -> None:
    entry, expected = entries.ENTRIES[name], FLOWS[name]
    for cut in range(len(entry)):
        try:
            flow = read(entry[:cut])
        except MalformedMessage:
            continue
        assert flow == (None if expected is None else Flow(*expected, entry[:cut]))


@given(st.sampled_from(sorted(entries.ENTRIES)), st.data())
def test_a_damaged_entry_raises_nothing_else_and_both_readers_agree(name: str, data: st.DataObject) -> None:
    entry = bytearray(entries.ENTRIES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        entry[data.draw(st.integers(0, len(entry) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(entry)
    try:
        by_attributes = conntrack.read_flow_attributes(damaged)
    except MalformedMessage:
        # The fixed layout may still fit where the damage is further on; no more than that.
        try:
            flow = conntrack.read_flow(damaged)
        except MalformedMessage:
            return
        assert flow is None or flow.entry == damaged
    else:
        assert conntrack.read_flow(damaged) == by_attributes


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_malformed_message(data: bytes) -> None:
    for read in READERS:
        try:
            read(data)
        except MalformedMessage:
            continue


def decoded(request: Request) -> Any:
    """The request as pyroute2's parser of the same protocol reads it."""
    message = nfct_msg(request.pack(1))
    message.decode()
    return message


@pytest.mark.parametrize(("family", "number"), [(Family.IPV4, 2), (Family.IPV6, 10)])
@pytest.mark.parametrize("port", [None, 53])
def test_dump_request_as_pyroute2_reads_it(family: Family, number: int, port: int | None) -> None:
    request = conntrack.dump_request(family, port)
    message = decoded(request)
    assert message["header"]["type"] == 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
    assert message["header"]["flags"] == 0x301  # NLM_F_REQUEST | NLM_F_DUMP
    assert message["nfgen_family"] == number
    assert [name for name, _ in message["attrs"]] == ["CTA_TUPLE_ORIG", "CTA_FILTER"]
    proto = dict(message.get_attr("CTA_TUPLE_ORIG").get_attr("CTA_TUPLE_PROTO")["attrs"])
    flags = message.get_attr("CTA_FILTER").get_attr("CTA_FILTER_ORIG_FLAGS")
    assert message.get_attr("CTA_TUPLE_ORIG").get_attr("CTA_TUPLE_IP") is None
    if port is None:
        assert proto == {"CTA_PROTO_NUM": 17}
        assert flags == FILTER_FLAG_CTA_PROTO_NUM
    else:
        assert proto == {"CTA_PROTO_NUM": 17, "CTA_PROTO_DST_PORT": port}
        assert flags == FILTER_FLAG_CTA_PROTO_NUM | FILTER_FLAG_CTA_PROTO_DST_PORT


def test_dump_request_says_what_pyroute2_would_send() -> None:
    # Recorded from pyroute2 0.9.7: NFCTSocket.dump(tuple_orig=NFCTAttrTuple(proto=17, dport=53)). It does not mark the
    # tuple as nested, and we do, as the conntrack tool does.
    recorded = bytes.fromhex(
        "02000000 18000100 14000200 05000100 11000000 06000300 00350000 0c001980 08000100 28000000"
    )
    ours = conntrack.dump_request(Family.IPV4, 53).body
    assert tree(ours[4:]) == tree(recorded[4:])
    assert ours[:4] == recorded[:4]


def tree(data: bytes) -> list[Any]:
    """Attributes as nested lists, as far down as they parse."""
    try:
        return [(kind, tree(value) if len(value) >= 5 else value) for kind, value in split_attributes(data)]
    except MalformedMessage:
        return [data]


def test_unfiltered_dump_request_is_what_the_conntrack_tool_sends() -> None:
    # strace of `conntrack -L -f ipv6`: {nfgen_family=AF_INET6, version=NFNETLINK_V0, res_id=htons(0)} and no attributes
    request = conntrack.unfiltered_dump_request(Family.IPV6)
    assert (request.type, request.flags, request.body) == (0x101, 0x300, bytes([10, 0, 0, 0]))


@pytest.mark.parametrize(
    ("name", "zone", "reply_zone", "client_port", "identity"),
    [
        ("translated", None, None, 4711, 2355980272),
        ("black hole in zone 7", 7, None, 4712, 114487883),
        ("zone 9 for the original direction", None, None, 4713, 953432271),
        ("zone 9 for the reply direction", None, 9, 4715, 4118456882),
        ("translated, IPv6", None, None, 4711, 1844401001),
    ],
)
def test_delete_request_has_tuple_zone_and_id_and_no_more(
    name: str, zone: int | None, reply_zone: int | None, client_port: int, identity: int
) -> None:
    entry = entries.ENTRIES[name]
    flow = conntrack.read_flow(entry)
    assert flow is not None
    request = conntrack.delete_request(flow)
    message = next(split_messages(request.pack(1)))
    assert message.type == 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
    assert message.flags == 0x005  # NLM_F_REQUEST | NLM_F_ACK
    attributes = attribute_map(message.body, 4)
    assert set(attributes) == {2, 12} | ({18} if zone else set())  # CTA_TUPLE_REPLY, CTA_ID, CTA_ZONE
    assert attributes[2] == attribute_map(entry, 4)[2]
    assert int.from_bytes(attributes[12]) == identity
    assert attributes.get(18) == (zone.to_bytes(2) if zone else None)
    assert attribute_map(attributes[2]).get(3) == (reply_zone.to_bytes(2) if reply_zone else None)
    ip6 = name.endswith("IPv6")
    assert request.operation == f"delete conntrack entry to {'[fd00::a]:53' if ip6 else '10.96.0.10:53'}"
    reply = decoded(request).get_attr("CTA_TUPLE_REPLY")
    version = "V6" if ip6 else "V4"
    assert dict(reply.get_attr("CTA_TUPLE_IP")["attrs"]) == {
        f"CTA_IP_{version}_SRC": str(ipaddress.ip_address(flow.reply_source)),
        f"CTA_IP_{version}_DST": "fd01::9" if ip6 else "10.1.0.9",
    }
    assert dict(reply.get_attr("CTA_TUPLE_PROTO")["attrs"]) == {
        "CTA_PROTO_NUM": 17,
        "CTA_PROTO_SRC_PORT": flow.reply_source_port,
        "CTA_PROTO_DST_PORT": client_port,
    }


@given(st.sampled_from(sorted(entries.ENTRIES)), st.data())
def test_there_is_never_a_delete_request_without_tuple(name: str, data: st.DataObject) -> None:
    """The kernel takes one for a request to flush the whole table."""
    entry = bytearray(entries.ENTRIES[name])
    for _ in range(data.draw(st.integers(0, 4))):
        entry[data.draw(st.integers(0, len(entry) - 1))] = data.draw(st.integers(0, 255))
    flow = Flow(ip("10.96.0.10"), 53, ip("10.1.0.5"), 53, bytes(entry[: data.draw(st.integers(0, len(entry)))]))
    try:
        request = conntrack.delete_request(flow)
    except MalformedMessage:
        return
    attributes = attribute_map(request.body, 4)
    assert {1, 2} <= set(attribute_map(attributes[2]))
    assert len(attributes[12]) == 4
