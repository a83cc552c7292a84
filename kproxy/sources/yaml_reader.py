"""YAML text -> plain data with line numbers, safely.

1. It says what Kubernetes says: scalars as in yaml_scalars.py, and the keys of mappings are strings, as in JSON.
2. No text can hurt: PyYAML's C composer recurses without a limit (200 kB of "[" end the process) and aliases may
   multiply a small text to any size. So this reads PyYAML's *events*, which need no stack, and counts.
3. It is fast: half the time of `yaml.load` with the C parser, as no node objects are made in between.
4. It knows the lines of a document's root and of what a List holds; yaml_lines.py finds those of fields.

Unlike PyYAML it takes an anchor defined twice (the YAML specification allows it) and refuses a value that contains
itself.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from kproxy.errors import KproxyError
from kproxy.kube.decode import printable
from kproxy.sources.yaml_scalars import SPECIAL_FIRST, key_text, plain_value, tagged_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_DEPTH: Final = 200
"""Mappings and lists inside each other. No Kubernetes object comes near."""

MAX_NODES: Final = 5_000_000
"""Keys and values of one document, aliases counted as if written out. 20,000 objects have about 2,000,000."""

MAX_DIRECTIVES: Final = 20
"""Lines that begin with %: libyaml's time grows with the square of them."""

_LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_TAG: Final = "tag:yaml.org,2002:"
_CONTAINER_TAGS: Final = {
    MappingStartEvent: ("!", f"{_TAG}map"),
    SequenceStartEvent: ("!", f"{_TAG}seq"),
}


class YamlError(KproxyError):
    """The text is not YAML, or more than is read; `line` counts from 0 at the text's beginning."""

    def __init__(self, line: int, what: str) -> None:
        self.line = line
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """One document: its data, its root's line (from 0), and the lines of the containers near the root, by `id`."""

    data: Any
    line: int
    lines: dict[int, int]


def read_yaml(text: bytes) -> Iterator[YamlDocument]:
    """Yield the documents of a text; those before a fault are good, then YamlError is raised."""
    if text.count(b"\n%") > MAX_DIRECTIVES:
        raise YamlError(text.count(b"\n", 0, text.index(b"\n%")) + 1, "too many % directives")
    with yaml_events(text) as next_event:
        while type(event := next_event()) is not StreamEndEvent:
            if type(event) is DocumentStartEvent:
                yield _Tree().read(next_event)


