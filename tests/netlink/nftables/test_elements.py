"""Elements: bytes, chunks, and what the reader makes of anything."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.message import split_attributes
from kproxy.netlink.nftables.elements import ElementCodec, keys_of
from kproxy.plan.nftables.expressions import Verdict
from kproxy.plan.nftables.model import IP_DADDR, L4PROTO, TH_DPORT, VERDICTS, SetSpec, commented, key, verdict_value
from kproxy.state.addresses import FAMILIES, Family
from tests.netlink.nftables import samples
from tests.netlink.nftables.samples import TCP, host, ip, port

SPECS = {spec.name: spec for spec in samples.specs(Family.IPV4)}
FRONTEND = key(ip("10.96.0.10"), TCP, port(80))


def unmarked(data: bytes) -> bytes:
    """The same elements as the kernel lists them: without the marks of nesting."""
    out = bytearray(data)
    for header in ("0180", "0280", "0a80"):
        out = out.replace(bytes.fromhex(header), bytes([int(header[:2], 16), 0]))
    return bytes(out)


def test_bytes_of_a_map_element() -> None:
    """add element ip kproxy endpoints { 10.96.0.10 . tcp . 80 . 1 : 10.180.0.1 . 8080 }."""
    elements = {FRONTEND + host(1): key(ip("10.180.0.1"), port(8080))}
    [(count, data)] = ElementCodec(SPECS["endpoints"]).additions(elements)
    assert count == 1
    assert data == (
        bytes.fromhex("2c00 0180")  # NFTA_LIST_ELEM
        + bytes.fromhex("1800 0180 1400 0100")  # NFTA_SET_ELEM_KEY { NFTA_DATA_VALUE
        + bytes.fromhex("0a60000a 06000000 00500000")
        + host(1)
        + bytes.fromhex("1000 0280 0c00 0100")  # NFTA_SET_ELEM_DATA { NFTA_DATA_VALUE
        + bytes.fromhex("0ab40001 1f900000")
    )


def test_bytes_of_a_verdict_element_with_a_comment() -> None:
    """add element ip kproxy services { 10.96.0.10 . tcp . 80 comment "foo" : goto c2 }, as nft writes it."""
    elements = {FRONTEND: verdict_value(Verdict("goto", "c2"), "foo")}
    [(_, data)] = ElementCodec(SPECS["services"]).additions(elements)
    assert data == bytes.fromhex(
        "3c00 0180"
        "1400 0180 1000 0100 0a60000a 06000000 00500000"
        "1800 0280 1400 0280 0800 0100 fffffffc 0700 0200 6332 0000"
        "0a00 0600 0004 666f6f00 0000"
    )


def test_bytes_of_an_interval() -> None:
    """add element ip kproxy ranges { 10.96.0.10 . tcp . 80 . 10.0.0.0/8 }."""
    first, last = FRONTEND + ip("10.0.0.0"), FRONTEND + ip("10.255.255.255")
    [(_, data)] = ElementCodec(SPECS["ranges"]).additions({first + last: b""})
    assert data == (
        bytes.fromhex("3400 0180 1800 0180 1400 0100") + first + bytes.fromhex("1800 0a80 1400 0100") + last
    )


def test_bytes_of_keys_of_odd_lengths() -> None:
    [(_, data)] = ElementCodec(SPECS["protocols"]).additions({TCP: port(80), b"\x11": port(53)})
    one = "1c00 0180 0c00 0180 0500 0100 06000000 0c00 0280 0600 0100 00500000"
    other = "1c00 0180 0c00 0180 0500 0100 11000000 0c00 0280 0600 0100 00350000"
    assert data == bytes.fromhex(one + other)
    [(_, data)] = ElementCodec(SPECS["protocols"]).deletions([TCP])
    assert data == bytes.fromhex("1000 0180 0c00 0180 0500 0100 06000000")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", samples.elements(Family.IPV4))
def test_what_is_written_is_read(family: Family, name: str) -> None:
    spec = {spec.name: spec for spec in samples.specs(family)}[name]
    elements = samples.elements(family)[name]
    codec = ElementCodec(spec)
    for marks in (lambda data: data, unmarked):
        read: dict[bytes, bytes] = {}
        for _, data in codec.additions(elements):
            codec.read(marks(data), read)
        assert read == elements
    deleted = [found for _, data in codec.deletions(elements) for found in keys_of(data)]
    assert deleted == [one[: spec.key_length] for one in elements]


@pytest.mark.parametrize("name", ["endpoints", "services", "hairpin", "ranges"])
def test_long_lists_are_cut_where_an_attribute_ends(name: str) -> None:
    """NLA lengths have 16 bits. Nothing is lost, doubled or out of order."""
    spec = SPECS[name]
    values = {"services": b"goto cluster-2\0default/web:http", "endpoints": bytes(8)}
    length = spec.key_length * (2 if spec.interval else 1)
    elements = {number.to_bytes(length): values.get(name, b"") for number in range(5000)}
    codec = ElementCodec(spec)
    chunks = list(codec.additions(elements))
    assert len(chunks) > 1
    assert all(len(data) <= 65531 for _, data in chunks)
    assert all(len(data) > 65400 for _, data in chunks[:-1]), "as few as possible"
    read: dict[bytes, bytes] = {}
    for count, data in chunks:
        before = len(read)
        codec.read(data, read)
        assert len(read) == before + count
    assert list(read) == list(elements)
    assert read == elements
    assert sum(count for count, _ in codec.deletions(elements)) == 5000


def test_some_elements_with_comments_among_others_without() -> None:
    elements = {ip("10.0.0.1"): b"", ip("10.0.0.2"): commented(b"", "a node"), ip("10.0.0.3"): b""}
    codec = ElementCodec(SPECS["addresses"])
    read: dict[bytes, bytes] = {}
    for _, data in codec.additions(elements):
        codec.read(data, read)
    assert read == elements


def test_nothing_to_write() -> None:
    for name in ("endpoints", "services", "ranges", "hairpin"):
        assert list(ElementCodec(SPECS[name]).additions({})) == []
        assert list(ElementCodec(SPECS[name]).deletions([])) == []


def test_a_key_or_value_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="services: a key that has not 12 bytes"):
        ElementCodec(SPECS["services"]).additions({b"short": b"drop"})
    with pytest.raises(ValueError, match="endpoints: a value with less than 8 bytes"):
        ElementCodec(SPECS["endpoints"]).additions({bytes(16): bytes(7)})
    with pytest.raises(ValueError, match="ranges: a key that has not 32 bytes"):
        ElementCodec(SPECS["ranges"]).deletions([bytes(16)])


def test_counters_are_read_and_are_no_part_of_the_element() -> None:
    """As Linux 6.18 lists an element of a map with `counter`."""
    counter = "2c00 0700 0c00 0100 636f756e74657200 1c00 0200 0c00 0100 000000000000012c 0c00 0200 0000000000000003"
    data = bytes.fromhex("3c00 0100 0c00 0100 0800 0100 0a600001") + bytes.fromhex(counter)
    spec = SetSpec("counted", (IP_DADDR,), counter=True)
    elements: dict[bytes, bytes] = {}
    counters: dict[bytes, tuple[int, int]] = {}
    codec = ElementCodec(spec)
    codec.read(data, elements)
    codec.read_counters(data, counters)
    assert elements == {ip("10.96.0.1"): b""}
    assert counters == {ip("10.96.0.1"): (3, 300)}


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.data())
def test_damaged_lists_raise_nothing_else(name: str, data: st.DataObject) -> None:
    spec = SPECS[name]
    length = spec.key_length * (2 if spec.interval else 1)
    value = b"goto x" if spec.data == VERDICTS else bytes(spec.data_length)
    [(_, listed)] = ElementCodec(spec).additions({bytes(length): value, b"\1" * length: value})
    damaged = bytearray(unmarked(listed))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    codec = ElementCodec(spec)
    try:
        codec.read(cut, {})
        codec.read_counters(cut, {})
        list(keys_of(cut))
        list(split_attributes(cut))
    except MalformedMessage:
        pass


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.binary(max_size=120))
def test_any_bytes_raise_nothing_else(data: bytes) -> None:
    for spec in (SPECS["endpoints"], SetSpec("x", (L4PROTO, TH_DPORT), data=VERDICTS)):
        with contextlib.suppress(MalformedMessage):
            ElementCodec(spec).read(data, {})
