"""Keys that a YAML text has twice in one mapping: what strict decoding refuses and plain data no longer shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from kproxy.sources.yaml_reader import yaml_events

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Open:
    """A mapping or list that has begun: where it stands, and for a mapping its keys so far and the one in turn."""

    def __init__(self, path: str, *, mapping: bool) -> None:
        self.path, self.mapping = path, mapping
        self.seen: set[str] = set()
        self.key: str | None = None


def repeated_keys(text: bytes) -> Iterator[str]:
    """Yield the path of every key that its mapping had before ("conntrack.min"). Raises YamlError."""
    stack: list[_Open] = []
    with yaml_events(text) as next_event:
        while not isinstance(event := next_event(), StreamEndEvent):
            if isinstance(event, DocumentStartEvent):
                stack.clear()
            elif isinstance(event, MappingStartEvent | SequenceStartEvent):
                path = _path(stack)
                stack.append(_Open(path, mapping=isinstance(event, MappingStartEvent)))
            elif isinstance(event, MappingEndEvent | SequenceEndEvent):
                stack.pop()
                _value_done(stack)
            elif isinstance(event, ScalarEvent | AliasEvent) and stack:
                top = stack[-1]
                if top.mapping and top.key is None:
                    top.key = event.value if isinstance(event, ScalarEvent) else ""
                    if top.key in top.seen:
                        yield _path(stack)
                    top.seen.add(top.key)
                else:
                    _value_done(stack)


def _path(stack: list[_Open]) -> str:
    if not stack:
        return ""
    top = stack[-1]
    return ".".join(part for part in (top.path, top.key) if part)


def _value_done(stack: list[_Open]) -> None:
    if stack:
        stack[-1].key = None
