"""What is asked of the kernel to read a table back, and how the answers become a `Snapshot`.

Elements are listed set by set, rules for the whole table at once. A listing is one state of the kernel's rules only if
their generation is the same before and after; the caller sees to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.netlink import nfnetlink
from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.exchange import Request
from kproxy.netlink.message import F_DUMP, attribute_map
from kproxy.netlink.nftables import objects, wire
from kproxy.netlink.nftables.elements import CATCH_ALL, ElementCodec
from kproxy.plan.nftables.model import FAMILY_WORDS, Chain, SetSpec, Snapshot, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kproxy.netlink.message import Message
    from kproxy.plan.nftables.model import Rule
    from kproxy.state.addresses import Family

_GENERATION_ID = 1  # NFTA_GEN_ID
_ELEMENTS = 3  # NFTA_SET_ELEM_LIST_ELEMENTS


def generation_request() -> Request:
    """Ask for the generation of the kernel's rules: it changes with every transaction of anybody."""
    return Request("read the generation of nftables", wire.GET_GENERATION, nfnetlink.header(None))


def read_generation(messages: Iterable[Message]) -> int:
    """Read the answer to `generation_request`. Raises `MalformedMessage`."""
    for message in messages:
        if message.type == wire.NEW_GENERATION:
            generation = _attributes(message.body).get(_GENERATION_ID, b"")
            return wire.read_u32(generation)
    raise MalformedMessage("nf_tables: no generation in the answer")


class TableListing:
    """The listing of one table: requests out, messages in, a `Snapshot` in the end.

    First `table_request` is to be sent (refused with ENOENT when there is no such table), then the dumps of
    `object_requests`, then those of `element_requests`; what is received goes to `feed`.
    """

    def __init__(self, family: Family, name: str) -> None:
        self._family = family
        self._name = name
        self._comment = ""
        self._sets: dict[str, SetSpec] = {}
        self._chains: dict[str, Chain] = {}
        self._rules: dict[str, list[Rule]] = {}
        self._elements: dict[str, dict[bytes, bytes]] = {}

    def table_request(self) -> Request:
        """Ask for the table itself."""
        return self._request("read", wire.GET_TABLE)

    def object_requests(self) -> Iterator[Request]:
        """List sets, chains and rules."""
        yield self._request("list the sets of", wire.GET_SET, F_DUMP)
        yield self._request("list the chains of", wire.GET_CHAIN, F_DUMP)
        yield self._request("list the rules of", wire.GET_RULE, F_DUMP)

    def element_requests(self) -> Iterator[tuple[SetSpec, Request]]:
        """List the elements of every set that kproxy can have made, but for those that rules fill."""
        for spec in self._sets.values():
            if spec.key and not spec.dynamic:
                yield spec, elements_request(self._family, self._name, spec)

    def feed(self, message: Message) -> None:
        """Take one message of the answer to `table_request` or `object_requests`. Raises `MalformedMessage`."""
        if nfnetlink.family_of(message.body) is not self._family:
            return
        attributes = message.body[nfnetlink.HEADER_LENGTH :]
        if message.type == wire.NEW_TABLE:
            _, self._comment = objects.read_table(attributes)
        elif _table_of(attributes) != self._name:
            return  # kernels list all tables where they do not know the filter
        elif message.type == wire.NEW_SET:
            spec = objects.read_set(attributes)
            self._sets[spec.name] = spec
        elif message.type == wire.NEW_CHAIN:
            chain = objects.read_chain(attributes)
            self._chains[chain.name] = chain
        elif message.type == wire.NEW_RULE:
            chain_name, rule = objects.read_rule(attributes, self._family)
            self._rules.setdefault(chain_name, []).append(rule)

    def feed_elements(self, spec: SetSpec, messages: Iterable[Message]) -> None:
        """Take the answer to the request for the elements of a set. Raises `MalformedMessage`.

        A set with an element for all keys is none that kproxy can have made.
        """
        found = read_elements(spec, messages)
        if CATCH_ALL in found:
            self._sets[spec.name] = SetSpec(spec.name, ())
        else:
            self._elements[spec.name] = found

    def snapshot(self, generation: int) -> Snapshot:
        """Return the table as it was at that generation."""
        chains = [
            Chain(chain.name, tuple(self._rules.get(chain.name, ())), chain.hook, chain.comment)
            for chain in self._chains.values()
        ]
        table = Table(self._family, self._name, tuple(self._sets.values()), tuple(chains), self._comment)
        return Snapshot(table, self._elements, generation)

    def _request(self, words: str, kind: int, flags: int = 0) -> Request:
        body = nfnetlink.header(self._family) + objects.table_body(self._name)
        return Request(f"{words} table {FAMILY_WORDS[self._family]} {self._name}", kind, body, flags)


def elements_request(family: Family, table: str, spec: SetSpec) -> Request:
    """List the elements of a set."""
    body = nfnetlink.header(family) + objects.set_name_body(table, spec.name)
    what = f"list set {spec.name} of table {FAMILY_WORDS[family]} {table}"
    return Request(what, wire.GET_ELEMENT, body, F_DUMP)


def read_elements(spec: SetSpec, messages: Iterable[Message]) -> dict[bytes, bytes]:
    """Read the answer to `elements_request`. Raises `MalformedMessage`."""
    codec = ElementCodec(spec)
    found: dict[bytes, bytes] = {}
    for elements in _lists(messages):
        codec.read(elements, found)
    return found


def read_counters(spec: SetSpec, messages: Iterable[Message]) -> dict[bytes, tuple[int, int]]:
    """Read the counters, (packets, bytes) by key, in the answer to `elements_request`. Raises `MalformedMessage`."""
    codec = ElementCodec(spec)
    found: dict[bytes, tuple[int, int]] = {}
    for elements in _lists(messages):
        codec.read_counters(elements, found)
    return found


def _lists(messages: Iterable[Message]) -> Iterator[bytes]:
    for message in messages:
        if message.type == wire.NEW_ELEMENT:
            yield _attributes(message.body).get(_ELEMENTS, b"")


def _attributes(body: bytes) -> dict[int, bytes]:
    nfnetlink.family_of(body)  # for its check of the length
    return attribute_map(body, nfnetlink.HEADER_LENGTH)


def _table_of(attributes: bytes) -> str:
    return wire.read_name(attribute_map(attributes).get(objects.TABLE_NAME, b""))
