"""What stays of IPVS mode for connections, and the table that stands guard over it, in nft's words."""

from __future__ import annotations

from kproxy.plan.ipvs.remains import guard, guard_elements, guard_transaction, staying
from kproxy.plan.ipvs.server import Destination, VirtualServer
from kproxy.plan.nftables.text import render_table
from kproxy.plan.nftables.transaction import AddElements
from kproxy.state.addresses import Family

WEB, DNS = VirtualServer("10.96.0.10", "TCP", 80), VirtualServer("10.96.0.11", "UDP", 53)
GUARD = """\
table ip kproxy-ipvs {
	comment "kproxy, what is left of IPVS mode"

	set ipvs-draining {
		typeof ip daddr . meta l4proto . th dport
		elements = { 10.96.0.10 . tcp . 80 }
	}

	set ipvs-ips {
		typeof ip daddr
		elements = { 10.96.0.10 }
	}

	chain reject-chain {
		meta l4proto tcp reject with tcp reset
		reject
	}

	chain ipvs-closed {
		ip daddr . meta l4proto . th dport @ipvs-draining goto reject-chain
		ip daddr @ipvs-ips goto reject-chain
	}

	chain filter-input {
		type filter hook input priority 1; policy accept;
		ct state new jump ipvs-closed
	}

	chain filter-output {
		type filter hook output priority -99; policy accept;
		ct state new jump ipvs-closed
	}

	chain nat-postrouting {
		type nat hook postrouting priority 100; policy accept;
		ip saddr @ipvs-ips masquerade fully-random
	}
}
"""


def words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def test_the_guard() -> None:
    table = guard(Family.IPV4)
    assert words(render_table(table, guard_elements([WEB], ["10.96.0.10"]))) == words(GUARD)


def test_only_tcp_with_connections_stays() -> None:
    counted = {Destination(WEB, "10.244.1.1", 80): 0, Destination(WEB, "10.244.1.2", 80): 2}
    assert staying(counted) == {WEB}
    assert staying(dict.fromkeys(counted, 0)) == set()
    assert staying({Destination(DNS, "10.244.1.1", 53): 3}) == set()


def test_a_set_without_elements_is_made_all_the_same() -> None:
    made = guard_transaction(guard(Family.IPV6), guard_elements([], []))
    assert not [one for one in made.operations if isinstance(one, AddElements)]
