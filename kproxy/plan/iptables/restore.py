"""The text that iptables-restore is given, and what iptables-save says, read back. No process is started here."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from kproxy.plan.iptables.skeleton import TABLES, Jump

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ChainKey = tuple[str, str]
"""(table, chain)"""

Rules = tuple[str, ...]


class SavedTable(NamedTuple):
    """One table as iptables-save prints it: names of user chains, and the rules of all chains by name."""

    user_chains: set[str]
    rules: dict[str, list[str]]


class Restore(NamedTuple):
    """One call of `iptables-restore --noflush`. `lines` are numbered from 1, as the tool numbers them."""

    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The input, ready to be written to the tool."""
        return "\n".join(self.lines) + "\n" if self.lines else ""


def restore(
    updates: Mapping[ChainKey, Rules],
    deletions: Iterable[ChainKey] = (),
    jumps: Mapping[str, Iterable[Jump]] | None = None,
    lifted: Mapping[ChainKey, Rules] | None = None,
) -> Restore:
    """Build the input that rewrites `updates`, deletes `deletions` and inserts `jumps` (by table).

    A table that nothing changes in is left out. Chains are declared in descending order of their names: the nft
    variant keeps its chains in a sorted list that it walks from the head, which makes any other order quadratic.

    Tables are committed one after the other, filter first: what is refused from now on is refused before nat stops
    translating it. `lifted` are rules that the kernel holds and `updates` leave out of filter chains: they have to go
    after nat has changed, or for a moment a packet would be neither refused nor translated. So filter comes twice
    then: with the old and the new rules, and at last without the old ones.
    """
    by_table: dict[str, list[tuple[str, Rules]]] = {table: [] for table in TABLES}
    gone: dict[str, list[str]] = {table: [] for table in TABLES}
    for (table, chain), rules in updates.items():
        by_table[table].append((chain, rules))
    for table, chain in deletions:
        gone[table].append(chain)
    lines: list[str] = []
    tables: tuple[str, ...] = TABLES
    if lifted and by_table["nat"]:
        kept = [(chain, (*rules, *lifted.get(("filter", chain), ()))) for chain, rules in by_table["filter"]]
        lines += _table("filter", kept, [], [])
        tables = ("nat", "filter", "mangle")
    for table in tables:
        new_jumps = list((jumps or {}).get(table, ()))
        if by_table[table] or gone[table] or new_jumps:
            lines += _table(table, by_table[table], gone[table], new_jumps)
    return Restore(tuple(lines))


def _table(table: str, updates: list[tuple[str, Rules]], gone: list[str], jumps: list[Jump]) -> list[str]:
    lines = [f"*{table}"]
    lines += [f":{chain} - [0:0]" for chain in sorted([chain for chain, _ in updates] + gone, reverse=True)]
    lines += [f"-I {jump.chain} {jump.rule}" for jump in jumps]
    for chain, rules in sorted(updates):
        lines += [f"-A {chain} {rule}" for rule in rules]
    lines += [f"-X {chain}" for chain in sorted(gone)]
    lines.append("COMMIT")
    return lines


def parse_save(text: str) -> dict[str, SavedTable]:
    """Read the output of iptables-save, of either variant: tables by name."""
    tables: dict[str, SavedTable] = {}
    current = SavedTable(set(), {})
    for line in _whole_lines(text):
        if line.startswith("*"):
            current = tables.setdefault(line[1:].strip(), SavedTable(set(), {}))
        elif line.startswith(":"):
            chain, policy = line[1:].split()[:2]
            current.rules.setdefault(chain, [])
            if policy == "-":
                current.user_chains.add(chain)
        elif line.startswith("-A "):
            _, chain, rule = (*line.split(" ", 2), "")[:3]
            current.rules.setdefault(chain, []).append(rule)
    return tables


def _whole_lines(text: str) -> Iterator[str]:
    """Yield the lines; a comment of somebody's may hold a line break, which the tools print as it is."""
    begun = ""
    for line in text.split("\n"):
        begun = f"{begun}\n{line}" if begun else line
        if begun.startswith("-A ") and _open_quotes(begun):
            continue
        yield begun
        begun = ""


def _open_quotes(line: str) -> bool:
    return line.replace("\\\\", "").replace('\\"', "").count('"') % 2 == 1


def target_of(rule: str) -> str:
    """Return what a rule jumps or goes to; "" for a rule without a target."""
    words = _split(rule)
    return next((words[index + 1] for index, word in enumerate(words[:-1]) if word in ("-j", "-g")), "")


def missing_jumps(saved: SavedTable | None, wanted: Iterable[Jump]) -> list[Jump]:
    """Return the jumps that the table does not have, in the order in which they have to be inserted."""
    held = saved.rules if saved is not None else {}
    ours = {chain: [_words(rule) for rule in rules if "-j KUBE-" in rule] for chain, rules in held.items() if rules}
    return [jump for jump in wanted if _words(jump.rule) not in ours.get(jump.chain, [])]


def _words(rule: str) -> list[str]:
    """Return the rule in a form that does not depend on the order of its matches."""
    return sorted(_split(rule))


def _split(rule: str) -> list[str]:
    try:
        return shlex.split(rule)
    except ValueError:
        return rule.split()  # quotes that the tool itself did not close
