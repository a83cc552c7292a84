"""A packet tracer: walks the chains with a virtual packet and says what becomes of it, with which probability.

It is no iptables: it understands the rules that kproxy writes and nothing else, and fails on anything it does not
know, so that a new rule can't slip through a test. The packet is the first of its connection (ctstate NEW).
"""

from __future__ import annotations

import ipaddress
import shlex
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.plan.iptables.kernel import Table

MAX_STEPS = 100_000


class Verdict(Enum):
    """How a packet ends."""

    ACCEPTED = "accepted"
    DROPPED = "dropped"
    RESET = "refused by a TCP reset"
    UNREACHABLE = "refused by an ICMP error"


@dataclass(frozen=True)
class Packet:
    """A first packet. `interface` is where it comes in; None: a process of this node sends it."""

    source: str
    destination: str
    port: int
    protocol: str = "tcp"
    interface: str | None = "eth0"


@dataclass(frozen=True)
class Node:
    """What the kernel knows besides the rules: the node's own addresses, and the policy of the FORWARD chain.

    `pins` are the affinity lists that hold the packet's source.
    """

    addresses: frozenset[str]
    forward_policy: Verdict = Verdict.ACCEPTED
    pins: frozenset[str] = frozenset()

    def has(self, address: str) -> bool:
        """Tell whether an address is local, as `addrtype --dst-type LOCAL` does."""
        return address in self.addresses or ipaddress.ip_address(address).is_loopback


@dataclass(frozen=True)
class Fate:
    """One of the things that can become of a packet. `translated` to "ip:port", "" if it was not."""

    probability: float
    verdict: Verdict
    translated: str = ""
    masqueraded: bool = False
    pinned: frozenset[str] = frozenset()
    trail: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Walk:
    packet: Packet
    probability: float = 1.0
    mark: int = 0
    translated: str = ""
    sent_to: str = ""
    masqueraded: bool = False
    pinned: frozenset[str] = frozenset()
    trail: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Step:
    """What a chain made of a walk: a verdict, or None when it went on (RETURN, or the end)."""

    walk: _Walk
    verdict: Verdict | None


