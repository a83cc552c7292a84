"""The table that keeps DNS on the node out of connection tracking, and so out of every NAT rule.

What is looked up in the set is not tracked, and what is not tracked meets no NAT: a query for the cluster DNS
Service's own address goes to the socket that is bound to it here. The elements expire unless they are entered again and
again: when the server dies, the kernel itself puts the ordinary rules back in place, and with them the cluster's DNS.

In nft's own words::

    table ip kproxy-dns {
      set served {
        typeof ip daddr . meta l4proto . th dport
        timeout 5s
        elements = { 169.254.20.10 . udp . 53, 169.254.20.10 . tcp . 53, 10.96.0.10 . udp . 53, ... }
      }
      chain prerouting {
        type filter hook prerouting priority raw;
        ip daddr . meta l4proto . th dport @served notrack
      }
      chain output {
        type filter hook output priority raw;
        ip daddr . meta l4proto . th dport @served notrack
        ip saddr . meta l4proto . th sport @served notrack
      }
    }
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final, Literal

from kproxy.plan.nftables.expressions import Lookup, Meta, Notrack, load_address, load_port
from kproxy.plan.nftables.model import IP6_DADDR, IP_DADDR, L4PROTO, TH_DPORT, Chain, Hook, Rule, SetSpec, key
from kproxy.plan.nftables.transaction import (
    AddChain,
    AddElements,
    AddSet,
    AddTable,
    DeleteTable,
    FlushSet,
    Operation,
    Transaction,
)
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from collections.abc import Iterable

TABLE: Final = "kproxy-dns"
TIMEOUT_MS: Final = 5000
_SET: Final = "served"
_RAW: Final = -300
"""Before connection tracking, which comes at -200."""
_PROTOCOLS: Final = (6, 17)


def serve(family: Family, addresses: Iterable[tuple[str, int]]) -> Transaction:
    """Return the transaction that makes the table anew, and enters (IP, port) pairs for the next `TIMEOUT_MS`."""
    spec = _set(family)
    fields = [(ipaddress.ip_address(ip).packed, port.to_bytes(2)) for ip, port in addresses]
    elements = {key(ip, bytes((protocol,)), port): b"" for ip, port in fields for protocol in _PROTOCOLS}
    operations: tuple[Operation, ...] = (
        AddTable(),
        DeleteTable(),
        AddTable("kproxy: DNS on this node"),
        AddSet(spec),
        *(AddChain(chain) for chain in _chains(family)),
        AddElements(spec, elements),
    )
    return Transaction(family, TABLE, operations)


def withdraw(family: Family) -> Transaction:
    """Return the transaction after which everything is tracked again; the table must be there."""
    return Transaction(family, TABLE, (FlushSet(_SET),))


def remove(family: Family) -> Transaction:
    """Return the transaction that leaves nothing, whether the table is there or not."""
    return Transaction(family, TABLE, (AddTable(), DeleteTable()))


def _set(family: Family) -> SetSpec:
    address = IP_DADDR if family is Family.IPV4 else IP6_DADDR
    return SetSpec(_SET, (address, L4PROTO, TH_DPORT), timeout_ms=TIMEOUT_MS)


def _chains(family: Family) -> tuple[Chain, ...]:
    to, back = _rule(family, "daddr", "dport"), _rule(family, "saddr", "sport")
    return (
        Chain("prerouting", (to,), Hook("filter", "prerouting", _RAW)),
        Chain("output", (to, back), Hook("filter", "output", _RAW)),
    )


def _rule(family: Family, address: Literal["saddr", "daddr"], port: Literal["sport", "dport"]) -> Rule:
    behind = family.bits // 32
    return Rule(
        (
            load_address(family, address, 0),
            Meta("l4proto", behind),
            load_port(port, behind + 1),
            Lookup(_SET, 0),
            Notrack(),
        )
    )
