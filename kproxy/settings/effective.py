"""Defaults, flags and the file together: the value of every setting, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kproxy.settings.document import FileSettings

OUTRANK_THE_FILE = frozenset({"config", "hostname_override", "logging_format", "master", "verbosity"})
"""kube-proxy's flags that count beside --config. For the others the file stands in: flags left out, defaults."""


class Effective(NamedTuple):
    """Every setting's value by flag key; `origins` names the source of those that were set ("--flag", "FILE: field").

    `ignored` are flags that were given and do not count, as the file replaces them.
    """

    values: Mapping[str, Any]
    origins: Mapping[str, str]
    ignored: tuple[str, ...]


def effective(
    defaults: Mapping[str, Any],
    given: Mapping[str, Any],
    file: FileSettings | None = None,
    *,
    file_name: str = "",
    own: Collection[str] = (),
) -> Effective:
    """Merge flag defaults, the flags that were `given`, and the file's settings.

    Without a file flags are all there is. With one, only OUTRANK_THE_FILE and the `own` flags (kproxy's, which
    kube-proxy has not) count, and they win over the file. Source: kube-proxy's options.go.
    """
    flag_names = {key: "-v" if key == "verbosity" else "--" + key.replace("_", "-") for key in given}
    if file is None:
        return Effective({**defaults, **given}, flag_names, ())
    counting = {key: value for key, value in given.items() if key in OUTRANK_THE_FILE or key in own}
    values = {**defaults, **_addresses(file.values), **file.values, **counting}
    origins = {key: f"{file_name}: {path}" for key, path in file.paths.items()}
    origins |= {key: flag_names[key] for key in counting}
    return Effective(values, origins, tuple(flag_names[key] for key in given if key not in counting))


def _addresses(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the servers' default addresses: those of the family of the file's bindAddress."""
    if ":" not in str(values.get("bind_address", "")):
        return {}
    return {"healthz_bind_address": "[::]:10256", "metrics_bind_address": "[::1]:10249"}
