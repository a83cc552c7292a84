"""A document (plain data, or raw JSON) -> the objects in it, as wire structs. Only types are checked here.

`List`, `ServiceList`, `EndpointSliceList`, ... are unfolded, also inside each other. Kinds that kproxy does not read
are passed over without a word; a kind that it reads in an API version that it does not read is refused, since
silence would surprise there (`discovery.k8s.io/v1beta1`), but another group's kind of the same name (Knative's
`serving.knative.dev/v1 Service`) is just another kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from kproxy.errors import one_line
from kproxy.kube.wire import CLUSTER_SCOPED, KINDS, KubeObject, namespaced_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

Path = tuple[str | int, ...]
"""Steps from a document's root: mapping keys and list positions. ("spec", "ports", 0, "port")"""

API_VERSIONS: Final = {
    "Service": "v1",
    "Endpoints": "v1",
    "Node": "v1",
    "Namespace": "v1",
    "Pod": "v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "ServiceCIDR": "networking.k8s.io/v1",
}
"""kind -> the apiVersion it is read in (the keys are those of `wire.KINDS`)."""

LIST_KINDS: Final = {"List": "", **{f"{kind}List": kind for kind in API_VERSIONS}}
"""list kind -> the kind of its items; "" for `List`, whose items say it themselves."""

MAX_LIST_DEPTH = 4
"""Lists inside Lists deeper than this are refused."""

