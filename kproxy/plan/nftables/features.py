"""What the nftables mode needs of a kernel, each feature as operations that try it in a table of their own.

They are only ever checked, never committed (`nft --check`), and none of them depends on another but for the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kproxy.plan.family import AFFINITY
from kproxy.plan.nftables.expressions import (
    VERDICT,
    Ct,
    Dnat,
    Dynset,
    Fib,
    Lookup,
    Masquerade,
    Meta,
    Numgen,
    Reject,
    load_address,
    load_port,
)
from kproxy.plan.nftables.model import (
    IP6_DADDR,
    IP6_SADDR,
    IP_DADDR,
    IP_SADDR,
    L4PROTO,
    TH_DPORT,
    VERDICTS,
    Chain,
    Hook,
    Rule,
    SetSpec,
)
from kproxy.plan.nftables.transaction import AddChain, AddSet, AddTable, Transaction
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from kproxy.plan.nftables.expressions import Expression
    from kproxy.plan.nftables.transaction import Operation

PROBE_TABLE = "kproxy-probe"

_FRONTEND = {Family.IPV4: (IP_DADDR, L4PROTO, TH_DPORT), Family.IPV6: (IP6_DADDR, L4PROTO, TH_DPORT)}
_SOURCE = {Family.IPV4: IP_SADDR, Family.IPV6: IP6_SADDR}


class Feature(NamedTuple):
    """A feature in nft's words, what provides it in a kernel, and what goes without rules if it is missing."""

    name: str
    provider: str
    transaction: Transaction
    only_for: str = ""


def features(family: Family) -> tuple[Feature, ...]:
    """Return what to try in one family, the general before the particular."""
    number = 4 if family is Family.IPV4 else 6
    wide = family.bits // 32
    address, port = load_address(family, "daddr", 0), load_port("dport", wide)
    frontends = SetSpec("frontends", _FRONTEND[family], data=VERDICTS)
    ranges = SetSpec("ranges", (*_FRONTEND[family], _SOURCE[family]), interval=True)
    pins = SetSpec("pins", (_SOURCE[family],), data=(_SOURCE[family],), dynamic=True, timeout_ms=0, size=1)
    vmap = Rule((address, Meta("l4proto", wide), load_port("dport", wide + 1), Lookup("frontends", 0, VERDICT)))
    nat = Hook("nat", "prerouting", -100)
    learn = (load_address(family, "saddr", 0), load_address(family, "daddr", 4), Dynset("pins", 0, 4, 1000))

    def feature(name: str, provider: str, *operations: Operation, only_for: str = "") -> Feature:
        return Feature(name, provider, Transaction(family, PROBE_TABLE, (AddTable(), *operations)), only_for)

    def rule(name: str, provider: str, *expressions: Expression, hook: Hook | None = None) -> Feature:
        return feature(name, provider, AddChain(Chain("probe", (Rule(expressions),), hook)))

    return (
        feature(f"tables of {family}", f"CONFIG_NF_TABLES and CONFIG_NF_TABLES_IPV{number}"),
        feature("verdict maps", "CONFIG_NF_TABLES", AddSet(frontends), AddChain(Chain("probe", (vmap,)))),
        feature("intervals in concatenations", "Linux 5.6", AddSet(ranges)),
        rule("numgen", "the module nft_numgen", Numgen(2, 0)),
        rule("ct", "the module nft_ct", Ct("state", 0), Ct("daddr", 0, "original")),
        rule("fib", f"the module nft_fib_ipv{number}", Fib("daddr", 0), hook=Hook("filter", "prerouting", 0)),
        rule("dnat", "the modules nft_chain_nat and nft_nat", address, port, Dnat(0, wide), hook=nat),
        rule("masquerade", "the module nft_masq", Masquerade(), hook=Hook("nat", "postrouting", 100)),
        rule("reject", f"the module nft_reject_ipv{number}", Reject(), hook=Hook("filter", "input", 0)),
        feature(
            "maps that rules fill",
            "CONFIG_NF_TABLES",
            *(AddSet(pins), AddChain(Chain("probe", (Rule(learn),), Hook("filter", "postrouting", 90)))),
            only_for=AFFINITY,
        ),
    )
