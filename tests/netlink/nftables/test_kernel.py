"""Through the real kernel, with nft as the independent reader and writer."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from kproxy.dataplane.nftables.reader import read_counted, read_set, read_table
from kproxy.dataplane.nftables.writer import commit
from kproxy.netlink.nftables.faults import GenerationClash, TransactionRefused
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.nftables.expressions import VERDICT, Dynset, Lookup, Meta, Verdict, load_address, load_port
from kproxy.plan.nftables.model import (
    IP_DADDR,
    L4PROTO,
    NOT_UNDERSTOOD,
    TH_DPORT,
    VERDICTS,
    Chain,
    Hook,
    Rule,
    SetSpec,
    Snapshot,
    key,
    verdict_value,
)
from kproxy.plan.nftables.transaction import (
    AddChain,
    AddElements,
    AddRule,
    AddSet,
    AddTable,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    DeleteTable,
    FlushChain,
    FlushSet,
    Operation,
    Transaction,
)
from kproxy.state.addresses import FAMILIES, Family
from tests.netlink.netns import PrivateNetns
from tests.netlink.nftables import samples
from tests.netlink.nftables.samples import ADDRESSES, DADDR, TCP, WORDS, ip, port

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.uml]

families = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture
def netns() -> Iterator[PrivateNetns]:
    with PrivateNetns() as netns:
        yield netns


class Kernel:
    """A socket in the namespace, and what the tests ask of it."""

    def __init__(self, netns: PrivateNetns) -> None:
        self._netns = netns
        self._socket = netns.run(NetlinkSocket)

    def commit(self, family: Family, *operations: Operation, generation: int | None = None) -> None:
        transaction = Transaction(family, "kproxy", operations)
        self._netns.run(lambda: commit(self._socket, transaction, generation=generation))

    def find(self, family: Family, name: str = "kproxy") -> Snapshot | None:
        return self._netns.run(lambda: read_table(self._socket, family, name))

    def read(self, family: Family) -> Snapshot:
        snapshot = self.find(family)
        assert snapshot is not None
        return snapshot

    def read_set(self, family: Family, spec: SetSpec) -> dict[bytes, bytes]:
        return self._netns.run(lambda: read_set(self._socket, family, "kproxy", spec))

    def counters(self, family: Family, spec: SetSpec) -> dict[bytes, tuple[bytes, int]]:
        return self._netns.run(lambda: read_counted(self._socket, family, "kproxy", spec))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def kernel(netns: PrivateNetns) -> Iterator[Kernel]:
    kernel = Kernel(netns)
    yield kernel
    kernel.close()


def whole_table(family: Family) -> list[Operation]:
    table = samples.table(family)
    operations: list[Operation] = [AddTable(table.comment), *map(AddSet, table.sets), *map(AddChain, table.chains)]
    by_name = {spec.name: spec for spec in table.sets}
    return operations + [AddElements(by_name[name], elements) for name, elements in samples.elements(family).items()]


def chain_lines(listing: str, chain: str) -> list[str]:
    body = re.search(rf"\tchain {chain} \{{\n(.*?)\n\t\}}", listing, re.DOTALL)
    assert body, listing
    return [line.strip() for line in body[1].splitlines()]


@families
def test_nft_lists_every_rule_in_the_words_expected(family: Family, netns: PrivateNetns, kernel: Kernel) -> None:
    kernel.commit(family, *whole_table(family))
    kernel.commit(family, AddChain(Chain("learn", (Rule(samples.learning(family)[1]),))))
    listing = netns.tool("nft", "list", "table", WORDS[family], "kproxy")
    assert chain_lines(listing, "rules") == list(samples.rules(family))
    assert chain_lines(listing, "learn") == [samples.learning(family)[0]]
    for name, (words, _) in samples.HOOKS.items():
        assert chain_lines(listing, name) == [words, 'jump other comment "why"']
    assert '\tcomment "kproxy, layout 1"\n' in listing
    assert chain_lines(listing, "other") == ['comment "a chain"']


@families
def test_nft_lists_sets_and_elements(family: Family, netns: PrivateNetns, kernel: Kernel) -> None:
    kernel.commit(family, *whole_table(family))
    word = WORDS[family]
    vip, endpoint = ADDRESSES[family]
    listing = netns.tool("nft", "list", "table", word, "kproxy")
    one_line = re.sub(r"\s+", " ", listing)
    frontend = f"typeof {word} daddr . meta l4proto . th dport"
    assert f'map services {{ {frontend} : verdict comment "frontend -> shape"' in one_line
    assert f"map endpoints {{ {frontend} . numgen random mod 2 : {word} daddr . th dport" in one_line
    assert f"map affinity {{ typeof {word} saddr . {word} daddr . meta l4proto . th dport" in one_line
    assert "size 1048576 flags dynamic,timeout }" in one_line
    assert f"set expiring {{ typeof {word} saddr size 100 flags dynamic,timeout timeout 3h }}" in one_line
    assert f'{vip} . tcp . 80 comment "default/web:http" : goto other' in one_line
    assert f"{vip} . tcp . 80 . 65536 : {endpoint} . 8080" in one_line
    assert f'{vip} . tcp . 80 counter packets 0 bytes 0 comment "default/web:http" : goto other' in one_line
    assert f"{vip} . 80 counter packets 0 bytes 0 : {endpoint} . 8080" in one_line
    assert f"elements = {{ {endpoint}, {vip} comment" in one_line or f", {endpoint} }}" in one_line
    assert 'elements = { 30080 comment "default/web:http" : goto other }' in one_line
    assert "elements = { 0x00004000 : 0x00008000 }" in one_line
    assert f"set hairpin {{ typeof {word} saddr . {word} daddr elements = {{ {endpoint} . {endpoint} }} }}" in one_line


@families
def test_what_nft_writes_is_read_as_the_same_values(family: Family, netns: PrivateNetns, kernel: Kernel) -> None:
    """Our expressions are those that nft itself makes of the words, registers and all."""
    kernel.commit(family, *whole_table(family))
    listing = netns.tool("nft", "list", "table", WORDS[family], "kproxy")
    netns.tool("nft", "flush", "ruleset")
    # For intervals nft converts the byte order of each field, a protocol's one byte too, which Linux 6.12 refuses.
    listing = re.sub(r"\n[^\n]* @ranges [^\n]*", "", listing)
    netns.tool("nft", "-f", "-", stdin=listing)
    snapshot = kernel.read(family)
    table = samples.table(family)
    assert snapshot.table.sets == table.sets
    assert snapshot.elements == samples.elements(family)
    for chain, read in zip(table.chains, snapshot.table.chains, strict=True):
        assert (read.name, read.hook, read.comment) == (chain.name, chain.hook, chain.comment)
        words = samples.rules(family) if chain.name == "rules" else chain.rules
        rules = [rule for rule, word in zip(chain.rules, words, strict=True) if "@ranges" not in str(word)]
        assert list(read.rules) == rules


@families
def test_read_back_is_what_was_written(family: Family, kernel: Kernel) -> None:
    learn = Chain("learn", (Rule(samples.learning(family)[1]),))
    kernel.commit(family, *whole_table(family), AddChain(learn))
    snapshot = kernel.read(family)
    table = samples.table(family)
    assert snapshot.table == msgspec.structs.replace(table, chains=(*table.chains, learn))
    assert snapshot.elements == samples.elements(family)
    assert snapshot.generation > 0
    assert kernel.find(Family.IPV4 if family is Family.IPV6 else Family.IPV6) is None
    assert kernel.find(family, "other") is None


def test_both_families_have_a_table_of_the_same_name(kernel: Kernel) -> None:
    for family in FAMILIES:
        kernel.commit(family, *whole_table(family))
    for family in FAMILIES:
        assert kernel.read(family).table == samples.table(family)


def test_operations(kernel: Kernel) -> None:
    """Every operation that takes away, and a replacement in one transaction."""
    family = Family.IPV4
    kernel.commit(family, *whole_table(family))
    sets = {spec.name: spec for spec in samples.specs(family)}
    elements = samples.elements(family)
    endpoint = next(iter(elements["endpoints"]))
    kernel.commit(
        family,
        DeleteElements(sets["endpoints"], [endpoint]),
        AddElements(sets["endpoints"], {endpoint: key(ip("10.180.0.9"), port(9))}),
        DeleteElements(sets["ranges"], list(elements["ranges"])[:1]),
        FlushChain("rules"),
        AddRule("rules", Rule((Verdict("return"),), "new")),
        DeleteSet("hairpin"),
        FlushSet("marks"),
        DeleteChain("route-output"),
    )
    snapshot = kernel.read(family)
    assert snapshot.elements["endpoints"] == elements["endpoints"] | {endpoint: key(ip("10.180.0.9"), port(9))}
    assert list(snapshot.elements["ranges"]) == list(elements["ranges"])[1:]
    assert snapshot.elements["marks"] == {}
    assert "hairpin" not in snapshot.elements
    chains = {chain.name: chain for chain in snapshot.table.chains}
    assert chains["rules"].rules == (Rule((Verdict("return"),), "new"),)
    assert "route-output" not in chains
    kernel.commit(family, AddTable(), DeleteTable(), AddTable("another layout"))
    assert kernel.read(family).table.comment == "another layout"
    assert kernel.read(family).table.sets == ()


def test_a_refusal_names_the_operation_and_the_element_and_changes_nothing(kernel: Kernel) -> None:
    family = Family.IPV4
    kernel.commit(family, *whole_table(family))
    sets = {spec.name: spec for spec in samples.specs(family)}
    frontends = {
        key(ip("10.96.1.0")[:2] + number.to_bytes(2), TCP, port(80)): verdict_value(Verdict("goto", "other"))
        for number in range(3000)
    }
    wrong = list(frontends)[2500]
    frontends[wrong] = b"goto nowhere"
    flush = FlushSet("hairpin")
    add = AddElements(sets["services"], frontends)
    busy = DeleteChain("other")
    with pytest.raises(TransactionRefused) as refused:
        kernel.commit(family, flush, add, busy)
    assert [(fault.operation, fault.key, fault.refusal.code) for fault in refused.value.faults] == [
        (add, wrong, errno.ENOENT),
        (busy, None, errno.EBUSY),
    ]
    assert "table ip kproxy: add elements to services" in str(refused.value)
    assert "and 1 more" in str(refused.value)
    assert kernel.read(family).elements == samples.elements(family)


def test_an_element_that_exists_is_harmless_and_one_with_other_data_is_refused(kernel: Kernel) -> None:
    family = Family.IPV4
    kernel.commit(family, *whole_table(family))
    endpoints = {spec.name: spec for spec in samples.specs(family)}["endpoints"]
    same = samples.elements(family)["endpoints"]
    kernel.commit(family, AddElements(endpoints, same))
    existing = next(iter(same))
    with pytest.raises(TransactionRefused) as refused:
        kernel.commit(family, AddElements(endpoints, {existing: bytes(8)}))
    assert [(fault.key, fault.refusal.code) for fault in refused.value.faults] == [(existing, errno.EEXIST)]


def test_a_generation_that_has_passed_is_a_clash(netns: PrivateNetns, kernel: Kernel) -> None:
    family = Family.IPV4
    kernel.commit(family, *whole_table(family))
    generation = kernel.read(family).generation
    kernel.commit(family, FlushSet("marks"), generation=generation)
    netns.tool("nft", "add", "table", "ip", "foreign")
    with pytest.raises(GenerationClash):
        kernel.commit(family, FlushSet("addresses"), generation=generation + 1)
    assert kernel.read(family).elements["addresses"] == samples.elements(family)["addresses"]


def test_an_endless_jump_is_refused(kernel: Kernel) -> None:
    family = Family.IPV4
    kernel.commit(family, *whole_table(family))
    with pytest.raises(TransactionRefused):
        kernel.commit(family, AddRule("other", Rule((Verdict("jump", "other"),))))


def test_foreign_changes_are_told_from_ours(netns: PrivateNetns, kernel: Kernel) -> None:
    family = Family.IPV4
    kernel.commit(family, *whole_table(family))
    netns.tool("nft", 'add rule ip kproxy other ip ttl 1 log prefix "x" drop')
    netns.tool("nft", "add rule ip kproxy other meta priority set 1")
    netns.tool("nft", "add rule ip kproxy other limit rate 1/second accept")
    netns.tool("nft", "add chain ip kproxy strict { type filter hook input priority 0; policy drop; }")
    netns.tool("nft", "add set ip kproxy odd { type ether_addr; }")
    netns.tool("nft", "add element ip kproxy odd { 00:11:22:33:44:55 }")
    netns.tool("nft", "add counter ip kproxy thing")
    snapshot = kernel.read(family)
    chains = {chain.name: chain for chain in snapshot.table.chains}
    assert chains["other"].rules == (NOT_UNDERSTOOD,) * 3
    assert chains["strict"].hook != Hook("filter", "input", 0)
    assert {spec.name: spec for spec in snapshot.table.sets}["odd"] == SetSpec("odd", ())
    assert snapshot.elements == samples.elements(family)


@families
def test_affinity_is_learnt_and_read(family: Family, netns: PrivateNetns, kernel: Kernel) -> None:
    """A dynamic map is filled by a packet, and its elements can be read and deleted."""
    daddr = DADDR[family]
    wide = family.bits // 32
    pins = SetSpec("pins", (daddr, L4PROTO), data=(daddr,), dynamic=True, timeout_ms=0, size=10)
    rule = Rule(
        (
            load_address(family, "daddr", 0),
            Meta("l4proto", wide),
            load_address(family, "saddr", 2 * wide),
            Dynset("pins", 0, 2 * wide, 60_000),
        )
    )
    kernel.commit(family, AddTable(), AddSet(pins), AddChain(Chain("out", (rule,), Hook("filter", "output", 0))))
    loopback = "127.0.0.1" if family is Family.IPV4 else "::1"
    netns.tool(
        "python3",
        "-c",
        f"import socket; s = socket.socket(socket.{'AF_INET' if wide == 1 else 'AF_INET6'}, "
        f"socket.SOCK_DGRAM); s.sendto(b'x', ('{loopback}', 9))",
    )
    found = kernel.read_set(family, pins)
    address = ip(loopback)
    assert found[key(address, samples.UDP)] == address
    assert kernel.read(family).elements == {}, "elements that rules enter are not part of a snapshot"
    kernel.commit(family, DeleteElements(pins, list(found)))
    assert kernel.read_set(family, pins) == {}


def test_counters_count(netns: PrivateNetns, kernel: Kernel) -> None:
    family = Family.IPV4
    counted = SetSpec("counted", (IP_DADDR, TH_DPORT), data=VERDICTS, counter=True)
    match = Rule((load_address(family, "daddr", 0), load_port("dport", 1), Lookup("counted", 0, VERDICT)))
    kernel.commit(family, AddTable(), AddSet(counted), AddChain(Chain("out", (match,), Hook("filter", "output", 0))))
    frontends = {key(ip("127.0.0.1"), port(number)): b"accept\0commented" for number in (9, 10)}
    kernel.commit(family, AddElements(counted, frontends))
    netns.tool(
        "python3",
        "-c",
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "[s.sendto(b'x' * 72, ('127.0.0.1', 9)) for _ in range(3)]",
    )
    assert kernel.counters(family, counted) == {
        key(ip("127.0.0.1"), port(9)): (b"accept\0commented", 3),
        key(ip("127.0.0.1"), port(10)): (b"accept\0commented", 0),
    }
    assert kernel.read(family).elements == {"counted": frontends}
