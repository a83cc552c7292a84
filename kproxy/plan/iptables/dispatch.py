"""A dispatch tree: finds the rules for an address (or a port) in a hundred steps or so instead of in thousands.

Up to `LIMIT` keys the rules stand flat in the root, as kube-proxy writes them. Beyond, keys with a common prefix
move into a chain of their own, reached by one rule that matches the prefix. The tree is a function of its keys
alone, so any order of changes ends in the same chains; a change rebuilds only the leaf it falls into.
"""

from __future__ import annotations

import bisect
import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from kproxy.plan.iptables.names import dispatch_chain
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LIMIT = 256
"""Keys that a chain may hold before it is split."""

FAN_OUT_BITS = 4
"""A split makes up to 16 branches: a level costs 16 comparisons at the most."""


ONE_BY_ONE = 256
"""Up to so many new and gone keys are put into the sorted list one by one."""


class Branch(NamedTuple):
    """Keys with a common prefix: those from `first` to `first + 2**bits - 1`."""

    first: int
    bits: int


class Chains(NamedTuple):
    """The tree as rules: those of the root, and the chains below it by name."""

    root: tuple[str, ...]
    branches: dict[str, tuple[str, ...]]


class DispatchTree:
    """Rules by key, rendered as a tree of chains.

    `label(branch)` names a branch ("10.96.1.0/24"), `match(branch)` is the rule match that selects it. Several owners
    (Services) may have rules under one key; equal rules of theirs appear once. A rule that only differs by an address
    may be put as that address, and `form` makes the rule of it where it is rendered: there may be a million of them.
    """

    def __init__(
        self, label: Callable[[Branch], str], match: Callable[[Branch], str], form: Callable[[str], str] | None = None
    ) -> None:
        self._label = label
        self._match = match
        self._form = form
        self._keys: list[int] = []
        # Pairs of (owner, rule), sorted by owner.
        self._rules: dict[int, tuple[tuple[str, str], ...]] = {}
        self._appeared: set[int] = set()
        self._vanished: set[int] = set()
        self._dirty: set[int] = set()
        self._leaves: dict[Branch, tuple[str, ...]] = {}
        self._jumps: dict[Branch, tuple[str, str]] = {}

    def put(self, key: int, owner: str, rules: tuple[str, ...]) -> None:
        """Set the rules that `owner` has under `key`; none removes them."""
        before = self._rules.get(key, ())
        now = tuple([pair for pair in before if pair[0] != owner] + [(owner, rule) for rule in rules])
        if len(now) > 1:
            now = tuple(sorted(now, key=_owner))
        if now == before:
            return
        if not now:
            del self._rules[key]
            self._note(key, self._vanished, self._appeared)
        else:
            self._rules[key] = now
            if not before:
                self._note(key, self._appeared, self._vanished)
        self._dirty.add(key)

    def render(self) -> Chains:
        """Return the tree as it is now."""
        self._sort_keys()
        dirty = sorted(self._dirty)
        self._dirty.clear()
        kept, self._leaves = self._leaves, {}
        known, self._jumps = self._jumps, {}
        branches: dict[str, tuple[str, ...]] = {}

        def leaf(branch: Branch, low: int, high: int) -> tuple[str, ...]:
            rules = kept.get(branch)
            at = bisect.bisect_left(dirty, branch.first)
            if rules is None or (at < len(dirty) and dirty[at] < branch.first + (1 << branch.bits)):
                rules = self._leaf_rules(self._keys[low:high])
            self._leaves[branch] = rules
            return rules

        def node(branch: Branch, low: int, high: int) -> tuple[str, ...]:
            if high - low <= LIMIT:
                return leaf(branch, low, high)
            rules: list[str] = []
            for child, start, end in self._split(low, high):
                if end - start == 1:
                    rules.extend(leaf(child, start, end))
                else:
                    name, jump = self._jumps[child] = known.get(child) or self._jump(child)
                    branches[name] = node(child, start, end)
                    rules.append(jump)
            return tuple(rules)

        everything = Branch(0, 128)
        return Chains(node(everything, 0, len(self._keys)), branches)

    def _note(self, key: int, news: set[int], opposite: set[int]) -> None:
        """Note that a key appeared or vanished, unless that only undoes the opposite."""
        if key in opposite:
            opposite.remove(key)
        else:
            news.add(key)

    def _sort_keys(self) -> None:
        """Bring the sorted keys up to date: one by one for a few, all at once for many."""
        if len(self._appeared) + len(self._vanished) > ONE_BY_ONE:
            self._keys = sorted(self._rules)
        else:
            for key in self._vanished:
                del self._keys[bisect.bisect_left(self._keys, key)]
            for key in self._appeared:
                bisect.insort(self._keys, key)
        self._appeared.clear()
        self._vanished.clear()

    def _split(self, low: int, high: int) -> Iterable[tuple[Branch, int, int]]:
        """Divide keys[low:high] at the highest bits in which they differ."""
        keys = self._keys
        differ = (keys[low] ^ keys[high - 1]).bit_length()
        bits = (differ - 1) // FAN_OUT_BITS * FAN_OUT_BITS
        while low < high:
            first = keys[low] >> bits << bits
            end = bisect.bisect_left(keys, first + (1 << bits), low, high)
            yield Branch(first, bits), low, end
            low = end

    def _jump(self, branch: Branch) -> tuple[str, str]:
        """Return the name of a branch's chain and the rule that leads there."""
        name = dispatch_chain(self._label(branch))
        return name, f"{self._match(branch)} -j {name}"

    def _leaf_rules(self, keys: list[int]) -> tuple[str, ...]:
        found = dict.fromkeys([rule for key in keys for _, rule in self._rules[key]])
        return tuple(found) if self._form is None else tuple([self._form(rule) for rule in found])


def _owner(pair: tuple[str, str]) -> str:
    return pair[0]


def address_tree(
    family: Family, option: str, label: str = "", form: Callable[[str], str] | None = None
) -> DispatchTree:
    """Make a tree over addresses; `option` is `-d` or `-s`, `label` goes in front of the branches' names."""

    def cidr(branch: Branch) -> str:
        make = ipaddress.IPv4Address if family is Family.IPV4 else ipaddress.IPv6Address
        return f"{make(branch.first)}/{family.bits - branch.bits}"

    return DispatchTree(lambda branch: label + cidr(branch), lambda branch: f"{option} {cidr(branch)}", form)


def port_tree(protocol: str) -> DispatchTree:
    """Make a tree over destination ports of one protocol."""
    proto = protocol.lower()

    def ports(branch: Branch) -> str:
        return f"{branch.first}:{branch.first + (1 << branch.bits) - 1}"

    return DispatchTree(
        lambda branch: f"{proto}-{ports(branch)}", lambda branch: f"-m {proto} -p {proto} --dport {ports(branch)}"
    )


def address_key(ip: str) -> int:
    """Return an address as the key of an address tree."""
    if ":" in ip:
        return int(ipaddress.IPv6Address(ip))
    # The address is canonical already; checking it again would be a fifth of the time of a full render.
    first, second, third, fourth = ip.split(".")
    return int(first) << 24 | int(second) << 16 | int(third) << 8 | int(fourth)
