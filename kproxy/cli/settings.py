"""The command line and the configuration file together: what `run` and `config` have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.core import ParameterSource

from kproxy.cli.flags import OWN_FLAGS, SETTINGS, UNUSED, flatten
from kproxy.errors import ConfigError, ConfigErrors
from kproxy.settings.effective import effective

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

    from kproxy.settings.document import FileSettings
    from kproxy.settings.effective import Effective


def gather(context: click.Context, values: dict[str, Any]) -> tuple[Effective, list[str]]:
    """Merge flags and the file that --config names; return that, and warnings for the log. Raises `ConfigError`."""
    given = {key: value for key, value in flatten(values).items() if _given(context, key)}
    defaults = {flag.key: flag.default for flag in (*OWN_FLAGS, *SETTINGS, *UNUSED)} | {"verbosity": 0, "config": ""}
    settings = {key: value for key, value in given.items() if key in defaults}
    path = str(values["config"])
    file = read_file(Path(path)) if path else None
    own = {flag.key for flag in OWN_FLAGS}
    merged = effective(defaults, settings, file, file_name=path, own=own)
    return merged, list(_warnings(merged, file, path))


def read_file(path: Path) -> FileSettings:
    """Read a configuration file. Raises `ConfigError` that names the file and the field."""
    # Only where there is a file: it needs the YAML reader.
    from kproxy.settings.document import read_settings

    try:
        return read_settings(path.read_bytes())
    except OSError as error:
        raise ConfigError("--config", f"{path}: {error.strerror}", remedy="name a file that can be read") from None
    except ConfigErrors as errors:
        raise ConfigErrors([_within(path, error) for error in errors.errors]) from None
    except ConfigError as error:
        raise _within(path, error) from None


def _within(path: Path, error: ConfigError) -> ConfigError:
    return ConfigError(f"{path}: {error.field}", error.reason, remedy=error.remedy)


def _warnings(merged: Effective, file: FileSettings | None, path: str) -> Iterator[str]:
    for name in merged.ignored:
        yield f"{name} has no effect beside --config: set it in {path}"
    for flag in UNUSED:
        if flag.key in merged.origins:
            yield f"{merged.origins[flag.key]} has no effect: {flag.note}"
    if file is not None:
        for field, why in file.without_effect.items():
            yield f"{path}: {field} has no effect: {why}"
        for warning in file.warnings:
            yield f"{path}: {warning}"


def _given(context: click.Context, key: str) -> bool:
    return context.get_parameter_source(key) is ParameterSource.COMMANDLINE
