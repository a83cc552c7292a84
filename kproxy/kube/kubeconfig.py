"""What a kubeconfig says of its current context, for the ways to log in that are only a matter of reading files.

Exec plugins and auth providers are left to the `kubernetes` package, which costs 17 MiB and a third of a second of
CPU when it is imported (docs/decisions/0013).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kproxy.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

NOT_PLAIN = ("exec", "auth-provider")
"""Fields of a user that ask for more than reading."""


@dataclass(frozen=True, slots=True)
class PlainLogin:
    """`server` is a URL; certificates and keys are PEM, empty where there are none; `authorization` is the header's.

    Where `ca` and the like come from is said by `ca_from`, `certificate_from`, for errors.
    """

    server: str
    ca: bytes
    ca_from: str
    verify: bool
    server_name: str
    certificate: bytes
    key: bytes = field(repr=False)
    certificate_from: str
    authorization: str = field(repr=False)


def current(config: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return user and cluster of a kubeconfig's current context; empty where there is none, or something else."""
    if not isinstance(config, dict):
        return {}, {}
    context = _named(config, "contexts", config.get("current-context")).get("context") or {}
    user = _named(config, "users", context.get("user")).get("user") or {}
    return user, _named(config, "clusters", context.get("cluster")).get("cluster") or {}


def is_plain(user: dict[str, Any], cluster: dict[str, Any]) -> bool:
    """Tell whether `plain_login` can read it. What is not even a kubeconfig can't."""
    return bool(cluster) and not any(field in user for field in NOT_PLAIN)


def plain_login(user: dict[str, Any], cluster: dict[str, Any], directory: Path) -> PlainLogin:
    """Read the login of now; paths are relative to `directory`.

    As client-go has it: data goes before a file, but a token file before a token, and a token before a password.
    Raises SourceError, or OSError and ValueError for what can't be read.
    """
    server = cluster.get("server")
    if not isinstance(server, str) or not server:
        raise SourceError("its cluster has no server")
    ca, ca_from = _content(cluster, "certificate-authority", directory)
    certificate, certificate_from = _content(user, "client-certificate", directory)
    return PlainLogin(
        server,
        ca,
        ca_from,
        not cluster.get("insecure-skip-tls-verify"),
        str(cluster.get("tls-server-name") or ""),
        certificate,
        _content(user, "client-key", directory)[0],
        certificate_from,
        _authorization(user, directory),
    )


def _authorization(user: dict[str, Any], directory: Path) -> str:
    token = user.get("token") or ""
    if not isinstance(token, str):
        raise SourceError("its token is not a string")
    if user.get("tokenFile"):
        # It ends with a line end, which is none of the token's.
        token = (directory / user["tokenFile"]).read_text(encoding="utf-8").strip()
    if token:
        return f"Bearer {token}"
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password') or ''}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    return ""


def _content(section: dict[str, Any], field: str, directory: Path) -> tuple[bytes, str]:
    """Return what `field`-data holds, else the file that `field` names, and which of them it was."""
    data = section.get(f"{field}-data")
    if data:
        try:
            return base64.b64decode(data, validate=True), f"{field}-data"
        except ValueError:
            raise SourceError(f"{field}-data is not base64") from None
    if not section.get(field):
        return b"", ""
    path = directory / section[field]
    return path.read_bytes(), str(path)


def _named(config: dict[str, Any], section: str, name: object) -> dict[str, Any]:
    entries: list[dict[str, Any]] = config.get(section) or []
    return next((entry for entry in entries if entry.get("name") == name), {})
