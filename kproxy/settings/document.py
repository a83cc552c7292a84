"""Reads a configuration file: one KubeProxyConfiguration, and kproxy's own settings in a document beside it.

Decoding is strict first, and lenient where only that fails, as in kube-proxy: an unknown or repeated field is named
with its path and passed over. A value of the wrong type is an error; all of them are reported at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kproxy.errors import ConfigError, ConfigErrors
from kproxy.settings.durations import parse_duration
from kproxy.settings.fields import (
    KPROXY_FIELDS,
    KPROXY_KIND,
    KPROXY_VERSION,
    KUBE_PROXY_FIELDS,
    KUBE_PROXY_KIND,
    KUBE_PROXY_VERSION,
    Field,
    Kind,
)
from kproxy.settings.repeated import repeated_keys
from kproxy.sources.yaml_reader import YamlError, read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_DOCUMENTS = {
    (KUBE_PROXY_VERSION, KUBE_PROXY_KIND): KUBE_PROXY_FIELDS,
    (KPROXY_VERSION, KPROXY_KIND): KPROXY_FIELDS,
}
_HEADER = ("apiVersion", "kind")


class FileSettings(NamedTuple):
    """What a file says.

    `values` are settings by flag key, of the types that flags have (durations in seconds, lists as tuples). `paths` is
    the field that each of them comes from. `without_effect`: a field that was set, and why that does nothing.
    `warnings` are what only strict decoding refuses.
    """

    values: Mapping[str, Any]
    paths: Mapping[str, str]
    without_effect: Mapping[str, str]
    warnings: tuple[str, ...]


def read_settings(text: bytes) -> FileSettings:
    """Read the content of a file (YAML or JSON). Raises `ConfigError`, or `ConfigErrors` where there are several."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    try:
        for document in read_yaml(text):
            if document.data is not None:
                _enter(found, document.data)
        warnings = [f"{path}: the field is there twice; the last one counts" for path in repeated_keys(text)]
    except YamlError as error:
        raise ConfigError(f"line {error.line + 1}", error.what, remedy="write YAML or JSON") from None
    if (KUBE_PROXY_VERSION, KUBE_PROXY_KIND) not in found:
        raise ConfigError(
            "kind", f"there is no {KUBE_PROXY_KIND} in it", remedy=f"begin with apiVersion: {KUBE_PROXY_VERSION}"
        )
    reader = _Reader(warnings)
    for which, fields in _DOCUMENTS.items():
        reader.read(fields, found.get(which, {}))
    return reader.settings()


def _enter(found: dict[tuple[str, str], dict[str, Any]], data: Any) -> None:
    if not isinstance(data, dict):
        raise ConfigError("kind", "a document is not a mapping", remedy="write apiVersion, kind and fields")
    which = (str(data.get("apiVersion", "")), str(data.get("kind", "")))
    if which not in _DOCUMENTS:
        known = " and ".join(f"{kind} ({version})" for version, kind in _DOCUMENTS)
        raise ConfigError(
            "kind", f"{which[1] or 'nothing'} ({which[0] or 'no apiVersion'}) is unknown", remedy=f"use {known}"
        )
    if which in found:
        raise ConfigError("kind", f"{which[1]} is there twice", remedy="keep one")
    found[which] = data


class _Reader:
    """Turns documents into settings, and collects what is wrong with them."""

    def __init__(self, warnings: list[str]) -> None:
        self.warnings = warnings
        self.errors: list[ConfigError] = []
        self.values: dict[str, Any] = {}
        self.paths: dict[str, str] = {}
        self.without_effect: dict[str, str] = {}

    def read(self, fields: tuple[Field, ...], data: dict[str, Any]) -> None:
        mode = data.get("mode") or self.values.get("proxy_mode") or "iptables"
        by_path = {field.path: field for field in fields}
        groups = {path.rpartition(".")[0] for path in by_path} - {""}
        for path, value in self._leaves(data, "", groups):
            if path in _HEADER:
                continue
            field = by_path.get(path)
            if field is None:
                self.warnings.append(f"{path}: unknown field, passed over")
            else:
                self._take(field, value, str(mode))

    def settings(self) -> FileSettings:
        if len(self.errors) > 1:
            raise ConfigErrors(self.errors)
        if self.errors:
            raise self.errors[0]
        return FileSettings(self.values, self.paths, self.without_effect, tuple(self.warnings))

    def _leaves(self, data: dict[str, Any], prefix: str, groups: set[str]) -> Iterator[tuple[str, Any]]:
        for key, value in data.items():
            path = f"{prefix}{key}"
            if path not in groups:
                yield path, value
            elif isinstance(value, dict):
                yield from self._leaves(value, f"{path}.", groups)
            elif value is not None:
                self._wrong(path, value, "a mapping of fields")

    def _take(self, field: Field, value: Any, mode: str) -> None:
        if value is None:
            return
        try:
            converted = _CONVERT[field.kind](value)
        except (TypeError, ValueError, OverflowError):
            self._wrong(field.path, value, field.kind.value)
            return
        if not converted and not field.pointer:
            return
        if field.modes and mode not in field.modes:
            return  # another mode's section: a file that was written out whole has all of them
        if not field.key:
            if field.note:
                self.without_effect[field.path] = field.note
            return
        self.values[field.key] = converted
        self.paths[field.key] = field.path

    def _wrong(self, path: str, value: Any, wanted: str) -> None:
        self.errors.append(ConfigError(path, f"{value!r} is not {wanted}", remedy="correct it, or leave the field out"))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise TypeError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_text(one) for one in value)


def _switches(value: Any) -> tuple[str, ...]:
    if not isinstance(value, dict):
        raise TypeError
    return tuple(f"{name}={str(_boolean(on)).lower()}" for name, on in value.items())


def _duration(value: Any) -> float:
    return parse_duration(_text(value))


def _comma_text(value: Any) -> tuple[str, ...]:
    return tuple(part.strip() for part in _text(value).split(",") if part.strip())


def _anything(value: Any) -> Any:
    return value


_CONVERT: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.TEXT: _text,
    Kind.BOOLEAN: _boolean,
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.DURATION: _duration,
    Kind.TEXTS: _texts,
    Kind.COMMA_TEXT: _comma_text,
    Kind.SWITCHES: _switches,
    Kind.ANYTHING: _anything,
}