_VERSIONS = {
    **API_VERSIONS,
    "List": "v1",
    **{f"{kind}List": version for kind, version in API_VERSIONS.items()},
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """An object; `at` is where it stands in its document (() for the document itself)."""

    at: Path
    kind: str
    key: str
    obj: KubeObject


@dataclass(frozen=True, slots=True)
class Refused:
    """An object that can't be used.

    `field` is the path inside the object as the user writes it ("spec.ports[0].port", "" for the whole object) and
    `path` the same from the document's root, in steps. `kind` and `key` tell which object it is, "" where that is
    not known.
    """

    path: Path
    field: str
    what: str
    kind: str = ""
    key: str = ""


class _Wrong(Exception):
    """A type error: the steps to the field inside the object, the field's spelling, and what is wrong with it."""

    def __init__(self, steps: Path, field: str, what: str) -> None:
        self.steps, self.field, self.what = steps, field, what


class _Head(msgspec.Struct, rename="camel", gc=False):
    api_version: str | None = None
    kind: str | None = None


class _Name(msgspec.Struct, gc=False):
    name: str
    namespace: str | None = None


class _Named(msgspec.Struct, gc=False):
    metadata: _Name


class _Items(msgspec.Struct):
    items: list[Any] | None = None


class _RawItems(msgspec.Struct):
    items: list[msgspec.Raw] | None = None


@dataclass(frozen=True, slots=True)
class _Form:
    """How a document comes: what turns it into a struct, what into plain data, and what its list items are."""

    convert: Callable[[Any, Any], Any]
    plain: Callable[[Any], Any]
    items: type[_Items] | type[_RawItems]


def decode_plain(data: object, *, item_kind: str = "") -> Iterator[Decoded | Refused]:
    """Yield the objects of a document that is plain data: dicts with string keys, lists and scalars.

    `item_kind` is the kind that a typed list ("ServiceList") gives to an item that names none.
    """
    return _unfold(_PLAIN, data, (), item_kind)


def decode_json(raw: bytes | msgspec.Raw | memoryview, *, item_kind: str = "") -> Iterator[Decoded | Refused]:
    """Yield the objects of a document that is JSON text (exactly one value)."""
    return _unfold(_JSON, raw, (), item_kind)


def list_item_kind(api_version: str | None, kind: str | None) -> str | None:
    """Return what `LIST_KINDS` says of a list that kproxy unfolds, None for anything else."""
    if kind is None or _VERSIONS.get(kind) != api_version:
        return None
    return LIST_KINDS.get(kind)


def _unfold(form: _Form, data: Any, at: Path, item_kind: str) -> Iterator[Decoded | Refused]:
    try:
        kind = _recognised(_convert(form, data, _Head), item_kind)
        if kind is None:
            return
        if kind not in LIST_KINDS:
            yield _object(form, data, at, kind)
            return
        if len(at) >= 2 * MAX_LIST_DEPTH:
            raise _Wrong((), "", "a List inside too many Lists")
        items = _convert(form, data, form.items).items or []
    except _Wrong as wrong:
        yield Refused((*at, *wrong.steps), wrong.field, wrong.what)
        return
    for position, item in enumerate(items):
        yield from _unfold(form, item, (*at, "items", position), LIST_KINDS[kind])


def _recognised(head: _Head, item_kind: str) -> str | None:
    """Return the kind if it is one that kproxy reads, None if it is to be passed over."""
    kind = head.kind or item_kind
    if not kind:
        raise _Wrong(("kind",), "kind", "missing")
    expected = _VERSIONS.get(kind)
    version = head.api_version or (expected if kind == item_kind else "")
    if expected is None or version == expected:
        return kind if expected else None
    if not version:
        raise _Wrong(("apiVersion",), "apiVersion", f"missing, {expected} is the one of kind {kind}")
    if version.rpartition("/")[0] != expected.rpartition("/")[0]:
        return None
    raise _Wrong(("apiVersion",), "apiVersion", f"{kind} is read in {expected} only, got {printable(version)}")


def _object(form: _Form, data: Any, at: Path, kind: str) -> Decoded | Refused:
    try:
        obj: KubeObject = _convert(form, data, KINDS[kind])
        meta = obj.metadata
        if not meta.name:
            raise _Wrong(("metadata", "name"), "metadata.name", "missing")
    except _Wrong as wrong:
        key = _key_alone(form, data, kind)
        return Refused((*at, *wrong.steps), wrong.field, wrong.what, kind if key else "", key)
    if not meta.namespace and kind not in CLUSTER_SCOPED:
        # API servers never leave it out; people do.
        meta = msgspec.structs.replace(meta, namespace="default")
        obj = msgspec.structs.replace(obj, metadata=meta)
    return Decoded(at, kind, namespaced_name(obj), obj)


def _key_alone(form: _Form, data: Any, kind: str) -> str:
    """Return the key of an object whose other fields are wrong, "" if that can't be known either."""
    try:
        meta: _Name = _convert(form, data, _Named).metadata
    except _Wrong:
        return ""
    if not meta.name or kind in CLUSTER_SCOPED:
        return meta.name
    return f"{meta.namespace or 'default'}/{meta.name}"


def _convert(form: _Form, data: Any, to: type[T]) -> T:
    try:
        try:
            result: T = form.convert(data, to)
        except msgspec.ValidationError as error:
            result = _convert_without_nulls(form.plain(data), to, error)
        return result
    except msgspec.DecodeError as error:
        raise _Wrong((), "", f"not JSON: {error}") from None
    except UnicodeDecodeError:
        raise _Wrong((), "", "not UTF-8") from None
    except RecursionError:
        raise _Wrong((), "", "nested too deeply") from None


def _convert_without_nulls(data: Any, to: type[T], error: msgspec.ValidationError) -> T:
    """Convert data which `error` speaks of, but take every field that is null for absent, as the API does."""
    without = _without_nulls(data)
    if without != data:
        try:
            return msgspec.convert(without, to)
        except msgspec.ValidationError as other:
            error = other
    raise _explained(str(error), without) from None


def _without_nulls(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_nulls(value) for key, value in data.items() if value is not None}
    if isinstance(data, list):
        return [_without_nulls(value) for value in data]
    return data


_PLAIN = _Form(convert=msgspec.convert, plain=lambda data: data, items=_Items)
_JSON = _Form(convert=lambda raw, to: msgspec.json.decode(raw, type=to), plain=msgspec.json.decode, items=_RawItems)

# "Expected `int`, got `str` - at `$.spec.ports[0].port`"
_MESSAGE = re.compile(r"(?P<what>.*?)(?: - at (?:`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_MISSING = re.compile(r"Object missing required field `(.*)`")
# What msgspec calls them, and what the people who write manifests do.
_WORDS = {"object": "mapping", "array": "list"}


def _explained(message: str, data: Any) -> _Wrong:
    """Return msgspec's message about data as steps, field and words."""
    match = _MESSAGE.fullmatch(message)
    what, where = (match["what"], match["path"] or "") if match else (message, "")
    steps: list[str | int] = []
    field = ""
    for name, position in _STEP.findall(where):
        if name:
            steps.append(name)
            field += f".{name}"
        else:
            # msgspec writes [...] for "some key of a mapping".
            step = int(position) if position.isdigit() else _first_wrong_key(data, steps)
            steps.append(step)
            field += f"[{printable(str(step))}]"
    missing = _MISSING.fullmatch(what)
    if missing:
        steps.append(missing[1])
        field, what = f"{field}.{missing[1]}", "missing"
    else:
        what = what[:1].lower() + what[1:].replace(" | null", "")
        what = re.sub(r"`(\w+)`", lambda word: _WORDS.get(word[1], word[1]), what)
    return _Wrong(tuple(steps), field.removeprefix("."), what)


def _first_wrong_key(data: Any, steps: list[str | int]) -> str:
    """Return the key of the first value that is no string: all mappings in use (labels, annotations) hold strings."""
    for step in steps:
        data = data[step]
    return next((str(key) for key, value in data.items() if not isinstance(value, str)), "...")


def printable(text: str, limit: int = 80) -> str:
    """Return text from a manifest made fit for a message: on one line, no control characters, not too long."""
    return one_line(text[:limit]) + ("..." if len(text) > limit else "")
