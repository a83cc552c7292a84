"""One of everything that kproxy writes to nf_tables: as nft lists it, and as a value."""

from __future__ import annotations

import ipaddress
import sys

from kproxy.plan.nftables.expressions import (
    LOCAL_ADDRESS,
    VERDICT,
    Bitwise,
    Cmp,
    Counter,
    Ct,
    Dnat,
    Dynset,
    Expression,
    Fib,
    Immediate,
    Lookup,
    Masquerade,
    Meta,
    Notrack,
    Numgen,
    Payload,
    Range,
    Reject,
    SetMeta,
    Verdict,
    load_address,
    load_port,
)
from kproxy.plan.nftables.model import (
    IP6_DADDR,
    IP6_SADDR,
    IP_DADDR,
    IP_SADDR,
    L4PROTO,
    MARK,
    SLOT,
    TH_DPORT,
    TH_SPORT,
    VERDICTS,
    Chain,
    Hook,
    Rule,
    SetSpec,
    Table,
    key,
    verdict_value,
)
from kproxy.state.addresses import Family

TCP, UDP = bytes([6]), bytes([17])
SADDR = {Family.IPV4: IP_SADDR, Family.IPV6: IP6_SADDR}
DADDR = {Family.IPV4: IP_DADDR, Family.IPV6: IP6_DADDR}
WORDS = {Family.IPV4: "ip", Family.IPV6: "ip6"}
ADDRESSES = {Family.IPV4: ("10.96.0.10", "10.180.0.1"), Family.IPV6: ("fd00:96::10", "fd00:18::1")}


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def port(number: int) -> bytes:
    return number.to_bytes(2)


def host(number: int) -> bytes:
    """A number in the host's byte order: a slot, a mark."""
    return (number & 0xFFFFFFFF).to_bytes(4, sys.byteorder)


def specs(family: Family) -> tuple[SetSpec, ...]:
    saddr, daddr = SADDR[family], DADDR[family]
    frontend = (daddr, L4PROTO, TH_DPORT)
    return (
        SetSpec("services", frontend, data=VERDICTS, comment="frontend -> shape"),
        SetSpec("endpoints", (*frontend, SLOT), data=(daddr, TH_DPORT)),
        SetSpec("affinity", (saddr, *frontend), data=(daddr, TH_DPORT), dynamic=True, timeout_ms=0, size=1 << 20),
        SetSpec("expiring", (saddr,), dynamic=True, timeout_ms=10_800_000, size=100),
        SetSpec("ranges", (*frontend, saddr), interval=True),
        SetSpec("counted", frontend, data=VERDICTS, counter=True),
        SetSpec("counted-data", (daddr, TH_DPORT), data=(daddr, TH_DPORT), counter=True),
        SetSpec("addresses", (daddr,)),
        SetSpec("ports", (TH_DPORT,), data=VERDICTS),
        SetSpec("protocols", (L4PROTO,), data=(TH_SPORT,)),
        SetSpec("marks", (MARK,), data=(MARK,)),
        SetSpec("hairpin", (saddr, daddr)),
    )


