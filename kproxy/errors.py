"""Every error that kproxy raises on purpose.

The tree::

    KproxyError
    ├── ConfigError       a flag or configuration field has a wrong value
    │   └── ConfigErrors        several of them at once
    ├── ObjectError       a Kubernetes object (or document) can't be used; the others go on
    │   └── OwnAddress          it names an address of this node, on which it can't be served
    ├── SourceError       the source of objects itself can't be read
    ├── KernelError       the kernel, or the tool that talks to it, refused
    │   ├── FeatureMissing      a match, target, module, binary or system file is not there
    │   ├── PermissionMissing   a capability is missing
    │   ├── LockHeld            another program holds the xtables lock
    │   └── RestoreRefused      iptables-restore did not take the rules
    └── ServerError       a port can't be listened on

The text is one line for the user: what failed, on which object or field, what to do. The command line prints it
and exits with 1 (`ConfigError`: 2); it never prints a traceback for one of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def one_line(text: str) -> str:
    """Return text fit for one line of a log or terminal: line breaks become spaces, the rest is escaped."""
    if text.isprintable():
        return text
    text = " ".join(text.split("\n"))
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class KproxyError(Exception):
    """The root. `remedy`, when there is one, is appended to the text after a colon-free dash."""

    def __init__(self, what: str, *, remedy: str = "") -> None:
        self.what = what = one_line(what)
        self.remedy = remedy
        super().__init__(f"{what} - {remedy}" if remedy else what)


class ConfigError(KproxyError):
    """A flag or configuration field has a wrong value."""

    def __init__(self, field: str, what: str, *, remedy: str = "") -> None:
        self.field = field
        self.reason = what
        super().__init__(f"{field}: {what}", remedy=remedy)


class ConfigErrors(ConfigError):
    """Several wrong values, reported together; `errors` has them one by one."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        self.errors = tuple(errors)
        super().__init__(self.errors[0].field, "; ".join(str(error) for error in self.errors))


class ObjectError(KproxyError):
    """An object or document that can't be used.

    `where` names it ("Service default/web" or "web.yaml:12"), `field` is the path inside ("spec.ports[0].port").
    """

    def __init__(self, where: str, field: str, what: str) -> None:
        self.where = where
        self.field = field
        super().__init__(": ".join(part for part in (where, field, what) if part))


class OwnAddress(ObjectError):
    """A Service names an address of this node, on which it can't be served: a matter of this node alone."""


class SourceError(KproxyError):
    """The source of objects itself can't be read (a directory that does not exist, say)."""


class KernelError(KproxyError):
    """The kernel, or the tool that talks to it, refused; `while_writing` rules, not while looking at what is there."""

    while_writing = False


class FeatureMissing(KernelError):
    """A match, target, module, binary or system file is not there."""


class PermissionMissing(KernelError):
    """A capability is missing."""


class LockHeld(KernelError):
    """Another program holds the xtables lock."""


class RestoreRefused(KernelError):
    """iptables-restore did not take the rules; `line` is the 1-based line at fault where the tool named one."""

    def __init__(self, what: str, *, line: int | None = None, remedy: str = "") -> None:
        self.line = line
        super().__init__(what, remedy=remedy)


class ServerError(KproxyError):
    """A port can't be listened on."""
