"""One transaction as netlink requests, and what the kernel's answers to them say of its operations.

A batch is ``BATCH_BEGIN, messages, BATCH_END``: the kernel applies it whole when the end is there and nothing was
refused. Without the end it only checks, and undoes all (`nft --check`). It goes on after a refused message, so one
try names everything that is wrong.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from kproxy.netlink import nfnetlink
from kproxy.netlink.exchange import Request
from kproxy.netlink.message import F_APPEND, F_CREATE, NESTED, attribute, nested, split_attributes
from kproxy.netlink.nftables import objects, wire
from kproxy.netlink.nftables.elements import ElementCodec
from kproxy.netlink.nftables.faults import Fault
from kproxy.plan.nftables import transaction as ops
from kproxy.plan.nftables.model import FAMILY_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kproxy.netlink.errors import NetlinkRefused
    from kproxy.netlink.nftables.elements import Chunk

_ELEMENTS = 3  # NFTA_SET_ELEM_LIST_ELEMENTS
_GENERATION = 1  # NFNL_BATCH_GENID


_Place: TypeAlias = tuple[int, int]
"""An operation's index, and the first element of a list in it."""


class _Piece(msgspec.Struct, frozen=True, gc=False):
    """One request, the index of the operation that it comes from, and which of its elements it holds."""

    request: Request
    operation: int | None = None
    first: int = 0
    count: int = 0


