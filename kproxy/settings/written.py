"""Writes settings as a configuration file: what `--write-config-to` leaves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kproxy.settings.durations import format_duration
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

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def write_settings(values: Mapping[str, Any], given: Collection[str] = ()) -> str:
    """Return the YAML text that `read_settings` turns into these values again, by flag key.

    Those of kproxy's own settings that were `given` follow in a second document.
    """
    import yaml  # here, because every start of the agent needs `configz` below

    documents = _documents(values, given)
    return "---\n".join(yaml.safe_dump(one, sort_keys=False, default_flow_style=False) for one in documents)


def configz(values: Mapping[str, Any], given: Collection[str] = ()) -> bytes:
    """Return the same as JSON by API group, as /configz shows it; it has paths of credentials, never their content."""
    by_group = {one["apiVersion"].partition("/")[0]: one for one in _documents(values, given)}
    return json.dumps(by_group, separators=(",", ":")).encode()


def _documents(values: Mapping[str, Any], given: Collection[str]) -> list[dict[str, Any]]:
    mode = values.get("proxy_mode") or "iptables"
    documents = [_document(KUBE_PROXY_VERSION, KUBE_PROXY_KIND, KUBE_PROXY_FIELDS, values, mode)]
    own = tuple(field for field in KPROXY_FIELDS if field.key in given)
    if own:
        documents.append(_document(KPROXY_VERSION, KPROXY_KIND, own, values, mode))
    return documents


def _document(
    version: str, kind: str, fields: tuple[Field, ...], values: Mapping[str, Any], mode: str
) -> dict[str, Any]:
    document: dict[str, Any] = {"apiVersion": version, "kind": kind}
    for field in fields:
        if values.get(field.key) is None or (field.modes and mode not in field.modes):
            continue
        if field.kind is Kind.SWITCHES and not values[field.key]:
            continue
        *groups, name = field.path.split(".")
        holder = document
        for group in groups:
            holder = holder.setdefault(group, {})
        holder[name] = _plain(field.kind, values[field.key])
    return document


def _plain(kind: Kind, value: Any) -> Any:
    match kind:
        case Kind.DURATION:
            return format_duration(value)
        case Kind.TEXTS:
            return list(value)
        case Kind.COMMA_TEXT:
            return ",".join(value)
        case Kind.SWITCHES:
            return {name: on == "true" for name, _, on in (one.partition("=") for one in value)}
        case Kind.TEXT:
            return str(value)
        case _:
            return value
