"""A CA, certificates and keys, made by openssl for one test run."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """A CA in a directory of its own."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self.pair = self._pair(f"{name}-ca")
        self._openssl(
            *("req", "-x509", "-key", str(self.pair.key), "-out", str(self.pair.certificate), "-days", "2"),
            *("-subj", f"/CN={name}"),
        )

    @property
    def ca(self) -> Path:
        return self.pair.certificate

    def issue(self, name: str, alternative: str = "IP:127.0.0.1") -> Pair:
        pair = self._pair(name)
        request, extensions = self._directory / f"{name}.csr", self._directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative}\n", encoding="ascii")
        self._openssl("req", "-new", "-key", str(pair.key), "-out", str(request), "-subj", f"/CN={name}")
        self._openssl(
            *("x509", "-req", "-in", str(request), "-out", str(pair.certificate), "-days", "2"),
            *("-CA", str(self.ca), "-CAkey", str(self.pair.key), "-CAcreateserial", "-extfile", str(extensions)),
        )
        return pair

    def _pair(self, name: str) -> Pair:
        pair = Pair(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        self._openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(pair.key))
        return pair

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def serving(pair: Pair, clients: Path | None = None) -> ssl.SSLContext:
    """A server's side of TLS; with `clients`, it wants certificates of that CA."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(clients) if clients else None)
    context.load_cert_chain(pair.certificate, pair.key)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
    return context
