"""One piece of text -> the objects in it and what is wrong with it, wherever in a file the piece stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kproxy.kube.decode import Decoded, Refused, decode_json, decode_plain
from kproxy.sources.documents import unusual
from kproxy.sources.yaml_lines import line_of
from kproxy.sources.yaml_reader import YamlDocument, YamlError, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kproxy.kube.decode import Path
    from kproxy.kube.wire import KubeObject
    from kproxy.sources.documents import Form

Ident = tuple[str, str]
"""An object's kind and key ("Service", "default/web")."""


class Entry(NamedTuple):
    """One object (`obj` set) or one fault (`obj` None).

    `line` counts from 0 at the piece's first line, so that a piece that moves in its file need not be read again.
    `ident` is None where a fault leaves open which objects are concerned.
    """

    line: int
    ident: Ident | None
    obj: KubeObject | None
    field: str = ""
    what: str = ""


class Reading(NamedTuple):
    """What a piece says, and how many line ends it has."""

    lines: int
    entries: tuple[Entry, ...]


NOT_ALONE: Final = Reading(-1, ())
"""An item that does not parse alone: its List must be read whole."""

UNUSUAL: Final = Reading(-2, ())
"""A piece that `documents.unusual` speaks of: its file must be read whole."""


def read_piece(text: bytes, form: Form, item_kind: str = "") -> Reading:
    """Return what a piece says, NOT_ALONE or UNUSUAL."""
    if form in ("yaml", "yaml item") and unusual(text):
        return UNUSUAL
    if form == "yaml item":
        return _read_item(text, item_kind)
    lines = text.count(b"\n")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start)
        return Reading(lines, (Entry(line, None, None, "", f"not UTF-8: byte 0x{text[error.start]:02x}"),))
    if form == "json":
        return Reading(lines, tuple(_json_entry(text, found) for found in decode_json(text, item_kind=item_kind)))
    return Reading(lines, tuple(_read_documents(text)))


def _json_entry(text: bytes, found: Decoded | Refused) -> Entry:
    if isinstance(found, Decoded):
        return Entry(0, (found.kind, found.key), found.obj)
    try:
        line = line_of(text, found.path)
    except YamlError:
        # JSON that is no YAML: pairs of surrogates as \u escapes, say.
        line = 0
    return _fault(found, line)


def _read_item(text: bytes, item_kind: str) -> Reading:
    try:
        documents = list(read_yaml(text))
    except YamlError:
        return NOT_ALONE
    if len(documents) != 1 or not isinstance(documents[0].data, list) or len(documents[0].data) != 1:
        return NOT_ALONE
    (document,) = documents
    entries = _document_entries(text, document, decode_plain(document.data[0], item_kind=item_kind), (0,))
    return Reading(text.count(b"\n"), tuple(entries))


def _read_documents(text: bytes) -> list[Entry]:
    entries: list[Entry] = []
    try:
        for number, document in enumerate(read_yaml(text)):
            if document.data is not None:
                entries.extend(_document_entries(text, document, decode_plain(document.data), (), number))
    except YamlError as error:
        entries.append(Entry(error.line, None, None, "", error.what))
    return entries


def _document_entries(
    text: bytes, document: YamlDocument, found: Iterable[Decoded | Refused], within: Path, number: int = 0
) -> Iterator[Entry]:
    """Yield the entries of what was found `within` a document, the text's `number`-th."""
    for one in found:
        if isinstance(one, Decoded):
            yield Entry(_object_line(document, (*within, *one.at)), (one.kind, one.key), one.obj)
        else:
            yield _fault(one, line_of(text, (*within, *one.path), number))


def _object_line(document: YamlDocument, at: Path) -> int:
    data = document.data
    for step in at:
        data = data[step]
    return document.lines.get(id(data), document.line)


def _fault(found: Refused, line: int) -> Entry:
    ident = (found.kind, found.key) if found.key else None
    return Entry(line, ident, None, found.field, found.what)
