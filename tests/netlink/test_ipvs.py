from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.netlink import genetlink
from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.ipvs import (
    IpvsRequests,
    ListedDestination,
    ListedServer,
    Timeouts,
    read_destination,
    read_server,
    read_timeouts,
)
from kproxy.netlink.message import F_DUMP, Message, attribute_map
from kproxy.plan.ipvs.server import Destination, Flag, Scheduling, VirtualServer
from tests.netlink import ipvs_bytes as recorded

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the recorded bytes are little endian")

TYPE = 0x17
REQUESTS = IpvsRequests(TYPE)
WEB = VirtualServer("10.96.0.20", "TCP", 80)
DNS6 = VirtualServer("fd00:10:96::20", "UDP", 53)
POD = Destination(WEB, "10.244.1.11", 8080)
POD6 = Destination(DNS6, "fd00:10:244::b", 53)


def test_a_virtual_server_has_the_bytes_that_ipvsadm_sends() -> None:
    added = REQUESTS.add_server(WEB, Scheduling("rr", Flag.PERSISTENT, 10800, 32))
    assert (added.type, added.flags, added.body) == (TYPE, 0, recorded.ADD_SERVER)
    assert REQUESTS.set_server(WEB, Scheduling("mh", Flag.SOURCE_PORT)).body == recorded.CHANGE_SERVER
    assert REQUESTS.add_server(DNS6, Scheduling("wlc", Flag.PERSISTENT, 60, 64)).body == recorded.ADD_SERVER_IPV6


@pytest.mark.parametrize(
    ("destination", "bytes_"), [(POD, recorded.ADD_DESTINATION), (POD6, recorded.ADD_DESTINATION_IPV6)]
)
def test_a_destination_says_what_ipvsadm_says(destination: Destination, bytes_: bytes) -> None:
    """But for the attributes about tunnels."""
    body = attribute_map(REQUESTS.add_destination(destination).body, genetlink.HEADER_LENGTH)
    theirs = {kind: value for kind, value in attribute_map(bytes_).items() if kind < 13}
    assert attribute_map(body[2]) == theirs


@pytest.mark.parametrize(
    ("body", "command"),
    [
        (REQUESTS.delete_server(WEB).body, 3),
        (REQUESTS.add_destination(POD).body, 5),
        (REQUESTS.set_destination(POD, 0).body, 6),
        (REQUESTS.delete_destination(POD).body, 7),
        (REQUESTS.list_destinations(WEB).body, 8),
    ],
)
def test_the_virtual_server_is_named_alike_in_all_requests(body: bytes, command: int) -> None:
    assert body[0] == command
    assert attribute_map(body, genetlink.HEADER_LENGTH)[1] == recorded.NAME


def test_requests_about_two_servers_in_turn_are_not_mixed_up() -> None:
    requests = IpvsRequests(TYPE)
    one, other = requests.add_destination(POD).body, requests.add_destination(POD6).body
    assert requests.add_destination(POD).body == one
    assert requests.add_destination(POD6).body == other != one


def test_a_weight_of_zero_is_said_and_not_left_out() -> None:
    body = attribute_map(REQUESTS.set_destination(POD, 0).body, genetlink.HEADER_LENGTH)
    assert attribute_map(body[2])[4] == b"\0\0\0\0"


def test_lists_are_dumps_and_the_rest_is_not() -> None:
    assert REQUESTS.list_servers().flags == REQUESTS.list_destinations(WEB).flags == F_DUMP
    assert REQUESTS.add_server(WEB, Scheduling("rr")).flags == REQUESTS.get_timeouts().flags == 0


def test_timeouts() -> None:
    assert REQUESTS.set_timeouts(Timeouts(900, 120, 300)).body == recorded.SET_TIMEOUTS
    assert read_timeouts(recorded.TIMEOUTS) == Timeouts(900, 120, 300)


def test_a_name_too_long_for_the_kernel_is_not_sent() -> None:
    with pytest.raises(ValueError, match="15 bytes"):
        REQUESTS.add_server(WEB, Scheduling("sixteen-letters-"))