def rules(family: Family) -> dict[str, tuple[Expression, ...]]:
    """Rules by what `nft list` makes of them (nft 1.0.6; `TAB` is the chain that is jumped to)."""
    word = WORDS[family]
    wide = family.bits // 32
    saddr, daddr = load_address(family, "saddr", 0), load_address(family, "daddr", 0)
    frontend = (daddr, Meta("l4proto", wide), load_port("dport", wide + 1))
    frontend_words = f"{word} daddr . meta l4proto . th dport"
    slot = wide + 2
    vip = ip(ADDRESSES[family][0])
    prefix, prefix_words = (12, f"{word} saddr 10.160.0.0/12") if wide == 1 else (9, f"{word} saddr fd00::/9")
    mask = ((1 << prefix) - 1 << family.bits - prefix).to_bytes(family.bits // 8)
    network = ip("10.160.0.0" if wide == 1 else "fd00::")
    sixteen = Payload("network", 12 if wide == 1 else 8, 2, 0)
    marked = Bitwise(0, 0, host(0x4000), host(0))
    return {
        f"{frontend_words} vmap @services": (*frontend, Lookup("services", 0, VERDICT)),
        f"dnat {word} to {frontend_words} . numgen random mod 2 map @endpoints": (
            *(*frontend, Numgen(2, slot), Lookup("endpoints", 0, 0), Dnat(0, wide)),
        ),
        f"dnat {word} to {frontend_words} . numgen random mod 3 offset 65536 map @endpoints": (
            *(*frontend, Numgen(3, slot, 65536), Lookup("endpoints", 0, 0), Dnat(0, wide)),
        ),
        f"dnat to {ADDRESSES[family][0]}": (Immediate(0, vip), Dnat(0)),
        f"{word} daddr @addresses accept": (daddr, Lookup("addresses", 0), Verdict("accept")),
        f"{word} daddr != @addresses drop": (daddr, Lookup("addresses", 0, invert=True), Verdict("drop")),
        f"{word} saddr . {word} daddr @hairpin masquerade fully-random": (
            *(saddr, load_address(family, "daddr", wide), Lookup("hairpin", 0), Masquerade(fully_random=True)),
        ),
        "masquerade": (Masquerade(fully_random=False),),
        f"{word} saddr {ADDRESSES[family][0]} jump other": (saddr, Cmp(0, "==", vip), Verdict("jump", "other")),
        f"{word} saddr != {ADDRESSES[family][0]} goto other": (saddr, Cmp(0, "!=", vip), Verdict("goto", "other")),
        f"{prefix_words} return": (
            saddr,
            Bitwise(0, 0, mask, bytes(len(mask))),
            Cmp(0, "==", network),
            Verdict("return"),
        ),
        f"{word} saddr {'10.96.0.0/16' if wide == 1 else 'fd00::/16'} continue": (
            *(sixteen, Cmp(0, "==", vip[:2]), Verdict("continue")),
        ),
        "meta mark set meta mark | 0x00004000": (
            *(Meta("mark", 0), Bitwise(0, 0, host(~0x4000), host(0x4000)), SetMeta("mark", 0)),
        ),
        "meta mark set meta mark ^ 0x00004000": (
            *(Meta("mark", 0), Bitwise(0, 0, host(~0), host(0x4000)), SetMeta("mark", 0)),
        ),
        "meta mark & 0x00004000 == 0x00000000 return": (
            *(Meta("mark", 0), marked, Cmp(0, "==", host(0)), Verdict("return")),
        ),
        "meta mark set 0x00000001": (Immediate(0, host(1)), SetMeta("mark", 0)),
        'iifname "veth*" accept': (Meta("iifname", 0), Cmp(0, "==", b"veth"), Verdict("accept")),
        'oifname "cni0" accept': (Meta("oifname", 0), Cmp(0, "==", b"cni0".ljust(16, b"\0")), Verdict("accept")),
        'iif "lo" accept': (Meta("iif", 0), Cmp(0, "==", host(1)), Verdict("accept")),
        'oif "lo" accept': (Meta("oif", 0), Cmp(0, "==", host(1)), Verdict("accept")),
        "ct state != new accept": (Ct("state", 0), Cmp(0, "!=", host(8)), Verdict("accept")),
        "ct status ! dnat accept": (
            *(Ct("status", 0), Bitwise(0, 0, host(0x20), host(0)), Cmp(0, "==", host(0)), Verdict("accept")),
        ),
        "ct mark 0x00000004 accept": (Ct("mark", 0), Cmp(0, "==", host(4)), Verdict("accept")),
        "ct direction reply accept": (Ct("direction", 0), Cmp(0, "==", b"\1"), Verdict("accept")),
        f"ct original {word} daddr {ADDRESSES[family][0]} accept": (
            *(Ct("daddr", 0, "original"), Cmp(0, "==", vip), Verdict("accept")),
        ),
        f"ct reply {word} saddr {ADDRESSES[family][0]} accept": (
            *(Ct("saddr", 0, "reply"), Cmp(0, "==", vip), Verdict("accept")),
        ),
        "fib daddr type local jump other": (
            *(Fib("daddr", 0), Cmp(0, "==", host(LOCAL_ADDRESS)), Verdict("jump", "other")),
        ),
        "fib saddr type local jump other": (
            *(Fib("saddr", 0), Cmp(0, "==", host(LOCAL_ADDRESS)), Verdict("jump", "other")),
        ),
        "reject with tcp reset": (Meta("l4proto", 0), Cmp(0, "==", TCP), Reject(with_reset=True)),
        "reject": (Reject(),),
        "counter packets 0 bytes 0": (Counter(),),
        "th dport 53 notrack": (load_port("dport", 0), Cmp(0, "==", port(53)), Notrack()),
        "th sport 53 notrack": (load_port("sport", 0), Cmp(0, "==", port(53)), Notrack()),
        "th dport != 30000-32767 accept": (
            *(load_port("dport", 0), Range(0, "!=", port(30000), port(32767)), Verdict("accept")),
        ),
        f"{frontend_words} . {word} saddr @ranges accept": (
            *(*frontend, load_address(family, "saddr", slot), Lookup("ranges", 0), Verdict("accept")),
        ),
        f"add @expiring {{ {word} saddr }}": (saddr, Dynset("expiring", 0, operation="add")),
    }


def learning(family: Family) -> tuple[str, tuple[Expression, ...]]:
    """The rule that nft lists, but whose words its parser does not take."""
    word = WORDS[family]
    wide = family.bits // 32
    original = f"ct original {word} saddr . ct original {word} daddr . meta l4proto . ct original proto-dst"
    data = 2 * wide + 2
    expressions = (
        Ct("saddr", 0, "original"),
        Ct("daddr", wide, "original"),
        Meta("l4proto", 2 * wide),
        Ct("proto-dst", 2 * wide + 1, "original"),
        load_address(family, "daddr", data),
        load_port("dport", data + wide),
        Dynset("affinity", 0, data, 10_800_000),
    )
    return f"update @affinity {{ {original} timeout 3h : {word} daddr . th dport }}", expressions


HOOKS = {
    "filter-input": ("type filter hook input priority filter; policy accept;", Hook("filter", "input", 0)),
    "filter-raw": ("type filter hook prerouting priority raw; policy accept;", Hook("filter", "prerouting", -300)),
    "nat-prerouting": ("type nat hook prerouting priority dstnat; policy accept;", Hook("nat", "prerouting", -100)),
    "nat-output": ("type nat hook output priority -100; policy accept;", Hook("nat", "output", -100)),
    "nat-postrouting": ("type nat hook postrouting priority srcnat; policy accept;", Hook("nat", "postrouting", 100)),
    "filter-forward": ("type filter hook forward priority filter + 5; policy accept;", Hook("filter", "forward", 5)),
    "route-output": ("type route hook output priority mangle; policy accept;", Hook("route", "output", -150)),
}


def table(family: Family) -> Table:
    chains = [Chain("other", comment="a chain")]
    chains.append(Chain("rules", tuple(Rule(expressions) for expressions in rules(family).values())))
    chains += [Chain(name, (Rule((Verdict("jump", "other"),), "why"),), hook) for name, (_, hook) in HOOKS.items()]
    return Table(family, "kproxy", specs(family), tuple(chains), "kproxy, layout 1")


def elements(family: Family) -> dict[str, dict[bytes, bytes]]:
    vip, endpoint = map(ip, ADDRESSES[family])
    frontend = key(vip, TCP, port(80))
    first = key(frontend, endpoint)
    goto = verdict_value(Verdict("goto", "other"), "default/web:http")
    return {
        "services": {frontend: goto, key(vip, UDP, port(53)): verdict_value(Verdict("drop"))},
        "endpoints": {key(frontend, host(slot)): key(endpoint, port(8080 + slot % 65536)) for slot in (0, 1, 65536)},
        "ranges": {
            first + key(frontend, endpoint[:-1] + b"\xff"): b"a comment",
            key(frontend, vip) * 2: b"",
        },
        "counted": {frontend: goto},
        "counted-data": {key(vip, port(80)): key(endpoint, port(8080))},
        "addresses": {vip: b"of the node", endpoint: b""},
        "ports": {port(30080): verdict_value(Verdict("goto", "other"), "default/web:http")},
        "protocols": {TCP: port(1), UDP: port(2)},
        "marks": {host(0x4000): host(0x8000)},
        "hairpin": {key(endpoint, endpoint): b""},
    }