@dataclass
class Tracer:
    """Traces packets through `tables`: table -> chain -> rules, the built-in chains included."""

    tables: Mapping[str, Table]
    node: Node
    steps: int = field(default=0, init=False)

    def trace(self, packet: Packet) -> list[Fate]:
        """Return all fates of a packet; their probabilities add up to 1."""
        self.steps = 0
        fates = [
            Fate(walk.probability, verdict, walk.translated, walk.masqueraded, walk.pinned, walk.trail)
            for walk, verdict in self._hooks(_Walk(packet, sent_to=packet.destination))
        ]
        total = sum(fate.probability for fate in fates)
        assert abs(total - 1) < 1e-9, f"probabilities add up to {total}"
        return fates

    def _hooks(self, start: _Walk) -> Iterator[tuple[_Walk, Verdict]]:
        own = start.packet.interface is None
        for step in self._hook("nat", "OUTPUT" if own else "PREROUTING", start):
            walk = step.walk
            if step.verdict is Verdict.DROPPED:
                yield walk, Verdict.DROPPED
                continue
            to_us = self.node.has(walk.packet.destination)
            yield from self._filters(walk, ["OUTPUT"] * own + ["INPUT"] * to_us or ["FORWARD"], leaves=not to_us or own)

    def _filters(self, walk: _Walk, chains: list[str], *, leaves: bool) -> Iterator[tuple[_Walk, Verdict]]:
        """Through the filter chains in order, and POSTROUTING where the packet leaves (or goes to loopback)."""
        if not chains:
            yield walk, Verdict.ACCEPTED
            return
        chain, *rest = chains
        for step in self._hook("filter", chain, walk):
            policy = self.node.forward_policy if chain == "FORWARD" else Verdict.ACCEPTED
            verdict = step.verdict or policy
            if verdict is not Verdict.ACCEPTED:
                yield step.walk, verdict
            elif leaves:
                for after in self._hook("nat", "POSTROUTING", step.walk):
                    yield from self._filters(after.walk, rest, leaves=False)
            else:
                yield from self._filters(step.walk, rest, leaves=False)

    def _hook(self, table: str, chain: str, walk: _Walk) -> list[_Step]:
        return list(self._chain(table, chain, walk, chain))

    def _chain(self, table: str, chain: str, start: _Walk, hook: str) -> Iterator[_Step]:
        assert chain in self.tables[table], f"no chain {chain} in table {table}"
        walks = [start]
        for text in self.tables[table][chain]:
            going_on: list[_Walk] = []
            for walk in walks:
                self.steps += 1
                assert self.steps < MAX_STEPS, f"more than {MAX_STEPS} rules: a loop?"
                for step, returned in self._rule(table, chain, text, walk, hook):
                    if step.verdict is not None or returned:
                        yield step
                    else:
                        going_on.append(step.walk)
            walks = going_on
        for walk in walks:
            yield _Step(walk, None)

    def _rule(self, table: str, chain: str, text: str, walk: _Walk, hook: str) -> Iterator[tuple[_Step, bool]]:
        """The outcomes of one rule, each with whether it leaves the chain."""
        rule = _Rule.parse(text)
        matched, missed = rule.match(walk, self.node, hook)
        if missed is not None:
            yield _Step(missed, None), False
        if matched is None:
            return
        matched = replace(matched, trail=(*matched.trail, f"{table} {chain}: {text}"))
        yield from self._target(table, rule.target, matched, hook)

    def _target(self, table: str, target: list[str], walk: _Walk, hook: str) -> Iterator[tuple[_Step, bool]]:
        match target:
            case []:
                yield _Step(walk, None), False
            case ["RETURN"]:
                yield _Step(walk, None), True
            case ["ACCEPT" | "DROP" | "REJECT", *_]:
                yield _Step(walk, _verdict(table, target, walk)), True
            case ["MARK", "--or-mark", mark]:
                yield _Step(replace(walk, mark=walk.mark | int(mark, 16)), None), False
            case ["MARK", "--xor-mark", mark]:
                yield _Step(replace(walk, mark=walk.mark ^ int(mark, 16)), None), False
            case ["MASQUERADE", "--random-fully"] if table == "nat" and hook == "POSTROUTING":
                yield _Step(replace(walk, masqueraded=True), Verdict.ACCEPTED), True
            case ["DNAT", "--to-destination", to] if table == "nat" and hook in ("PREROUTING", "OUTPUT"):
                address, _, port = to.rpartition(":")
                packet = replace(walk.packet, destination=address.strip("[]"), port=int(port))
                yield _Step(replace(walk, packet=packet, translated=to), Verdict.ACCEPTED), True
            case [chain] if chain in self.tables[table]:
                for step in self._chain(table, chain, walk, hook):
                    yield step, step.verdict is not None
            case _:
                raise AssertionError(f"target {' '.join(target)} in table {table}, hook {hook}")


def _verdict(table: str, target: list[str], walk: _Walk) -> Verdict:
    match target:
        case ["ACCEPT"]:
            return Verdict.ACCEPTED
        case ["DROP"]:
            return Verdict.DROPPED
        case ["REJECT"] if table == "filter":
            return Verdict.UNREACHABLE
        case ["REJECT", "--reject-with", "tcp-reset"] if table == "filter" and walk.packet.protocol == "tcp":
            return Verdict.RESET
    raise AssertionError(f"target {' '.join(target)} in table {table} for {walk.packet.protocol}")


class _Rule:
    """A rule taken apart. Matches are tried in the order in which they stand, as the kernel does."""

    def __init__(self, matches: list[tuple[str, ...]], target: list[str]) -> None:
        self.matches = matches
        self.target = target

    @classmethod
    def parse(cls, text: str) -> _Rule:
        words = shlex.split(text)
        matches: list[tuple[str, ...]] = []
        at = 0
        while at < len(words):
            if words[at] == "-j":
                return cls(matches, words[at + 1 :])
            length = _length(words, at)
            matches.append(tuple(words[at : at + length]))
            at += length
        return cls(matches, [])

    def match(self, walk: _Walk, node: Node, hook: str) -> tuple[_Walk | None, _Walk | None]:
        """Return the walk as it goes on when all match, and as it goes on when one does not (None: can't happen)."""
        matched = walk
        missed: list[_Walk] = []
        # The kernel looks at addresses, interfaces and the protocol first, then at the matches in their order.
        for words in sorted(self.matches, key=lambda words: words[0] == "-m"):
            if words[:4] == ("-m", "statistic", "--mode", "random"):
                chance = float(words[5])
                missed.append(replace(walk, probability=matched.probability * (1 - chance)))
                matched = replace(matched, probability=matched.probability * chance)
            elif words[:3] == ("-m", "recent", "--name") and words[4] == "--set":
                matched = replace(matched, pinned=matched.pinned | {words[3]})
            elif not _holds(words, walk, node, hook):
                assert not missed, "a match after a random one"
                return None, walk
        assert len(missed) <= 1, "two random matches"
        return matched, missed[0] if missed else None


