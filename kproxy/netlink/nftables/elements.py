"""Elements of sets and maps, by the hundred thousand.

A list of elements is one attribute, and so at most 64 KiB. One element of a data map in it::

    NFTA_LIST_ELEM { NFTA_SET_ELEM_KEY { NFTA_DATA_VALUE key }, NFTA_SET_ELEM_DATA { NFTA_DATA_VALUE data } }

In a map without comments all elements have the same length, so only key and data differ from one to the next: what
stands between them is packed once, and the rest is joining. Verdict maps, comments and intervals take the longer way.
Equivalent: `add element ip kproxy endpoints { 10.96.0.10 . tcp . 80 . 0 : 10.180.0.1 . 8080 }`.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.message import NESTED, attribute, attribute_map, nested, split_attributes
from kproxy.netlink.nftables import userdata, wire
from kproxy.netlink.nftables.expressions import read_verdict, write_verdict
from kproxy.plan.nftables.expressions import Verdict
from kproxy.plan.nftables.model import VERDICTS, SetSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

_KEY, _DATA, _USERDATA, _EXPRESSION, _KEY_END = 1, 2, 6, 7, 10  # NFTA_SET_ELEM_*
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2
_MOST = 0xFFFF - 4  # what an attribute holds

_HEADER = struct.Struct("=HH")

# EXPRESSION { name "counter", data { bytes, packets } }, as it is listed with every element of a set that counts.
_COUNTER = struct.Struct("!24s Q 4s Q")
_COUNTER_AT_ZERO = attribute(
    _EXPRESSION,
    attribute(wire.EXPRESSION_NAME, b"counter\0")
    + attribute(wire.EXPRESSION_DATA, attribute(_COUNTER_BYTES, bytes(8)) + attribute(_COUNTER_PACKETS, bytes(8))),
)
_COUNTER_HEADS = _COUNTER.unpack(_COUNTER_AT_ZERO)[::2]
_REMEMBERED = 4096  # so many different data (shapes, endpoints) are kept as one object each

CATCH_ALL = b""
"""The key of an element that stands for all others (`*` in nft), which kproxy never makes."""

Chunk: TypeAlias = tuple[int, bytes]
"""How many elements, and the list of them: the value of an NFTA_SET_ELEM_LIST_ELEMENTS attribute."""


class ElementCodec:
    """Writes and reads the elements of one set. Keys and values are as `kproxy.plan.nftables.model` says."""

    def __init__(self, spec: SetSpec) -> None:
        self._spec = spec
        self._verdicts: dict[bytes, bytes] = {}
        self._values: dict[bytes, bytes] = {}
        self._fixed = _FixedLayout(spec) if spec.data != VERDICTS and not spec.interval else None

    def additions(self, elements: Mapping[bytes, bytes]) -> Iterator[Chunk]:
        """Pack elements in as few lists as they fit in, in order.

        Raises ValueError when a key or a value has not the length that the set's fields have.
        """
        self._check_keys(elements)
        lengths = set(map(len, elements.values()))
        if min(lengths, default=0) < self._spec.data_length and elements:
            raise ValueError(f"map {self._spec.name}: a value with less than {self._spec.data_length} bytes")
        if self._fixed is not None and lengths <= {self._spec.data_length}:
            return self._fixed.additions(elements)
        if self._spec.data == VERDICTS and not self._spec.interval:
            return _chunks(self._verdict_elements(elements))
        return _chunks(self._element(key, value) for key, value in elements.items())

    def deletions(self, keys: Collection[bytes]) -> Iterator[Chunk]:
        """Pack keys alone, for `delete element`."""
        self._check_keys(keys)
        if self._fixed is not None:
            return self._fixed.deletions(keys)
        return _chunks(nested(wire.LIST_ITEM, self._key(key)) for key in keys)

    def read(self, elements: bytes, into: dict[bytes, bytes]) -> None:
        """Enter listed elements (a list's attribute value) into a dictionary. Raises `MalformedMessage`."""
        if self._fixed is not None and self._fixed.read(elements, into):
            return
        for item in _items(elements):
            key, value = self._read_one(attribute_map(item))
            into[key] = value

    def read_counters(self, elements: bytes, into: dict[bytes, tuple[int, int]]) -> None:
        """Enter the counters of listed elements, (packets, bytes), by key. Raises `MalformedMessage`."""
        if self._fixed is not None and self._fixed.read_counters(elements, into):
            return
        for item in _items(elements):
            attributes = attribute_map(item)
            counter = attribute_map(attributes.get(_EXPRESSION, b"")).get(wire.EXPRESSION_DATA)
            if counter is not None:
                values = attribute_map(counter)
                packets = wire.read_u64(values.get(_COUNTER_PACKETS, b""))
                into[self._read_key(attributes)] = packets, wire.read_u64(values.get(_COUNTER_BYTES, b""))

    def _check_keys(self, keys: Iterable[bytes]) -> None:
        length = self._spec.key_length * (2 if self._spec.interval else 1)
        if not set(map(len, keys)) <= {length}:
            raise ValueError(f"set {self._spec.name}: a key that has not {length} bytes")

    def _verdict_elements(self, elements: Mapping[bytes, bytes]) -> Iterator[bytes]:
        """Pack the elements of a verdict map; what is not the key is mostly the same few verdicts."""
        template = _Template(self._spec.key_length, 0, nested)
        key_header, padding = template.before[4:], template.after
        headers: dict[int, bytes] = {}
        for key, value in elements.items():
            verdict, _, comment = value.partition(b"\0")
            data = self._verdicts.get(verdict) or self._pack_verdict(verdict)
            if comment:
                data += _comment(comment)
            header = headers.get(len(data))
            if header is None:
                length = template.length + len(data)
                header = headers[len(data)] = _HEADER.pack(length, wire.LIST_ITEM | NESTED) + key_header
            yield header + key + padding + data

    def _element(self, key: bytes, value: bytes) -> bytes:
        """Pack one element with a comment, or of an interval set."""
        size = self._spec.data_length
        data = nested(_DATA, attribute(wire.DATA_VALUE, value[:size])) if size else b""
        comment = value[size:]
        return nested(wire.LIST_ITEM, self._key(key), data, _comment(comment) if comment else b"")

    def _key(self, key: bytes) -> bytes:
        size = self._spec.key_length
        start = nested(_KEY, attribute(wire.DATA_VALUE, key[:size]))
        return start + nested(_KEY_END, attribute(wire.DATA_VALUE, key[size:])) if self._spec.interval else start

    def _pack_verdict(self, text: bytes) -> bytes:
        """Return the data attribute of a verdict in words, and remember it."""
        code, _, chain = text.decode().partition(" ")
        packed = self._verdicts[text] = nested(_DATA, write_verdict(Verdict(code, chain)))  # type: ignore[arg-type]
        return packed

    def _read_one(self, attributes: Mapping[int, bytes]) -> tuple[bytes, bytes]:
        value = b""
        if self._spec.data is not None:
            value = self._read_data(attributes.get(_DATA, b""))
        comment = userdata.read_comment(attributes.get(_USERDATA, b"")).encode() if _USERDATA in attributes else b""
        if comment and self._spec.data == VERDICTS:
            comment = b"\0" + comment
        return self._read_key(attributes), value + comment

    def _read_key(self, attributes: Mapping[int, bytes]) -> bytes:
        if _KEY not in attributes:
            return CATCH_ALL
        start = self._read_value(attributes.get(_KEY, b""), self._spec.key_length)
        if not self._spec.interval:
            return start
        end = attributes.get(_KEY_END)
        return start + (start if end is None else self._read_value(end, self._spec.key_length))

    def _read_data(self, data: bytes) -> bytes:
        value = self._values.get(data)
        if value is None:
            if self._spec.data == VERDICTS:
                verdict = read_verdict(data)
                value = str(verdict).encode()  # one that nobody could have written equals none: "None"
            else:
                value = self._read_value(data, self._spec.data_length)
            if len(self._values) < _REMEMBERED:
                self._values[data] = value
        return value

    def _read_value(self, data: bytes, length: int) -> bytes:
        value = attribute_map(data).get(wire.DATA_VALUE, b"")
        if len(value) != length:
            raise MalformedMessage(f"nf_tables: element of {self._spec.name} with {len(value)} bytes, not {length}")
        return value


class _Template:
    """What is the same in elements that differ in key and data only: the bytes before, between and after these."""

    def __init__(self, key: int, data: int, nest: Callable[[int, bytes], bytes], extra: int = 0) -> None:
        """Lengths in bytes; `extra` is what follows in the element besides."""
        element = nest(_KEY, attribute(wire.DATA_VALUE, bytes(key)))
        if data:
            element += nest(_DATA, attribute(wire.DATA_VALUE, bytes(data)))
        element = nest(wire.LIST_ITEM, element + bytes(extra))
        end = len(element) - (-data % 4) - extra
        self.length = len(element)
        self.before = element[:12]
        self.between = element[12 + key : end - data] if data else b""
        self.after = element[end:] if data else element[12 + key :]


class _FixedLayout:
    """Elements that all look alike: those of a set, or of a map to data, without comments."""

    def __init__(self, spec: SetSpec) -> None:
        key, data = spec.key_length, spec.data_length
        self._has_data = bool(data)
        self._add = _Template(key, data, nested)
        self._delete = _Template(key, 0, nested)
        # In its lists the kernel does not mark what is nested (were it to, then the long way is taken).
        self._counts = spec.counter
        extra = _COUNTER.size if spec.counter else 0
        self._listed = listed = _Template(key, data, attribute, extra)
        self._rows = struct.Struct(f"=12s {key}s {len(listed.between)}s {data}s {len(listed.after)}x")
        skipped = len(listed.between) + data + len(listed.after) - extra
        self._counters = struct.Struct(f"=12s {key}s {skipped}x {extra}s")

    def additions(self, elements: Mapping[bytes, bytes]) -> Iterator[Chunk]:
        pieces = map(self._add.between.join, elements.items()) if self._has_data else elements
        return self._pack(self._add, pieces)

    def deletions(self, keys: Iterable[bytes]) -> Iterator[Chunk]:
        return self._pack(self._delete, keys)

    def read(self, elements: bytes, into: dict[bytes, bytes]) -> bool:
        """Do what `ElementCodec.read` does; False, and nothing done, when they do not look alike."""
        count, rest = divmod(len(elements), self._rows.size)
        if rest:
            return False
        before, between = self._listed.before, self._listed.between
        rows = self._rows.iter_unpack(elements)
        found = {key: data for start, key, middle, data in rows if start == before and middle == between}
        if len(found) != count:
            return False
        into.update(found)
        return True

    def read_counters(self, elements: bytes, into: dict[bytes, tuple[int, int]]) -> bool:
        """Do what `ElementCodec.read_counters` does; False, and nothing done, when they do not look alike."""
        if not self._counts or len(elements) % self._counters.size:
            return False
        found: dict[bytes, tuple[int, int]] = {}
        for start, key, counter in self._counters.iter_unpack(elements):
            head, in_bytes, middle, packets = _COUNTER.unpack(counter)
            if start != self._listed.before or (head, middle) != _COUNTER_HEADS:
                return False
            found[key] = packets, in_bytes
        into.update(found)
        return True

    @staticmethod
    def _pack(template: _Template, pieces: Iterable[bytes]) -> Iterator[Chunk]:
        at_once = _MOST // template.length
        separator = template.after + template.before
        rest = iter(pieces)
        while chunk := list(islice(rest, at_once)):
            yield len(chunk), template.before + separator.join(chunk) + template.after


def _chunks(elements: Iterable[bytes]) -> Iterator[Chunk]:
    """Put elements of any length into as few lists as they fit in, in order."""
    chunk: list[bytes] = []
    length = 0
    for element in elements:
        if length + len(element) > _MOST:
            yield len(chunk), b"".join(chunk)
            chunk, length = [], 0
        chunk.append(element)
        length += len(element)
    if chunk:
        yield len(chunk), b"".join(chunk)


def keys_of(elements: bytes) -> Iterator[bytes]:
    """Yield the keys in a list, of an interval its start; of a catch-all element b"". Raises `MalformedMessage`."""
    for item in _items(elements):
        yield attribute_map(attribute_map(item).get(_KEY, b"")).get(wire.DATA_VALUE, b"")


def _comment(text: bytes) -> bytes:
    return attribute(_USERDATA, bytes((userdata.COMMENT, len(text) + 1)) + text + b"\0")


def _items(elements: bytes) -> Iterator[bytes]:
    return (item for _, item in split_attributes(elements))
