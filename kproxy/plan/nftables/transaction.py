"""What is asked of the kernel in one transaction: operations on one table, in order, all of them or none.

Order matters: what is referred to must exist (a set before the rule that looks it up, a chain before the element that
jumps to it), what is deleted must not be in use any more. An element that exists can't be given other data: delete it
and add it again, in this order, which to packets is one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kproxy.plan.nftables.model import Chain, Rule, SetSpec
    from kproxy.state.addresses import Family


class AddTable(msgspec.Struct, frozen=True):
    """`add table`; harmless when it exists, its comment then stays what it was."""

    comment: str = ""


class DeleteTable(msgspec.Struct, frozen=True):
    """`delete table` with everything in it. It must exist: `AddTable` before it makes sure of that."""


class AddSet(msgspec.Struct, frozen=True):
    """`add set` or `add map`; harmless when it exists with the same properties."""

    spec: SetSpec


class DeleteSet(msgspec.Struct, frozen=True):
    """`delete set`, with its elements."""

    name: str


class AddChain(msgspec.Struct, frozen=True):
    """`add chain`, and its rules behind those that it has: it is meant for a new or a flushed chain."""

    chain: Chain


class FlushChain(msgspec.Struct, frozen=True):
    """`flush chain`: delete its rules."""

    name: str


class DeleteChain(msgspec.Struct, frozen=True):
    """`delete chain`, with its rules; nothing may jump to it any more."""

    name: str


class AddRule(msgspec.Struct, frozen=True):
    """`add rule`: behind the others."""

    chain: str
    rule: Rule


class AddElements(msgspec.Struct, frozen=True):
    """`add element`: what `kproxy.plan.nftables.model` says of keys and values.

    Refused when one exists with another value.
    """

    spec: SetSpec
    elements: Mapping[bytes, bytes]


class DeleteElements(msgspec.Struct, frozen=True):
    """`delete element`, by key. Refused when one does not exist."""

    spec: SetSpec
    keys: Collection[bytes]


class FlushSet(msgspec.Struct, frozen=True):
    """`flush set`: delete all elements."""

    name: str


Operation: TypeAlias = (
    AddTable
    | DeleteTable
    | AddSet
    | DeleteSet
    | FlushSet
    | AddChain
    | FlushChain
    | DeleteChain
    | AddRule
    | AddElements
    | DeleteElements
)


class Transaction(msgspec.Struct, frozen=True):
    """Operations on the table `name` of one family."""

    family: Family
    table: str
    operations: tuple[Operation, ...]