class Batch:
    """The requests of a transaction, in order, to be sent in one send.

    `generation`: refuse (with ERESTART) unless this is still the generation of the kernel's rules. `scrutinise`: only
    check, with what `vague` has found, and give each element in there a message of its own: so the kernel names those
    at fault.
    """

    def __init__(
        self,
        transaction: ops.Transaction,
        *,
        generation: int | None = None,
        scrutinise: frozenset[_Place] | None = None,
    ) -> None:
        self._transaction = transaction
        self._scrutinise = scrutinise or frozenset()
        self._header = nfnetlink.header(transaction.family)
        self._where = f"table {FAMILY_WORDS[transaction.family]} {transaction.table}"
        pieces = [_Piece(_marker("begin", nfnetlink.BATCH_BEGIN, generation))]
        for index, operation in enumerate(transaction.operations):
            pieces += self._encode(index, operation)
        if scrutinise is None:
            pieces.append(_Piece(_marker("end", nfnetlink.BATCH_END)))
        self._pieces = pieces
        self.requests = [piece.request for piece in pieces]
        """What to send."""
        if scrutinise is not None:
            self.requests = _acknowledge_last(self.requests)

    def faults(self, outcomes: Sequence[NetlinkRefused | None]) -> list[Fault]:
        """Return what was refused, given one outcome per request."""
        return [self._fault(piece, outcome) for piece, outcome in zip(self._pieces, outcomes, strict=True) if outcome]

    def vague(self, outcomes: Sequence[NetlinkRefused | None]) -> frozenset[_Place]:
        """Return where many elements were refused together, for `scrutinise`."""
        refused = [piece for piece, outcome in zip(self._pieces, outcomes, strict=True) if outcome]
        return frozenset(
            (piece.operation, piece.first) for piece in refused if piece.operation is not None and piece.count > 1
        )

    def _fault(self, piece: _Piece, refusal: NetlinkRefused) -> Fault:
        if piece.operation is None:
            return Fault(None, None, refusal)
        operation = self._transaction.operations[piece.operation]
        key = None
        if piece.count == 1 and isinstance(operation, ops.AddElements | ops.DeleteElements):
            keys = operation.elements if isinstance(operation, ops.AddElements) else operation.keys
            key = next(islice(keys, piece.first, None))
        return Fault(operation, key, refusal)

    def _encode(self, index: int, operation: ops.Operation) -> Iterator[_Piece]:
        match operation:
            case ops.AddElements() | ops.DeleteElements():
                yield from self._elements(index, operation)
            case ops.AddChain(added):
                yield self._object(index, operation)
                for rule in added.rules:
                    yield self._object(index, ops.AddRule(added.name, rule))
            case _:
                yield self._object(index, operation)

    def _elements(self, index: int, operation: ops.AddElements | ops.DeleteElements) -> Iterator[_Piece]:
        spec = operation.spec
        codec = ElementCodec(spec)
        if isinstance(operation, ops.AddElements):
            chunks, kind, flags, what = (
                codec.additions(operation.elements),
                wire.NEW_ELEMENT,
                F_CREATE,
                "add elements to",
            )
        else:
            chunks, kind, flags, what = codec.deletions(operation.keys), wire.DELETE_ELEMENT, 0, "delete elements of"
        words = f"{self._where}: {what} {spec.name}"
        body = self._header + objects.set_name_body(self._transaction.table, spec.name)
        for first, count, elements in self._lists(index, chunks):
            request = Request(words, kind, body + attribute(_ELEMENTS | NESTED, elements), flags)
            yield _Piece(request, index, first, count)

    def _lists(self, index: int, chunks: Iterable[Chunk]) -> Iterator[tuple[int, int, bytes]]:
        """Yield (number of the first element, how many, the list)."""
        first = 0
        for count, elements in chunks:
            if (index, first) in self._scrutinise:
                yield from ((first + offset, 1, item) for offset, item in enumerate(_apart(elements)))
            else:
                yield first, count, elements
            first += count

    def _object(self, index: int, operation: ops.Operation) -> _Piece:
        what, kind, body, flags = self._describe(index, operation)
        return _Piece(Request(f"{self._where}: {what}", kind, self._header + body, flags), index)

    def _describe(self, index: int, operation: ops.Operation) -> tuple[str, int, bytes, int]:
        """Return words, message type, body and flags."""
        table = self._transaction.table
        match operation:
            case ops.AddTable(comment):
                return "add table", wire.NEW_TABLE, objects.table_body(table, comment), F_CREATE
            case ops.DeleteTable():
                return "delete table", wire.DELETE_TABLE, objects.table_body(table), 0
            case ops.AddSet(spec):
                return f"add set {spec.name}", wire.NEW_SET, objects.set_body(table, spec, index + 1), F_CREATE
            case ops.DeleteSet(name):
                return f"delete set {name}", wire.DELETE_SET, objects.set_name_body(table, name), 0
            case ops.FlushSet(name):
                return f"flush set {name}", wire.DELETE_ELEMENT, objects.set_name_body(table, name), 0
            case ops.AddChain(added):
                return f"add chain {added.name}", wire.NEW_CHAIN, objects.chain_body(table, added), F_CREATE
            case ops.FlushChain(name):
                return f"flush chain {name}", wire.DELETE_RULE, objects.rules_of_chain_body(table, name), 0
            case ops.DeleteChain(name):
                return f"delete chain {name}", wire.DELETE_CHAIN, objects.chain_name_body(table, name), 0
            case ops.AddRule(to, rule):
                body = objects.rule_body(table, to, rule, self._transaction.family)
                return f"add rule to chain {to}", wire.NEW_RULE, body, F_CREATE | F_APPEND
        raise AssertionError(operation)


def _apart(elements: bytes) -> Iterator[bytes]:
    """Split a list into lists of one."""
    return (nested(wire.LIST_ITEM, item) for _, item in split_attributes(elements))


def _acknowledge_last(requests: Sequence[Request]) -> list[Request]:
    """Have the kernel tell refusals, and the end, but not every success: there may be 100,000 of them."""
    silent = [msgspec.structs.replace(request, ack=False) for request in requests[:-1]]
    return [*silent, requests[-1]]


def _marker(which: str, kind: int, generation: int | None = None) -> Request:
    body = nfnetlink.header(None, nfnetlink.NFTABLES)
    if generation is not None:
        body += wire.u32(_GENERATION, generation)
    return Request(f"{which} nftables transaction", kind, body, ack=False)
