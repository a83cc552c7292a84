from __future__ import annotations

import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.message import (
    DONE,
    ERROR,
    F_ACK_TLVS,
    F_CAPPED,
    F_DUMP,
    F_REQUEST,
    Ack,
    Message,
    attribute,
    attribute_map,
    nested,
    pack_message,
    read_ack,
    split_attributes,
    split_messages,
)
from tests.netlink import entries

little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="the recorded bytes are little endian")

# What rtnetlink of Linux 6.18 answered to `ip route add 10.1.2.3/8 dev lo` (which prints the same text) and to a
# request without error: with NETLINK_CAP_ACK and NETLINK_EXT_ACK set or not.
TEXT = "Invalid prefix for given prefix length"
REFUSED_PLAIN = (
    "380000000200000007000000df200000eaffffff2400000018000506070000000000000002080000fe04fd0100000000080001000a010203"
)
REFUSED_CAPPED = "240000000200000107000000df200000eaffffff24000000180005060700000000000000"
REFUSED_WITH_TEXT = (
    "640000000200000207000000df200000eaffffff2400000018000506070000000000000002080000fe04fd0100000000080001000a010203"
    "2b000100496e76616c69642070726566697820666f7220676976656e20707265666978206c656e6774680000"
)
REFUSED_CAPPED_WITH_TEXT = (
    "500000000200000307000000df200000eaffffff24000000180005060700000000000000"
    "2b000100496e76616c69642070726566697820666f7220676976656e20707265666978206c656e6774680000"
)
DUMP_DONE = "140000000300020001000000df20000000000000"


@little_endian
def test_request_has_the_bytes_the_conntrack_tool_sends() -> None:
    # strace of `conntrack -L -f ipv4`: len=20, type=CTNETLINK<<8|CT_GET, flags=REQUEST|DUMP, pid=0, {AF_INET, 0, 0}
    packed = pack_message(0x101, F_REQUEST | F_DUMP, 0x6B00B5AE, b"\x02\0\0\0")
    assert packed == bytes.fromhex("14000000 0101 0103 aeb5006b 00000000 02000000")


def test_odd_bodies_are_padded_so_that_a_message_can_follow() -> None:
    data = pack_message(16, 1, 1, b"abcde") + pack_message(17, 2, 2, b"")
    assert list(split_messages(data)) == [Message(16, 1, 1, b"abcde"), Message(17, 2, 2, b"")]


@little_endian
def test_splits_what_the_kernel_sent() -> None:
    messages = list(split_messages(entries.DATAGRAM))
    assert [message.body for message in messages] == [
        entries.ORIGINAL_ZONE_9,
        entries.TRANSLATED,
        entries.BLACK_HOLE_IN_ZONE_7,
        entries.ICMP,
        entries.REPLY_ZONE_9,
        entries.TCP,
    ]
    # CTNETLINK<<8|CT_NEW; NLM_F_MULTI|NLM_F_DUMP_FILTERED
    assert {(message.type, message.flags, message.sequence) for message in messages} == {(0x100, 0x22, 1)}


@little_endian
def test_a_datagram_cut_anywhere_yields_whole_messages_and_then_an_error() -> None:
    data = entries.DATAGRAM
    whole = list(split_messages(data))
    ends = [0]
    for message in whole:
        ends.append(ends[-1] + 16 + len(message.body))
    for cut in range(len(data)):
        seen, failed = [], False
        try:
            for message in split_messages(data[:cut]):
                seen.append(message)
        except MalformedMessage:
            failed = True
        assert seen == whole[: sum(end <= cut for end in ends) - 1]
        assert failed == (cut not in ends)


@pytest.mark.parametrize("length", [0, 1, 15, 17, 0xFFFFFFFF])
def test_wrong_message_length(length: int) -> None:
    with pytest.raises(MalformedMessage, match="message of length"):
        list(split_messages(struct.pack("=IHHII", length, 3, 0, 1, 0)))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_malformed_message(data: bytes) -> None:
    for read in (lambda: list(split_messages(data)), lambda: list(split_attributes(data))):
        try:
            read()
        except MalformedMessage:
            continue


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=8))
def test_attributes_come_back(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(attribute(kind, value) for kind, value in pairs)
    assert len(data) % 4 == 0
    assert list(split_attributes(data)) == pairs
    assert attribute_map(data) == dict(pairs)
    assert list(split_attributes(nested(1, data))) == [(1, data)]


def test_attribute_layout() -> None:
    # nla_len counts header and value, not the padding; NLA_F_NESTED is 0x8000.
    assert attribute(1, b"\x11") == struct.pack("=HH", 5, 1) + b"\x11\0\0\0"
    assert nested(2, attribute(1, b"")) == struct.pack("=HHHH", 8, 0x8002, 4, 1)


def test_last_attribute_may_lack_its_padding() -> None:
    assert attribute_map(attribute(1, b"\x11")[:-3]) == {1: b"\x11"}


@pytest.mark.parametrize("length", [0, 3, 9, 0xFFFF])
def test_wrong_attribute_length(length: int) -> None:
    with pytest.raises(MalformedMessage, match="attribute of length"):
        attribute_map(struct.pack("=HHI", length, 1, 0))


def test_an_attribute_has_a_longest_value() -> None:
    assert len(attribute(1, bytes(65531))) == 65536
    with pytest.raises(ValueError, match="attribute 1: 65532 bytes"):
        attribute(1, bytes(65532))


@little_endian
@pytest.mark.parametrize(
    ("recorded", "sequence", "code", "text"),
    [
        (REFUSED_PLAIN, 7, 22, ""),
        (REFUSED_CAPPED, 7, 22, ""),
        (REFUSED_WITH_TEXT, 7, 22, TEXT),
        (REFUSED_CAPPED_WITH_TEXT, 7, 22, TEXT),
        (DUMP_DONE, 1, 0, ""),
    ],
)
def test_reads_acknowledgements_of_the_kernel(recorded: str, sequence: int, code: int, text: str) -> None:
    (message,) = split_messages(bytes.fromhex(recorded))
    assert read_ack(message) == Ack(sequence, code, text)


def test_a_dump_can_end_with_an_error() -> None:
    assert read_ack(Message(DONE, 2, 5, struct.pack("=i", -16))) == Ack(5, 16, "")
    assert read_ack(Message(DONE, 2, 5, b"")) == Ack(5, 0, "")


@pytest.mark.parametrize(
    ("flags", "body"),
    [
        (0, b""),
        (0, b"\0\0\0"),
        (0, struct.pack("=i", 1)),
        (F_ACK_TLVS, struct.pack("=i", -1)),
        (F_ACK_TLVS, struct.pack("=iIHHII", -1, 15, 0, 0, 0, 0)),
        (F_ACK_TLVS, struct.pack("=iIHHII", -1, 9999, 0, 0, 0, 0)),
        (F_ACK_TLVS | F_CAPPED, struct.pack("=iIHHII", -1, 9999, 0, 0, 0, 0) + b"\1"),
    ],
)
def test_wrong_error_messages(flags: int, body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_ack(Message(ERROR, flags, 1, body))


@given(st.sampled_from([ERROR, DONE]), st.integers(0, 0xFFFF), st.binary(max_size=80))
def test_arbitrary_error_messages(kind: int, flags: int, body: bytes) -> None:
    try:
        ack = read_ack(Message(kind, flags, 1, body))
    except MalformedMessage:
        return
    assert ack.code >= 0
    assert ack.detail.isprintable()
