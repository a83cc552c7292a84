"""ServiceAccount tokens, signed with the API server's own key, so that they may live as short as a test needs."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LEEWAY_S = 60
ISSUER = "https://kubernetes.default.svc"


def make_key(private: Path, public: Path) -> None:
    """An RSA key pair, for kube-apiserver's --service-account-signing-key-file and --service-account-key-file."""
    _openssl("genrsa", "-out", str(private), "2048")
    _openssl("rsa", "-in", str(private), "-pubout", "-out", str(public))


def service_account_token(key: Path, namespace: str, name: str, uid: str, lifetime_s: float) -> str:
    """A token as the TokenRequest API hands it out, which itself gives none for less than ten minutes.

    After `lifetime_s` the API server refuses it, up to ten seconds later if it has accepted it just before. Its clock
    may be a minute off, it thinks, so the token says that it expires a minute earlier. The account is looked up by
    `uid`: deleted and made anew it is another one.
    """
    now = int(time.time()) - LEEWAY_S
    claims = {
        "iss": ISSUER,
        "aud": [ISSUER],
        "sub": f"system:serviceaccount:{namespace}:{name}",
        "iat": now,
        "nbf": now,
        "exp": int(now + lifetime_s),
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}},
    }
    signed = f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{signed}.{_base64(_openssl('dgst', '-sha256', '-sign', str(key), stdin=signed.encode()))}"


def _part(value: object) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
