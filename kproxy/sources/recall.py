"""The text of one file -> what its pieces say and where they stand, without reading a piece twice.

Pieces are known again by a hash of their text (Python's own: 64 bits, keyed per process), not by the text itself.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

from kproxy.sources.documents import (
    MAX_PIECES,
    NotJson,
    TooMany,
    json_start,
    json_values,
    normalised,
    yaml_items,
    yaml_texts,
)
from kproxy.sources.reading import NOT_ALONE, UNUSUAL, Entry, Reading, read_piece

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.sources.documents import Form, Pieces

Placed = list[tuple[int, Reading]]
"""Readings with the line (from 1) on which their piece begins, in the order of the file."""

_SMALL = 65_536
"""A document of fewer bytes is looked up before it is cut."""


class Memory:
    """Readings by form, item kind and the hash of the text."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[int, Reading]] = {}

    def of(self, form: Form, item_kind: str = "") -> dict[int, Reading]:
        """Return hash -> reading for one way of reading; what is added to it is remembered."""
        return self._known.setdefault((form, item_kind), {})

    def add(self, other: Memory) -> None:
        """Remember what `other` does."""
        for way, readings in other._known.items():
            self._known.setdefault(way, {}).update(readings)


def read_file(name: str, data: bytes, known: Memory) -> tuple[Placed, Memory]:
    """Return what a file says, and the memory of the pieces it has now.

    `name` tells JSON (".json") from YAML; `known` holds what was read before.
    """
    data = normalised(data)
    reader = _Reader(known)
    try:
        placed = reader.json_file(data) if name.endswith(".json") else reader.yaml_file(data)
    except _Uncut:
        placed = [(1, reader.reading(data, "yaml file"))]
    except TooMany:
        fault = Entry(0, None, None, "", f"more than {MAX_PIECES:,} documents in one file - split it")
        placed = [(1, Reading(0, (fault,)))]
    return placed, reader.seen


class _Uncut(Exception):
    """The file has to be read whole."""


class _Reader:
    def __init__(self, known: Memory) -> None:
        self._known = known
        self.seen = Memory()

    def yaml_file(self, data: bytes) -> Placed:
        placed: Placed = []
        line = 1
        uncounted = b""
        known, seen = self._known.of("yaml"), self.seen.of("yaml")
        for text in yaml_texts(data):
            line += uncounted.count(b"\n")
            uncounted = b""
            key = hash(text) if len(text) < _SMALL else 0
            reading = known.get(key)
            if reading is not None and reading is not UNUSUAL:
                seen[key] = reading
                placed.append((line, reading))
                line += reading.lines
            else:
                placed.extend(self._yaml_document(text, line))
                uncounted = text
        return placed

    def json_file(self, data: bytes) -> Placed:
        placed: Placed = []
        try:
            self._json_values(data, 0, 1, placed)
        except NotJson as error:
            fault = Entry(0, None, None, "", error.what)
            placed.append((1 + data.count(b"\n", 0, error.at), Reading(0, (fault,))))
        return placed

    def reading(self, text: bytes, form: Form) -> Reading:
        """Return the reading of one piece, known or not. Raises _Uncut for one that is unusual."""
        key = hash(text)
        reading = self._known.of(form).get(key)
        if reading is None:
            reading = read_piece(text, form)
        self.seen.of(form)[key] = reading
        if reading is UNUSUAL:
            raise _Uncut
        return reading

    def _yaml_document(self, text: bytes, line: int) -> Placed:
        placed: Placed = []
        start = json_start(text)
        if start is not None:
            try:
                self._json_values(text, start, line, placed)
            except NotJson:
                # All or nothing: what begins as JSON and goes on otherwise is YAML.
                placed.clear()
            else:
                return placed
        items = yaml_items(text)
        if items is not None and self._items(items, line, placed):
            return placed
        return [(line, self.reading(text, "yaml"))]

    def _json_values(self, text: bytes, start: int, line: int, placed: Placed) -> None:
        """Place the JSON values of a text whose first line is `line`."""
        counted = 0
        for value in json_values(text, start):
            line += text.count(b"\n", counted, value.begin)
            counted = value.begin
            if value.items is None:
                placed.append((line, self.reading(text[value.begin : value.end], "json")))
            else:
                self._items(value.items, line, placed)

    def _items(self, items: Pieces, line: int, placed: Placed) -> bool:
        """Place the items of a List that begins on `line`; False (and `placed` is void) if one does not parse alone."""
        known = self._known.of(items.form, items.item_kind)
        seen = self.seen.of(items.form, items.item_kind)
        gaps: Iterable[int] = repeat(0) if items.gaps is None else items.gaps
        line += items.line
        for text, gap in zip(items.texts, gaps, strict=False):
            key = hash(text)
            reading = known.get(key) or seen.get(key)
            if reading is None:
                reading = read_piece(text, items.form, items.item_kind)
            seen[key] = reading
            if reading is UNUSUAL:
                raise _Uncut
            if reading is NOT_ALONE:
                return False
            line += gap
            placed.append((line, reading))
            line += reading.lines
        return True
