"""Kubeconfigs that ask for more than reading files: exec plugins and auth providers, run by the `kubernetes` package.

It is an extra (`kproxy[kubernetes]`), and only imported where a kubeconfig needs it (docs/decisions/0013).
"""

from __future__ import annotations

import importlib
import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kproxy.errors import FeatureMissing, SourceError
from kproxy.kube.login import Login, Tls, make_login, why

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def require_package() -> None:
    """Raise FeatureMissing where the package is not installed."""
    _package("kubernetes.config")


class PluginLogin:
    """A kubeconfig as the package reads it. It may run a plugin, so that is done once for each state of the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loaded: Any = None
        self._stamp: tuple[int, ...] = ()

    def forget(self) -> None:
        """Read and run everything again for the next login."""
        self._loaded = None

    def login(self, master: str) -> Login:
        """Return the login of now, `master` in place of the server if given. Raises SourceError and FeatureMissing."""
        settings = self._settings()
        with _raising():
            # This looks whether a plugin's token has expired, and runs it then.
            authorization = next((entry["value"] for entry in settings.auth_settings().values()), None) or ""
        tls = Tls(
            ca=settings.ssl_ca_cert,
            certificate=settings.cert_file,
            key=settings.key_file,
            verify=settings.verify_ssl,
            server_name=settings.tls_server_name or "",
        )
        # A token file ends with a line end, which is none of the token's.
        return make_login(master or settings.host, tls, authorization=authorization.strip())

    def _settings(self) -> Any:
        status = self._path.stat()
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._loaded is not None and stamp == self._stamp:
            return self._loaded
        settings = _package("kubernetes.client").Configuration()
        config = _package("kubernetes.config")
        with _raising():
            config.load_kube_config(config_file=str(self._path), client_configuration=settings)
        self._loaded, self._stamp = settings, stamp
        return settings


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise FeatureMissing(
            "a kubeconfig with a plugin needs the Python package kubernetes, which is not installed",
            remedy="install kproxy[kubernetes]",
        ) from None


@contextmanager
def _raising() -> Iterator[None]:
    """Raise SourceError for all that the package raises, which may be anything of the libraries behind it.

    Also for what it only says to the root logger (a plugin that failed), to go on without credentials.
    """
    told: list[str] = []
    thread = threading.get_ident()

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "root" and record.thread == thread:
                told.append(record.getMessage())

    root, collect = logging.getLogger(), Collect(logging.ERROR)
    root.addHandler(collect)
    try:
        yield
    except Exception as error:  # noqa: BLE001 - an OIDC issuer that can't be reached is urllib3's, for one
        raise SourceError(why(error)) from None
    finally:
        root.removeHandler(collect)
    if told:
        raise SourceError(told[0])
