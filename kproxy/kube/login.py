"""What one connection to the API server needs: the address, TLS, and the Authorization header.

Nothing here tells a secret: neither an error nor the `repr` of a login, both of which end up in logs.
"""

from __future__ import annotations

import os
import re
import ssl
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

from kproxy.errors import SourceError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_USER_INFO = re.compile(r"//[^/]*@")


@dataclass(frozen=True, slots=True)
class Login:
    """What one connection needs. `tls` None is plain HTTP; `authorization` is the header's value, "" for none."""

    host: str
    port: int
    base_path: str = ""
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    authorization: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """The server as one writes it."""
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.base_path}"

    @property
    def authority(self) -> str:
        """Host and port, as in a Host header."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths of PEM files, and how to verify the server. `ca_from` and `certificate_from` name the files in errors."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: bool = True
    server_name: str = ""
    ca_from: str = ""
    certificate_from: str = ""


def without_secret(url: str) -> str:
    """Return a URL as it may be shown: without user and password."""
    return _USER_INFO.sub("//...@", url)


def make_login(url: str, tls: Tls, *, authorization: str = "") -> Login:
    """Put a login together; TLS is used for https alone. Raises SourceError."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise SourceError(
            f"{without_secret(url)}: not a URL of an API server", remedy="it looks like https://HOST:6443"
        )
    if not _HEADER_VALUE.fullmatch(authorization):
        raise SourceError("its token or password has characters that no header can carry, a line break perhaps")
    secure = parts.scheme == "https"
    return Login(
        host,
        port or (443 if secure else 80),
        parts.path.rstrip("/"),
        _context(tls) if secure else None,
        tls.server_name or host,
        authorization,
    )


@contextmanager
def as_file(content: bytes) -> Iterator[str | None]:
    """Give the content a path, in memory: the ssl module reads certificates and keys from files only."""
    if not content:
        yield None
        return
    with os.fdopen(os.memfd_create("kproxy"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def why(error: BaseException) -> str:
    """Return in a few words what is wrong with a file. YAML's own words would show the line, with the token in it."""
    if isinstance(error, yaml.YAMLError):
        mark = getattr(error, "problem_mark", None)
        return f"line {mark.line + 1} is not YAML" if mark else "it is not YAML"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    strerror = getattr(error, "strerror", None)
    reason = getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else None
    return one_line(str(reason or strerror or error or type(error).__name__))


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
    except (OSError, ValueError) as error:
        raise SourceError(f"the CA {tls.ca_from or tls.ca}: {why(error)}") from None
    # Many clusters' own CAs lack extensions that newer Pythons insist on; kubectl does not ask for them either.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate:
        try:
            context.load_cert_chain(tls.certificate, tls.key or None)
        except (OSError, ValueError) as error:
            raise SourceError(
                f"the client certificate {tls.certificate_from or tls.certificate}: {why(error)}"
            ) from None
    return context
