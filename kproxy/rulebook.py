"""Finds the rule book: `rules/` in a checkout, package data in an installed wheel."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from kproxy.errors import FeatureMissing
from kproxy.plan.iptables.skeleton import TABLES, TableSkeleton, parse_skeleton
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def read_rules(path: str) -> str:
    """Return the text of one file of the rule book (`iptables/nat.rules`). Raises `FeatureMissing`."""
    package = resources.files("kproxy")
    candidates: list[Traversable] = [package / "_rules" / path, package / ".." / "rules" / path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.read_text(encoding="utf-8")
    raise FeatureMissing(f"rule book: {path} is missing from this installation", remedy="install kproxy again")


def iptables_skeleton(
    family: Family, *, mark: str, localhost_node_ports: bool, drop_invalid: bool
) -> dict[str, TableSkeleton]:
    """Return the fixed part of the iptables mode by table.

    `mark` asks for masquerading ("0x00004000"). `localhost_node_ports` guards 127.0.0.1 (IPv4 only); `drop_invalid`
    drops what conntrack can't place, unless the kernel was told to be liberal.
    """
    conditions = set()
    if localhost_node_ports and family is Family.IPV4:
        conditions.add("localhost-node-ports")
    if drop_invalid:
        conditions.add("drop-invalid")
    values = {"MASQUERADE_MARK": mark}
    return {
        table: parse_skeleton(read_rules(f"iptables/{table}.rules"), values, frozenset(conditions)) for table in TABLES
    }