@contextmanager
def yaml_events(text: bytes) -> Iterator[Callable[[], Any]]:
    """Give the function that returns the text's next event. PyYAML's errors come out as YamlError."""
    try:
        parser = _LOADER(text)
        try:
            yield parser.get_event
        finally:
            parser.dispose()
    except yaml.reader.ReaderError as error:
        # A character that YAML forbids; the position is in bytes with libyaml.
        raise YamlError(text.count(b"\n", 0, error.position), f"not YAML: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        words = " ".join(part for part in (error.problem, error.context) if part)
        # libyaml's end of a text is the line after it.
        line = min(mark.line, text.rstrip().count(b"\n")) if mark else 0
        if "nesting depth" in (error.problem or ""):
            # A libyaml that has a limit too reads ahead, so it comes to it before we come to ours.
            raise YamlError(line, f"nested more than {MAX_DEPTH} levels deep") from None
        raise YamlError(line, f"not YAML: {printable(words, 200)}") from None


_NO_KEY: Final = object()
_MERGE: Final = object()


class _Tree:
    """One document being put together from events."""

    __slots__ = ("anchors", "holder", "key", "lines", "nodes", "root", "root_line", "stack")

    def __init__(self) -> None:
        self.root: Any = None
        self.root_line = 0
        self.lines: dict[int, int] = {}
        # Values so far, those that aliases stand for included.
        self.nodes = 0
        # anchor -> its value, and how many values that is
        self.anchors: dict[str, tuple[Any, int]] = {}
        # The mapping or list being filled, and the key its next value gets.
        self.holder: Any = None
        self.key: Any = _NO_KEY
        # Those around it, each with the event that began the one inside, and `nodes` at that time.
        self.stack: list[tuple[Any, Any, Any, int]] = []

    def read(self, next_event: Callable[[], Any]) -> YamlDocument:
        while True:
            event = next_event()
            kind = type(event)
            self.nodes += 1
            if kind is ScalarEvent:
                value = event.value
                # implicit[0]: plain and without a tag.
                if not event.implicit[0]:
                    if event.tag is not None and event.tag != "!":
                        value = _converted(event)
                elif not value or value[0] in SPECIAL_FIRST:
                    value = _converted(event)
                elif value == "<<" and self.key is _NO_KEY and type(self.holder) is dict:
                    value = _MERGE
                if event.anchor is not None:
                    self.anchors[event.anchor] = (value, 1)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                self._open(event)
                continue
            elif kind is AliasEvent:
                value = self._alias(event)
            elif kind is DocumentEndEvent:
                return YamlDocument(self.root, self.root_line, self.lines)
            else:
                value = self._close()
            self._attach(value, event)

    def _attach(self, value: Any, event: Any) -> None:
        holder, key = self.holder, self.key
        if self.nodes > MAX_NODES:
            raise YamlError(event.start_mark.line, f"more than {MAX_NODES:,} values in one document")
        if type(holder) is dict:
            if key is _NO_KEY:
                self.key = value if type(value) is str or value is _MERGE else _key(value, event)
                return
            if key is _MERGE:
                holder.setdefault(_MERGE, []).append(value)
            else:
                holder[key] = value
            self.key = _NO_KEY
        elif holder is not None:
            holder.append(value)
        else:
            self.root = value
            if not self.lines:
                # A scalar; containers have told their line.
                self.root_line = event.start_mark.line

    def _open(self, event: Any) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise YamlError(event.start_mark.line, f"nested more than {MAX_DEPTH} levels deep")
        if event.tag is not None and event.tag not in _CONTAINER_TAGS[type(event)]:
            raise YamlError(event.start_mark.line, f"tag {printable(event.tag)} is not read")
        self.stack.append((self.holder, self.key, event, self.nodes))
        self.holder = {} if type(event) is MappingStartEvent else []
        self.key = _NO_KEY

    def _close(self) -> Any:
        value = self.holder
        self.holder, self.key, start, nodes_before = self.stack.pop()
        if type(value) is dict and _MERGE in value:
            value = _merged(value, start)
        if len(self.stack) <= 2:
            self.lines[id(value)] = start.start_mark.line
            if not self.stack:
                self.root_line = start.start_mark.line
        if start.anchor is not None:
            self.anchors[start.anchor] = (value, self.nodes - nodes_before)
        return value

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self.anchors:
            what = f"alias *{printable(event.anchor)} has no anchor before it, or stands inside of it"
            raise YamlError(event.start_mark.line, f"not YAML: {what}")
        value, nodes = self.anchors[event.anchor]
        self.nodes += nodes
        return value


def _converted(event: Any) -> Any:
    try:
        if event.implicit[0]:
            return plain_value(event.value)
        return tagged_value(event.tag, event.value)
    except KeyError:
        raise YamlError(event.start_mark.line, f"tag {printable(event.tag)} is not read") from None
    except (ValueError, OverflowError):
        raise YamlError(event.start_mark.line, f"not what it looks like: {printable(event.value)}") from None


def _key(value: Any, event: Any) -> str:
    try:
        return key_text(value, event.value if type(event) is ScalarEvent else str(value))
    except TypeError:
        raise YamlError(event.start_mark.line, "a key must be a string, not a list or a mapping") from None


def _merged(mapping: dict[Any, Any], start: Any) -> dict[str, Any]:
    """Return a mapping with what its `<<` keys name merged in; its own keys win, then the first named."""
    result: dict[str, Any] = {}
    for named in mapping.pop(_MERGE):
        for source in reversed(named) if isinstance(named, list) else [named]:
            if not isinstance(source, dict):
                raise YamlError(start.start_mark.line, "<< takes a mapping or a list of mappings")
            result.update(source)
    result.update(mapping)
    return result
