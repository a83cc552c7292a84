"""Where the text of a file can be cut without parsing it, so that what was read before need not be read again.

* YAML: `---` at the beginning of a line ends a document, whatever stands before it. In a List in block style the
  items begin with `- ` at one indentation. An item that needs an anchor of another one, or is cut where a text of
  several lines only looks like an item, does not parse alone: then the reader takes the whole document.
* JSON: msgspec finds the ends of the documents, and of the items of a List, in one fast pass; these cuts are exact.

What is rare and would make the rules for YAML long (`...`, % directives, Unicode line ends) is `unusual`: a file with
such a thing in it is not cut at all.
"""

from __future__ import annotations

import re
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from kproxy.kube.decode import list_item_kind
from kproxy.sources.yaml_reader import MAX_NODES, YamlError, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

Form = Literal["yaml file", "yaml", "yaml item", "json"]
"""How a piece of text is read: as all YAML documents of a file that can't be cut; as the text between two `---`; as a
YAML list of one item; as one JSON value."""


class Pieces(NamedTuple):
    """The items of a List, each a text of its own.

    `item_kind` is the kind that an item of a typed list ("ServiceList") need not name. The first begins on `line` (a
    distance in lines from where the List begins); before each one there are `gaps` line ends that belong to none
    (None: no gaps).
    """

    form: Form
    item_kind: str
    line: int
    texts: list[bytes]
    gaps: list[int] | None = None


MAX_PIECES = 200_000
"""Documents, or items of one List, in one file."""

MAX_JSON_BYTES = 10_000_000
"""A JSON text bigger than this is counted before it is decoded: it might be a list of millions of nothings."""


class TooMany(Exception):
    """More pieces in one file than are read."""


class NotJson(Exception):
    """A text that is not JSON: at which byte, and what is wrong. `trailing`: a whole value ends just before."""

    def __init__(self, at: int, what: str, *, trailing: bool = False) -> None:
        self.at, self.what, self.trailing = at, what, trailing


def normalised(data: bytes) -> bytes:
    """Return a file's content without a byte order mark, and with line ends as in Unix; no line moves."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data


# Line ends that YAML 1.1 knows beside \n and \r: NEL, LS and PS.
_OTHER_LINE_END = re.compile(rb"\xc2\x85|\xe2\x80[\xa8\xa9]")
_DOCUMENT_END = re.compile(rb"^(?:\.\.\.(?=[ \t\n]|\Z)|%)", re.MULTILINE)


def unusual(text: bytes) -> bool:
    """Tell whether a piece of YAML holds what the cuts do not reckon with."""
    if not text.isascii() and _OTHER_LINE_END.search(text):
        return True
    return (b"..." in text or b"%" in text) and _DOCUMENT_END.search(text) is not None


_MARKER = re.compile(rb"\n---(?=[ \t\n]|\Z)")


def yaml_texts(data: bytes) -> list[bytes]:
    """Cut a YAML file's (normalised) content at its `---` lines; each text but the first begins with one.

    Raises TooMany.
    """
    bounds = [0, *_starts(_MARKER, data, 0), len(data)]
    return [data[begin:end] for begin, end in pairwise(bounds)]


def _starts(separator: re.Pattern[bytes], text: bytes, start: int) -> list[int]:
    """Return where the lines begin that a separator (a line end and what follows it) matches."""
    starts = [match.start() + 1 for match in islice(separator.finditer(text, start), MAX_PIECES)]
    if len(starts) == MAX_PIECES:
        raise TooMany
    return starts


_BEFORE_JSON = re.compile(rb"(?:---(?=[ \t\n]))?[ \t\n]*(?=\{)")


def json_start(text: bytes) -> int | None:
    """Return where a YAML document's text begins to look like JSON, None if it does not."""
    match = _BEFORE_JSON.match(text)
    return match.end() if match else None


_ITEMS_KEY = re.compile(rb"^items:[ \t]*(?:#[^\n]*)?\n(?:[ \t]*(?:#[^\n]*)?\n)*(?P<indent> *)(?=- )", re.MULTILINE)


def yaml_items(text: bytes) -> Pieces | None:
    """Cut a YAML document that is a List in block style; None where it is none, or not laid out plainly.

    Raises TooMany.
    """
    # The first one only: `items:` further down is part of an item, or given twice.
    key = text.find(b"items:")
    found = _ITEMS_KEY.search(text, key, key + MAX_HEAD) if key >= 0 else None
    if found is None:
        return None
    indent = found["indent"]
    first = found.start("indent")
    dash = re.compile(rb"\n%b- " % indent)
    bounds = [first, *_starts(dash, text, first)]
    # The List's other fields may follow its items: look behind the last dash for a line that is not its item's.
    beyond = re.compile(rb"^(?! {%d}|[ \t]*(?:#|$))" % (len(indent) + 1), re.MULTILINE)
    tail = beyond.search(text, bounds[-1] + len(indent) + 1)
    bounds.append(tail.start() if tail else len(text))
    item_kind = _kind_in_list(text[:first], text[bounds[-1] :])
    if item_kind is None:
        return None
    texts = [text[begin:end] for begin, end in pairwise(bounds)]
    return Pieces("yaml item", item_kind, text.count(b"\n", 0, first), texts)


