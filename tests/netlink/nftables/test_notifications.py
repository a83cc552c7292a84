"""Notifications: what is ours, what is another table's, and what is news."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.netlink import nfnetlink
from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.message import attribute
from kproxy.netlink.nftables import objects, wire
from kproxy.netlink.nftables.elements import ElementCodec
from kproxy.netlink.nftables.notifications import (
    MAX_KEYS,
    Change,
    ForeignChanges,
    ForeignTransaction,
    filter_program,
)
from kproxy.plan.nftables.model import Chain
from kproxy.state.addresses import Family
from tests.netlink.nftables import samples

if TYPE_CHECKING:
    from collections.abc import Collection

FOREIGN, OURS = 4711, 3_000_000_000
SERVICES = samples.specs(Family.IPV4)[0]


def message(kind: int, body: bytes, port: int = FOREIGN, family: Family | None = Family.IPV4) -> bytes:
    body = nfnetlink.header(family) + body
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 7, port) + body + bytes(-len(body) % 4)


def generation(process: str = "nft", port: int = FOREIGN) -> bytes:
    body = wire.u32(1, 42) + wire.u32(2, 1234) + wire.name(3, process)
    return message(wire.NEW_GENERATION, body, port, None)


def elements(kind: int, count: int, table: str = "kproxy", port: int = FOREIGN) -> bytes:
    added = {number.to_bytes(12): b"drop" for number in range(count)}
    lists = [data for _, data in ElementCodec(SERVICES).additions(added)]
    return b"".join(
        message(kind, objects.set_name_body(table, "services") + attribute(3, data), port) for data in lists
    )


def fed(*datagrams: bytes, own: Collection[int] = ()) -> list[ForeignTransaction]:
    changes = ForeignChanges("kproxy")
    return [found for datagram in datagrams for found in changes.feed(datagram, own)]


def test_a_transaction_is_told_when_its_generation_comes() -> None:
    chain = message(wire.DELETE_CHAIN, objects.chain_body("kproxy", Chain("cluster-2")))
    rules = message(wire.DELETE_RULE, objects.rules_of_chain_body("kproxy", "services"))
    assert fed(elements(wire.DELETE_ELEMENT, 5), rules + rules + chain) == []
    [found] = fed(elements(wire.DELETE_ELEMENT, 5), rules + rules + chain, generation())
    keys = [number.to_bytes(12) for number in range(MAX_KEYS)]
    assert found == ForeignTransaction(
        Family.IPV4,
        (
            Change("deleted", "elements", "services", 5, keys),
            Change("deleted", "rules", "services", 2),
            Change("deleted", "chain", "cluster-2", 1),
        ),
        "nft",
        1234,
    )


def test_each_family_is_told_by_itself() -> None:
    table = objects.table_body("kproxy")
    both = [message(wire.DELETE_TABLE, table, family=family) for family in (Family.IPV4, Family.IPV6)]
    found = fed(*both, generation("docker"))
    assert [(one.family, one.changes[0].what, one.process) for one in found] == [
        (Family.IPV4, "table", "docker"),
        (Family.IPV6, "table", "docker"),
    ]


def test_other_tables_and_families_are_no_news() -> None:
    bridge = bytearray(message(wire.DELETE_TABLE, objects.table_body("kproxy")))
    bridge[16] = 7  # NFPROTO_BRIDGE
    assert fed(elements(wire.NEW_ELEMENT, 3, table="kube-proxy"), bytes(bridge), generation()) == []


def test_our_own_transactions_are_no_news() -> None:
    own = elements(wire.NEW_ELEMENT, 3, port=OURS) + generation(port=OURS)
    assert fed(own, own=[OURS]) == []
    assert len(fed(own, own=[FOREIGN])) == 1


def test_a_transaction_between_two_of_ours() -> None:
    ours = elements(wire.NEW_ELEMENT, 1, port=OURS) + generation(port=OURS)
    theirs = elements(wire.DELETE_ELEMENT, 1) + generation("x")
    assert [found.process for found in fed(ours, theirs, ours, own=[OURS])] == ["x"]


def test_after_a_loss_nothing_of_before_is_told() -> None:
    changes = ForeignChanges("kproxy")
    assert list(changes.feed(elements(wire.DELETE_ELEMENT, 1))) == []
    changes.reset()
    assert list(changes.feed(generation())) == []


def test_without_a_process() -> None:
    [found] = fed(elements(wire.NEW_ELEMENT, 1), message(wire.NEW_GENERATION, wire.u32(1, 4), family=None))
    assert (found.process, found.pid) == ("", 0)


def run(program: bytes, datagram: bytes) -> int:
    """What the kernel's interpreter does with the three instructions that we use."""
    instructions = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        code, yes, no, value = instructions[at]
        at += 1
        if code == 0x20:
            accumulator = int.from_bytes(datagram[value : value + 4], "big")
        elif code == 0x15:
            at += yes if accumulator == value else no
        else:
            assert code == 0x06
            return int(value)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(st.integers(1, 0xFFFFFFFF), max_size=8, unique=True), st.integers(1, 0xFFFFFFFF))
def test_the_filter_drops_what_is_ours_and_nothing_else(own: list[int], port: int) -> None:
    program = filter_program(own)
    assert bool(run(program, generation(port=port))) == (port not in own)
    assert all(run(program, generation(port=one)) == 0 for one in own)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.data())
def test_damaged_notifications_raise_nothing_else(data: st.DataObject) -> None:
    whole = elements(wire.DELETE_ELEMENT, 2) + generation()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedMessage):
        fed(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
