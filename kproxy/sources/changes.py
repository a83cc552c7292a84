"""What a source says: batches of objects that came or went, and what it could not use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kproxy.errors import ObjectError
    from kproxy.kube.wire import KubeObject


@dataclass(frozen=True, slots=True)
class Change:
    """One object as it is now, or (`obj` None) the news that it is gone.

    `key` is `wire.namespaced_name` of the object, `kind` one of `wire.KINDS`.
    """

    kind: str
    key: str
    obj: KubeObject | None


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Changes that belong together: they reach the kernel in one sync.

    `problems` are the documents and objects refused *at present* (the whole list, not what is new): an object that
    is refused keeps its last good version, so it is not among the changes. `complete` is False for parts of the first
    one: more of what there is follows at once.
    """

    changes: tuple[Change, ...] = ()
    problems: tuple[ObjectError, ...] = field(default=())
    complete: bool = True
