"""Expressions against nft's own bytes, and against bytes of any kind."""

from __future__ import annotations

import contextlib
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.message import attribute, nested, split_attributes
from kproxy.netlink.nftables.expressions import read_expressions, read_verdict, write_expressions, write_verdict
from kproxy.netlink.nftables.wire import register_number, register_of, u32
from kproxy.plan.nftables.expressions import VERDICT, Cmp, Counter, Dnat, Expression, Masquerade, Reject, Verdict
from kproxy.state.addresses import FAMILIES, Family
from tests.netlink.nftables import samples

little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes were recorded on a little-endian host")


def recorded(family: Family) -> list[tuple[str, bytes]]:
    """(rule, NFTA_RULE_EXPRESSIONS) as nft wrote it and the kernel lists it."""
    path = Path(__file__).with_name(f"nft-{samples.WORDS[family]}.txt")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [(words, bytes.fromhex(data)) for words, data in zip(lines[::2], lines[1::2], strict=True)]


CASES = [
    pytest.param(family, data, samples.rules(family)[words], id=f"{family}: {words}")
    for family in FAMILIES
    for words, data in recorded(family)
]


@little_endian
@pytest.mark.parametrize(("family", "data", "expressions"), CASES)
def test_nfts_bytes_are_read(family: Family, data: bytes, expressions: tuple[Expression, ...]) -> None:
    assert read_expressions(data, family) == expressions


@little_endian
@pytest.mark.parametrize(("family", "data", "expressions"), CASES)
def test_what_is_written_has_nfts_attributes(family: Family, data: bytes, expressions: tuple[Expression, ...]) -> None:
    """The same but for the order, the marks of nesting, and what the kernel adds by itself."""
    written, listed = tree(write_expressions(expressions, family)), tree(data)
    assert within(written, listed), f"{written}\n{listed}"


@pytest.mark.parametrize("family", FAMILIES)
def test_learning_takes_registers_that_exist(family: Family) -> None:
    expressions = samples.learning(family)[1]
    assert read_expressions(write_expressions(expressions, family), family) == expressions


def test_bytes_of_a_verdict() -> None:
    assert write_verdict(Verdict("goto", "other")) == bytes.fromhex(
        "1800 0280"  # NFTA_DATA_VERDICT, nested
        "0800 0100 fffffffc"  # code: NFT_GOTO
        "0a00 0200 6f7468657200 0000"  # chain
    )
    assert write_verdict(Verdict("drop")) == bytes.fromhex("0c00 0280 0800 0100 00000000")
    assert read_verdict(write_verdict(Verdict("return"))) == Verdict("return")
    assert read_verdict(bytes.fromhex("0c00 0200 0800 0100 0000007b")) is None


def test_bytes_of_a_comparison() -> None:
    assert write_expressions((Cmp(0, "==", b"\x06"),), Family.IPV4) == bytes.fromhex(
        "2c00 0180"
        "0800 0100 636d7000"  # "cmp"
        "2000 0280"
        "0800 0100 00000001"  # register 1
        "0800 0200 00000000"  # equal
        "0c00 0380 0500 0100 06000000"  # value
    )


def test_registers() -> None:
    assert [register_number(register) for register in (VERDICT, 0, 1, 3, 4, 8, 12, 15)] == [0, 1, 9, 11, 2, 3, 4, 23]
    assert [register_of(register_number(register)) for register in range(16)] == list(range(16))
    assert register_of(8) == 0, "NFT_REG32_00 is where NFT_REG_1 begins"
    for number in (5, 7, 24, 1 << 31):
        with pytest.raises(MalformedMessage):
            register_of(number)
    with pytest.raises(ValueError, match="16"):
        register_number(16)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param((b"masq\0\0\0\0", b"quux\0\0\0\0"), id="a name that there is not"),
        pytest.param((struct.pack("!I", 16), struct.pack("!I", 4)), id="masquerade random"),
        pytest.param((struct.pack("=HH", 8, 1), struct.pack("=HH", 8, 2)), id="masquerade to a port"),
    ],
)
def test_what_kproxy_never_writes_is_foreign(change: tuple[bytes, bytes]) -> None:
    data = write_expressions((Masquerade(fully_random=True),), Family.IPV4)
    assert read_expressions(data.replace(*change), Family.IPV4) is None


def test_a_snat_or_a_range_is_foreign() -> None:
    data = write_expressions((Dnat(0, 1),), Family.IPV4)
    assert read_expressions(data, Family.IPV4) == (Dnat(0, 1),)
    assert read_expressions(data, Family.IPV6) is None, "an address of the other family"
    assert read_expressions(data.replace(u32(1, 1), u32(1, 0), 1), Family.IPV4) is None, "snat"
    assert read_expressions(data.replace(u32(6, 9), u32(6, 10)), Family.IPV4) is None, "a range of ports"


def test_counters_compare_equal_whatever_they_counted() -> None:
    counted = nested(1, attribute(1, b"counter\0"), nested(2, attribute(1, b"\1" * 8), attribute(2, b"\2" * 8)))
    assert read_expressions(counted, Family.IPV4) == (Counter(),)
    # Where 64-bit numbers must be aligned (in User-Mode Linux, for one), the kernel pads.
    padded = attribute(3, b"") + attribute(1, b"\1" * 8) + attribute(3, b"") + attribute(2, b"\2" * 8)
    assert read_expressions(nested(1, attribute(1, b"counter\0"), nested(2, padded)), Family.IPV4) == (Counter(),)


def test_an_icmp_code_of_another_kind_is_foreign() -> None:
    data = write_expressions((Reject(),), Family.IPV4)
    assert read_expressions(data.replace(b"\x05\0\x02\0\3", b"\x05\0\x02\0\1"), Family.IPV4) is None


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.sampled_from(CASES), st.data())
def test_damaged_bytes_raise_nothing_else(case: object, data: st.DataObject) -> None:
    family, listed, _ = case.values  # type: ignore[attr-defined]
    damaged = bytearray(listed)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    with contextlib.suppress(MalformedMessage):
        read_expressions(bytes(damaged[:cut]), family)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(FAMILIES))
def test_any_bytes_raise_nothing_else(data: bytes, family: Family) -> None:
    try:
        read_expressions(data, family)
        read_verdict(data)
    except MalformedMessage:
        pass


Tree = tuple[tuple[int, object], ...]


def tree(data: bytes) -> Tree:
    """Attributes, by kind; what can be taken apart is."""
    return tuple(
        sorted(((kind, leaf_or_tree(value)) for kind, value in split_attributes(data)), key=lambda one: one[0])
    )


def leaf_or_tree(value: bytes) -> object:
    if len(value) > 4 and value[1] == 0 and 4 <= value[0] <= len(value) and value[2] < 16 and value[3] in (0, 0x80):
        try:
            return tree(value)
        except MalformedMessage:
            pass
    return value


def within(written: Tree, listed: Tree) -> bool:
    """Every attribute written is listed, in the order of the expressions."""
    rest = list(listed)
    for kind, value in written:
        for index, (other_kind, other) in enumerate(rest):
            nested_too = isinstance(value, tuple) and isinstance(other, tuple)
            if kind == other_kind and (within(value, other) if nested_too else value == other):  # type: ignore[arg-type]
                del rest[index]
                break
        else:
            return value == b"" or value == ()
    return True
