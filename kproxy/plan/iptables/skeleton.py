"""The part of the ruleset that does not depend on Services: read from the rule book, not written in code.

`rules/iptables/*.rules` are iptables-restore input with two additions: `@NAME@` stands for a value, and the lines
between `#:if CONDITION` and `#:endif` count only where the condition holds.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TABLES = ("filter", "nat", "mangle")
"""In the order in which they are restored: a refusal stands before traffic is let in."""

_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")


class Jump(NamedTuple):
    """A rule of a built-in chain: `-I CHAIN RULE`, at the head, if it is not there."""

    chain: str
    rule: str


class TableSkeleton(NamedTuple):
    """The fixed chains of one table, and the jumps to them in the order in which they are inserted."""

    chains: dict[str, tuple[str, ...]]
    jumps: tuple[Jump, ...]


def parse_skeleton(text: str, values: Mapping[str, str], conditions: frozenset[str]) -> TableSkeleton:
    """Parse one file of the rule book.

    Raises ValueError for an unknown placeholder or line: the files are part of the program.
    """
    chains: dict[str, list[str]] = {}
    jumps: list[Jump] = []
    for line in _lines(text, conditions):
        filled = _PLACEHOLDER.sub(lambda found: values[found.group(1)], line)
        word, _, rest = filled.partition(" ")
        if word.startswith(":"):
            chains[word[1:]] = []
        elif word == "-A":
            chain, _, rule = rest.partition(" ")
            chains[chain].append(rule)
        elif word == "-I":
            jumps.append(Jump(*rest.split(" ", 1)))
        elif not (word.startswith("*") or word == "COMMIT"):
            raise ValueError(f"rule book: {line!r} is not understood")
    return TableSkeleton({chain: tuple(rules) for chain, rules in chains.items()}, tuple(jumps))


def _lines(text: str, conditions: frozenset[str]) -> Iterator[str]:
    wanted = True
    for line in text.splitlines():
        if line.startswith("#:if "):
            wanted = line.removeprefix("#:if ").strip() in conditions
        elif line.strip() == "#:endif":
            wanted = True
        elif wanted and line.strip() and not line.startswith("#"):
            yield line.strip()
