"""Certificates for the control plane: an authority, what it issues, and TLS contexts that use them. Made by openssl."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CONFIG = """
[req]
prompt = no
distinguished_name = subject
[subject]
CN = replaced on the command line
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = {usage}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
{names}
"""
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path

    def replace(self, there: Pair) -> None:
        """Put this pair in the place of another, the key first, each file in one step."""
        for mine, theirs in ((self.key, there.key), (self.certificate, there.certificate)):
            scratch = theirs.with_name(f".{theirs.name}.new")
            scratch.write_bytes(mine.read_bytes())
            scratch.replace(theirs)


class Authority:
    """A certificate authority with its files below `directory`. Certificates hold for `days`."""

    def __init__(self, directory: Path, name: str = "ca", days: int = 2) -> None:
        self._directory = directory
        self._days = days
        self.pair = Pair(directory / f"{name}.crt", directory / f"{name}.key")
        self._request(self.pair, "/CN=test authority", "authority", "")

    @property
    def certificate(self) -> Path:
        return self.pair.certificate

    def server(self, name: str, addresses: Iterable[str], hosts: Iterable[str] = ()) -> Pair:
        """A server's certificate for these IP addresses and DNS names, in NAME.crt and NAME.key.

        Issued again, it replaces the files: the key first, each in one step.
        """
        names = ",".join([*(f"IP:{one}" for one in addresses), *(f"DNS:{one}" for one in hosts)])
        return self._issue(name, f"/CN={name}", "serverAuth", f"subjectAltName = {names}")

    def client(self, name: str, user: str, groups: Iterable[str] = ()) -> Pair:
        """A client's certificate, in NAME.crt and NAME.key, replaced as a server's: to Kubernetes a user in groups."""
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
        return self._issue(name, subject, "clientAuth", "")

    def _issue(self, name: str, subject: str, usage: str, names: str) -> Pair:
        there = Pair(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        fresh = Pair(self._directory / f".{name}.crt", self._directory / f".{name}.key")
        signer = ("-CA", str(self.pair.certificate), "-CAkey", str(self.pair.key))
        self._request(fresh, subject, "leaf", CONFIG.format(usage=usage, names=names), *signer)
        fresh.key.replace(there.key)
        fresh.certificate.replace(there.certificate)
        return there

    def _request(self, pair: Pair, subject: str, section: str, config: str, *options: str) -> None:
        path = self._directory / ".openssl.cnf"
        path.write_text(config or CONFIG.format(usage="serverAuth", names=""))
        command = ("openssl", "req", "-x509", "-new", *CURVE, "-noenc", "-days", str(self._days), "-subj", subject)
        files = ("-out", pair.certificate, "-keyout", pair.key)
        done = subprocess.run(
            [*command, *("-config", path, "-extensions", section), *files, *options],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"openssl could not make {pair.certificate.name}: {done.stderr.strip()}")


def server_context(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def client_context(authority: Path, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority))
    if pair:
        context.load_cert_chain(pair.certificate, pair.key)
    return context
