"""docs/configuration.md, written from the tables of flags and fields."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kproxy.cli.flags import OWN_FLAGS, SETTINGS, UNUSED
from kproxy.cli.values import DURATION
from kproxy.settings.durations import format_duration
from kproxy.settings.fields import KPROXY_FIELDS, KPROXY_KIND, KUBE_PROXY_FIELDS, KUBE_PROXY_KIND, KUBE_PROXY_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.cli.flags import Flag
    from kproxy.settings.fields import Field

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
HEAD = f"""\
<!-- Written by `make rules` from kproxy/cli/flags.py and kproxy/settings/fields.py. -->
# Configuration

By flags, or by a file that `--config` names: a {KUBE_PROXY_KIND} (`{KUBE_PROXY_VERSION}`), kube-proxy's
own, with kproxy's settings in a second document of the same file, a {KPROXY_KIND}. With a file, kube-proxy's flags do
not count but for `--hostname-override`, `--master`, `--logging-format` and `-v`; kproxy's own flags do, and win.
`kproxy config` prints the outcome and where each value comes from. A file that changes ends the process, so that its
supervisor starts it anew.

In the file, an unknown or repeated field is named in the log and passed over. Values of a wrong type or out of range
are errors, all of which are named at once. What is empty or null is as good as left out, and so is a duration of zero,
but for `conntrack.tcpEstablishedTimeout` and `conntrack.tcpCloseWaitTimeout`: these leave the kernel's alone then.

`-v` (`logging.verbosity`) from 4 on logs in detail. Three of kube-proxy's flags do something else than run:
`--init-only` makes the settings of the kernel that need more rights than the agent, `--write-config-to FILE` writes the
configuration as such a file, and `--cleanup` does what `kproxy cleanup` does.
"""


def page() -> str:
    """The text of docs/configuration.md."""
    lines = [HEAD, "## kube-proxy's settings\n", *_table(SETTINGS, KUBE_PROXY_FIELDS)]
    lines += ["\n## kproxy's own settings\n", f"Fields of {KPROXY_KIND}.\n", *_table(OWN_FLAGS, KPROXY_FIELDS)]
    lines += ["\n## Accepted, without effect\n", "kube-proxy has them; here they do nothing, for the reason given.\n"]
    lines += ["| flag | field | why |", "| --- | --- | --- |"]
    paths = _paths(KUBE_PROXY_FIELDS)
    lines += [f"| `--{flag.name}` | {paths.get(flag.key, '')} | {flag.note} |" for flag in UNUSED]
    lines += [f"| | `{field.path}` | {field.note} |" for field in KUBE_PROXY_FIELDS if field.note]
    return "\n".join(lines) + "\n"


def _table(flags: tuple[Flag, ...], fields: tuple[Field, ...]) -> Iterator[str]:
    paths = _paths(fields)
    yield "| flag | field | default | |"
    yield "| --- | --- | --- | --- |"
    for flag in flags:
        yield f"| `--{flag.name}` | {paths.get(flag.key, '')} | {_default(flag)} | {flag.help} |"


def _paths(fields: tuple[Field, ...]) -> dict[str, str]:
    """The fields of each setting; a field that counts in some modes only says so by its section."""
    found: dict[str, list[str]] = {}
    for field in fields:
        found.setdefault(field.key, []).append(f"`{field.path}`")
    return {key: ", ".join(paths) for key, paths in found.items()}


def _default(flag: Flag) -> str:
    value: Any = flag.default
    if value is None or value in ("", ()):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return format_duration(value) if flag.type is DURATION else f"`{value}`"