def _length(words: list[str], at: int) -> int:
    """How many words the match at this place takes. Anything unknown is an error."""
    head = words[at + 1] if words[at] == "!" else words[at]
    if head in ("-p", "-s", "-d", "-i", "--dport"):
        return 2 + (words[at] == "!")
    assert head == "-m", f"unknown match {words[at:]}"
    match words[at + 1 :]:
        case ["comment", "--comment", _, *_]:
            return 4
        case ["tcp" | "udp" | "sctp", *_]:
            return 2
        case ["addrtype", "--dst-type" | "--src-type", "LOCAL", *_]:
            return 4
        case ["conntrack", "--ctstate", _, "--ctorigdst", _, *_]:
            return 6
        case ["mark", "--mark", _, *_] | ["conntrack", "--ctstate", _, *_]:
            return 4
        case ["mark", "!", "--mark", _, *_] | ["conntrack", "!", "--ctstate", _, *_]:
            return 5
        case ["statistic", "--mode", "random", "--probability", _, *_]:
            return 6
        case ["recent", "--name", _, "--set", *_]:
            return 5
        case ["recent", "--name", _, "--update", "--seconds", _, "--reap", *_]:
            return 8
    raise AssertionError(f"unknown match {words[at:]}")


def _holds(words: tuple[str, ...], walk: _Walk, node: Node, hook: str) -> bool:
    negated = "!" in words
    plain = [word for word in words if word != "!"]
    packet = walk.packet
    match plain:
        case ["-p", protocol] | ["-m", ("tcp" | "udp" | "sctp") as protocol]:
            held = packet.protocol == protocol
        case ["-s", cidr]:
            held = _within(packet.source, cidr)
        case ["-d", cidr]:
            held = _within(packet.destination, cidr)
        case ["--dport", ports]:
            low, _, high = ports.partition(":")
            held = int(low) <= packet.port <= int(high or low)
        case ["-i", name]:
            # Packets of the node itself have no input interface, and none has one when it leaves.
            interface = packet.interface if hook in ("PREROUTING", "INPUT", "FORWARD") else None
            held = interface is not None and (
                interface.startswith(name[:-1]) if name.endswith("+") else interface == name
            )
        case ["-m", "comment", *_]:
            held = True
        case ["-m", "addrtype", "--dst-type", "LOCAL"]:
            held = node.has(packet.destination)
        case ["-m", "addrtype", "--src-type", "LOCAL"]:
            held = node.has(packet.source)
        case ["-m", "mark", "--mark", mark]:
            value, _, mask = mark.partition("/")
            held = walk.mark & int(mask, 16) == int(value, 16)
        case ["-m", "conntrack", "--ctstate", states, *original]:
            held = bool({"NEW", *(["DNAT"] if walk.translated else [])} & set(states.split(",")))
            held = held and (not original or _within(walk.sent_to, original[1]))
        case ["-m", "recent", "--name", name, "--update", "--seconds", _, "--reap"]:
            held = name in node.pins
        case _:
            raise AssertionError(f"unknown match {words}")
    return held is not negated


def _within(address: str, cidr: str) -> bool:
    network = ipaddress.ip_network(cidr)
    one = ipaddress.ip_address(address)
    return network.version == one.version and one in network


def shares(fates: Iterable[Fate]) -> dict[str, float]:
    """Return the probability by what the packet was translated to ("" for not at all), whatever its verdict."""
    found: dict[str, float] = {}
    for fate in fates:
        found[fate.translated] = found.get(fate.translated, 0) + fate.probability
    return found
