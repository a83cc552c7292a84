"""On which line of a YAML (or JSON) text a field stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from kproxy.sources.yaml_reader import yaml_events
from kproxy.sources.yaml_scalars import SPECIAL_FIRST, key_text, plain_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from kproxy.kube.decode import Path


def line_of(text: bytes, path: Path, document: int = 0) -> int:
    """Return the line (from 0) of a field of the text's `document`-th document, one that `read_yaml` could read.

    Where the path can't be followed to its end (the field is missing, or comes from an alias or a merge), it is the
    line of what was found on the way. Raises YamlError as `read_yaml` does.
    """
    with yaml_events(text) as next_event:
        while document >= 0:
            document -= type(next_event()) is DocumentStartEvent
        return _follow(next_event, path)


def _follow(next_event: Callable[[], Any], path: Path) -> int:
    """Return the line of the deepest node on the path; of equal keys the last, as reading keeps that one."""
    line, depth = 0, 0
    # The containers around the next node: [its step in there, None where a key comes next; is all this the path's?]
    around: list[tuple[str | int | None, bool]] = []
    while type(event := next_event()) is not DocumentEndEvent:
        kind = type(event)
        if kind not in (ScalarEvent, AliasEvent, MappingStartEvent, SequenceStartEvent):
            around.pop()
            continue
        on_path = True
        if around:
            step, on_path = around[-1]
            if step is None:
                around[-1] = (_key_of(event), on_path)
                continue
            around[-1] = (step + 1 if isinstance(step, int) else None, on_path)
            on_path = on_path and len(around) <= len(path) and path[len(around) - 1] == step
        if on_path and len(around) >= depth:
            line, depth = event.start_mark.line, len(around)
        if kind is MappingStartEvent or kind is SequenceStartEvent:
            around.append((None if kind is MappingStartEvent else 0, on_path))
    return line


def _key_of(event: Any) -> str:
    if type(event) is not ScalarEvent:
        return ""
    text = event.value
    if event.implicit[0] and (not text or text[0] in SPECIAL_FIRST):
        return key_text(plain_value(text), text)
    return str(text)
