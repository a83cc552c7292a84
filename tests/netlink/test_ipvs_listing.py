from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.ipvs import ListedDestination
from kproxy.netlink.ipvs_listing import read_listing
from kproxy.plan.ipvs.server import Destination, VirtualServer

# Linux 6.12, with the virtual servers of `ipvsadm -Sn`:
# -A -t 10.96.0.10:80 -s rr
# -a -t 10.96.0.10:80 -r 10.244.1.11:8080 -m -w 1
# -A -u [fd00:10:96::a]:53 -s wlc -p 10800
# -a -u [fd00:10:96::a]:53 -r [fd00:10:244::b]:53 -m -w 0
# -A -f 7 -s rr
# -a -f 7 -r 10.244.1.11:0 -m -w 1
# -A --sctp-service 10.96.0.11:9 -s rr -o
# -a --sctp-service 10.96.0.11:9 -r 10.244.1.12:9 -g -w 65535
LISTED = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A60000A:0050 rr \x20
  -> 0AF4010B:1F90      Masq    1      2          3        \x20
UDP  [fd00:0010:0096:0000:0000:0000:0000:000a]:0035 wlc persistent 10800 80000000
  -> [fd00:0010:0244:0000:0000:0000:0000:000b]:0035      Masq    0      0          0        \x20
FWM  00000007 rr \x20
  -> 0AF4010B:0000      Masq    1      0          0        \x20
SCTP 0A60000B:0009 rr ops
  -> 0AF4010C:0009      Route   65535  0          0        \x20
"""
WEB, DNS = VirtualServer("10.96.0.10", "TCP", 80), VirtualServer("fd00:10:96::a", "UDP", 53)
SIGNALS = VirtualServer("10.96.0.11", "SCTP", 9)
EXPECTED = {
    WEB: (ListedDestination(Destination(WEB, "10.244.1.11", 8080), 1, 2, 3, 0),),
    DNS: (ListedDestination(Destination(DNS, "fd00:10:244::b", 53), 0, 0, 0, 0),),
    SIGNALS: (ListedDestination(Destination(SIGNALS, "10.244.1.12", 9), 65535, 0, 0, 0, translated=False),),
}


def test_reads_what_the_kernel_lists() -> None:
    assert read_listing(LISTED) == EXPECTED


def test_a_virtual_server_without_destinations_is_there() -> None:
    """So that one which is missing can be told from it."""
    assert read_listing("\n" * 3 + "TCP  0A60000A:0050 rr\n") == {WEB: ()}


def test_one_that_stands_there_twice_is_there_once() -> None:
    assert read_listing(LISTED + "\n".join(LISTED.splitlines()[3:])) == EXPECTED


@pytest.mark.parametrize("text", ["", LISTED[:40], "\n".join(LISTED.splitlines()[:3])])
def test_without_virtual_servers_there_are_no_destinations(text: str) -> None:
    assert read_listing(text) == {}


@pytest.mark.parametrize("line", ["  -> 0AF4010B:1F90      Masq    1      2", "TCP  0A60:0050 rr", "TCP  0A60000A rr"])
def test_a_line_that_makes_no_sense_is_shown(line: str) -> None:
    with pytest.raises(MalformedMessage, match=r"/proc/net/ip_vs: a line that can't be read"):
        read_listing(f"{LISTED}TCP  0A60000A:0050 rr\n{line}\n")


@given(st.integers(0, len(LISTED) - 1), st.characters(max_codepoint=127))
def test_a_damaged_listing_raises_nothing_else(place: int, character: str) -> None:
    with contextlib.suppress(MalformedMessage):
        read_listing(LISTED[:place] + character + LISTED[place + 1 :])