LISTED = [
    (recorded.LISTED, ListedServer(VirtualServer("10.96.0.10", "TCP", 80), Scheduling("rr", 0, 0, 32))),
    (
        recorded.LISTED_PERSISTENT,
        ListedServer(VirtualServer("10.96.0.10", "UDP", 53), Scheduling("wlc", Flag.PERSISTENT, 10800, 24)),
    ),
    (
        recorded.LISTED_SCTP,
        ListedServer(VirtualServer("10.96.0.10", "SCTP", 9), Scheduling("sh", Flag.FALLBACK | Flag.SOURCE_PORT, 0, 32)),
    ),
    (
        recorded.LISTED_IPV6,
        ListedServer(
            VirtualServer("fd00:10:96::a", "TCP", 80), Scheduling("mh", Flag.PERSISTENT | Flag.SOURCE_PORT, 60, 64)
        ),
    ),
    (recorded.LISTED_MARK, ListedServer(None, Scheduling("rr", 0, 0, 32))),
]
LISTED_WEB = VirtualServer("10.96.0.10", "TCP", 80)
LISTED_WEB6 = VirtualServer("fd00:10:96::a", "TCP", 80)
DESTINATIONS = [
    (recorded.LISTED_DESTINATION, ListedDestination(Destination(LISTED_WEB, "10.244.1.11", 8080), 1, 2, 3, 0)),
    (
        recorded.LISTED_ROUTED,
        ListedDestination(Destination(LISTED_WEB, "10.244.1.11", 53), 7, 0, 0, 0, translated=False),
    ),
    (
        recorded.LISTED_DESTINATION_IPV6,
        ListedDestination(Destination(LISTED_WEB6, "fd00:10:244::b", 8080), 0, 0, 0, 0),
    ),
]


def _read_destination(expected: ListedDestination, body: bytes) -> ListedDestination:
    return read_destination(expected.destination.server, body)


@pytest.mark.parametrize(("body", "expected"), LISTED)
def test_reads_virtual_servers_as_the_kernel_lists_them(body: bytes, expected: ListedServer) -> None:
    assert read_server(body) == expected


@pytest.mark.parametrize(("body", "expected"), DESTINATIONS)
def test_reads_destinations_as_the_kernel_lists_them(body: bytes, expected: ListedDestination) -> None:
    assert _read_destination(expected, body) == expected


READERS: list[tuple[bytes, Callable[[bytes], object], object]] = [
    *((body, read_server, expected) for body, expected in LISTED),
    *((body, lambda data, d=expected: _read_destination(d, data), expected) for body, expected in DESTINATIONS),
    (recorded.TIMEOUTS, read_timeouts, Timeouts(900, 120, 300)),
]


@pytest.mark.parametrize("number", range(len(READERS)))
def test_a_truncated_entry_is_read_right_or_refused(number: int) -> None:
    body, read, expected = READERS[number]
    for cut in range(len(body)):
        try:
            found = read(body[:cut])
        except MalformedMessage:
            continue
        assert found == expected, f"cut at {cut}"


@given(st.integers(0, len(READERS) - 1), st.data())
def test_a_damaged_entry_raises_nothing_else(number: int, data: st.DataObject) -> None:
    body, read, _ = READERS[number]
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedMessage):
        read(bytes(damaged))


@given(st.binary(max_size=120))
def test_noise_raises_nothing_else(noise: bytes) -> None:
    for _, read, _ in READERS:
        with contextlib.suppress(MalformedMessage):
            read(noise)


def test_the_family_is_found_by_its_name() -> None:
    request = genetlink.family_request("IPVS")
    # strace of ipvsadm: CTRL_CMD_GETFAMILY, version 1, {CTRL_ATTR_FAMILY_NAME: "IPVS"}
    assert request.body == bytes.fromhex("03010000 09000200 49505653 00000000")
    answer = Message(16, 0, 1, bytes.fromhex("01020000 09000200 49505653 00000000 06000100 17000000"))
    assert genetlink.read_family("IPVS", [answer]) == 0x17
    with pytest.raises(MalformedMessage, match="does not say what the family IPVS is"):
        genetlink.read_family("IPVS", [Message(16, 0, 1, b"\1\2\0\0")])