MAX_HEAD = 100_000
"""Comments longer than this (bytes) between `items:` and the first item keep a List from being cut."""


def _kind_in_list(head: bytes, tail: bytes) -> str | None:
    """Return what `list_item_kind` says of a List's text without its items; None where that is no plain List."""
    if unusual(head) or unusual(tail):
        return None
    try:
        before = [document.data for document in read_yaml(head)]
        after = [document.data for document in read_yaml(tail)]
    except YamlError:
        return None
    if len(before) != 1 or not isinstance(before[0], dict) or before[0].get("items", 0) is not None:
        return None
    if len(after) > 1 or any(not isinstance(data, dict) or "items" in data for data in after):
        return None
    fields = {**before[0], **(after[0] if after else {})}
    version, kind = fields.get("apiVersion"), fields.get("kind")
    return list_item_kind(version, kind) if isinstance(version, str) and isinstance(kind, str) else None


class _List(msgspec.Struct, rename="camel"):
    api_version: str | None = None
    kind: str | None = None
    items: list[msgspec.Raw] | None = None


class JsonValue(NamedTuple):
    """One JSON value of a text: where it begins and ends, and its items if it is a List."""

    begin: int
    end: int
    items: Pieces | None


_SPACE = re.compile(rb"[ \t\n]*")


def json_values(text: bytes, start: int = 0) -> Iterator[JsonValue]:
    """Yield the JSON values of a text, one after the other. Raises NotJson at the first fault, TooMany."""
    view = memoryview(text)
    if len(view) > MAX_JSON_BYTES and text.count(b",") > MAX_NODES:
        raise TooMany
    for _ in range(MAX_PIECES):
        space = _SPACE.match(text, start)
        begin = space.end() if space else start
        if begin == len(text):
            return
        start, head = _value(view, begin)
        item_kind = list_item_kind(head.api_version, head.kind) if head is not None else None
        if head is None or item_kind is None:
            yield JsonValue(begin, start, None)
            continue
        items = head.items or []
        if len(items) > MAX_PIECES:
            raise TooMany
        yield JsonValue(begin, start, _json_pieces(text, begin, item_kind, items))
    raise TooMany


def _value(view: memoryview, begin: int) -> tuple[int, _List | None]:
    """Return where the JSON value that begins at `begin` ends, and the value if it looks like a List."""
    try:
        return len(view), msgspec.json.decode(view[begin:], type=_List)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        end = _end(view, begin)
    try:
        return end, msgspec.json.decode(view[begin:end], type=_List)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Not a List; decode.py will say what is wrong with it.
        return end, None


_AT_BYTE = re.compile(r"(?:JSON is malformed: )?(.*) \(byte (\d+)\)")


def _end(view: memoryview, begin: int) -> int:
    """Return the end of the JSON value that begins at `begin`, the space behind it included."""
    error = _json_error(view[begin:], begin)
    if error is None:
        return len(view)
    if not error.trailing:
        raise error
    # msgspec names the byte behind the first one that is too much.
    return error.at - 1 if _json_error(view[begin : error.at - 1], begin) is None else error.at


def _json_error(text: memoryview, begin: int) -> NotJson | None:
    """Return why a text that stands at `begin` is not one JSON value."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        fault = _AT_BYTE.fullmatch(str(error))
        if fault is None:
            return NotJson(begin + len(bytes(text).rstrip()), f"not JSON: {error}")
        trailing = fault[1] == "trailing characters"
        return NotJson(begin + int(fault[2]), f"not JSON: {fault[1]}", trailing=trailing)
    except RecursionError:
        return NotJson(begin, "not JSON: nested too deeply")
    return None


_FIRST_ITEM = re.compile(rb'"items"[ \t\n]*:[ \t\n]*\[[ \t\n]*')
_NEXT_ITEM = re.compile(rb"[ \t\n]*,[ \t\n]*")
_LAST_ITEM = re.compile(rb"[ \t\n]*\]")


def _json_pieces(text: bytes, begin: int, item_kind: str, items: list[msgspec.Raw]) -> Pieces:
    texts = [bytes(item) for item in items]
    first = _FIRST_ITEM.search(text, begin) if items else None
    if first is None:
        return Pieces("json", item_kind, 0, texts, [0] * len(texts))
    line = text.count(b"\n", begin, first.end())
    gaps = [0]
    at = first.end() + len(texts[0])
    for item in texts[1:]:
        gap = _NEXT_ITEM.match(text, at)
        if gap is None:
            break
        gaps.append(gap[0].count(b"\n"))
        at = gap.end() + len(item)
    if len(gaps) != len(texts) or not _LAST_ITEM.match(text, at):
        # `"items"` stands somewhere else too: good enough to find the List.
        return Pieces("json", item_kind, 0, texts, [0] * len(texts))
    return Pieces("json", item_kind, line, texts, gaps)
