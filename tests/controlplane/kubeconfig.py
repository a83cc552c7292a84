"""Kubeconfig files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tests.controlplane.pki import Pair


def token_user(token: str) -> dict[str, Any]:
    return {"token": token}


def token_file_user(path: Path) -> dict[str, Any]:
    """The file is read again by clients, so that its content may be rotated."""
    return {"tokenFile": str(path)}


def certificate_user(pair: Pair) -> dict[str, Any]:
    return {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}


def write_kubeconfig(path: Path, server: str, authority: Path, user: dict[str, Any]) -> Path:
    """Write a kubeconfig with one context; `user` is from the functions above. JSON, which is YAML too."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [{"name": "test", "user": user}],
    }
    write_whole(path, json.dumps(config, indent=1))
    return path


def write_whole(path: Path, text: str) -> None:
    """Replace a file in one step, as rotation does it; only the owner may read it."""
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(text)
    scratch.chmod(0o600)
    scratch.replace(path)
