"""Where the API server is and who kproxy is to it: kubeconfig, a service account in a pod, or only a URL.

Everything is read again for each new connection, so that rotated tokens, certificates and kubeconfigs are picked up
without a restart. Only a kubeconfig with a plugin needs the `kubernetes` package (`plugins`).
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import yaml

from kproxy.errors import SourceError
from kproxy.kube.kubeconfig import PlainLogin, current, is_plain, plain_login
from kproxy.kube.login import Login, Tls, as_file, make_login, why
from kproxy.kube.plugins import PluginLogin, require_package

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a pod's token and the cluster's CA."""

_MALFORMED = (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError)


class Credentials(Protocol):
    """Gives the login for the next connection."""

    def login(self) -> Login:
        """Read what is needed from its files. It may block. Raises SourceError or FeatureMissing."""

    def reject(self) -> None:
        """Note that the server did not accept the last login: nothing of it may be used again unread."""

    def renewed(self) -> bool:
        """Tell whether the files say something else than at the last login. It may block, but runs no plugin."""


def find_credentials(
    kubeconfig: Path | None, master: str = "", *, environ: Mapping[str, str] = os.environ
) -> Credentials:
    """Choose by flags, as kube-proxy does: a kubeconfig, whose server `master` replaces; a URL; else a service account.

    Raises SourceError or FeatureMissing for what can't heal by itself: no such file, no service account.
    """
    if kubeconfig is not None:
        try:
            what = "" if kubeconfig.is_file() else "no such file"
        except OSError as error:  # of a directory on the way to it
            what = why(error)
        if what:
            raise SourceError(f"--kubeconfig {kubeconfig}: {what}", remedy="create it, or name another")
        found = Kubeconfig(kubeconfig, master)
        found.require()
        return found
    if master:
        return Plain(master)
    return ServiceAccount(environ)


class Plain:
    """A server that wants no credentials, by its URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.login()

    def login(self) -> Login:
        """Return the login. Raises SourceError for what is no URL."""
        return make_login(self._url, Tls())

    def reject(self) -> None:
        """Do nothing: there is nothing to read again."""

    def renewed(self) -> bool:
        """Return False: there are no files."""
        return False


class ServiceAccount:
    """The service account of the pod kproxy runs in; its token is rotated by the kubelet."""

    def __init__(self, environ: Mapping[str, str] = os.environ, directory: Path = SERVICE_ACCOUNT) -> None:
        host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
        if not host or not port:
            raise SourceError(
                "no API server: this is not a pod (KUBERNETES_SERVICE_HOST is not set)",
                remedy="give --kubeconfig FILE, --master URL, or --manifests DIR",
            )
        self._url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        self._directory = directory
        self._last = ("", b"")

    def login(self) -> Login:
        """Return the login with the token of now. Raises SourceError if a file can't be read."""
        try:
            token = self._token()
        except (OSError, ValueError) as error:
            self._last = ("", b"")
            raise SourceError(f"service account token: {why(error)}") from None
        self._last = token, self._authority()
        return make_login(self._url, Tls(ca=str(self._directory / "ca.crt")), authorization=f"Bearer {token}")

    def reject(self) -> None:
        """Do nothing: the token is read for each login."""

    def renewed(self) -> bool:
        """Tell whether token or CA changed since the last login."""
        with suppress(OSError, ValueError):
            return (self._token(), self._authority()) != self._last
        return False

    def _token(self) -> str:
        return (self._directory / "token").read_text(encoding="utf-8").strip()

    def _authority(self) -> bytes:
        with suppress(OSError):
            return (self._directory / "ca.crt").read_bytes()
        return b""


class Kubeconfig:
    """A kubeconfig file, its current context."""

    def __init__(self, path: Path, master: str = "") -> None:
        self._path = path
        self._master = master
        self._lock = threading.Lock()
        self._plugin = PluginLogin(path)
        self._last: PlainLogin | None = None

    def require(self) -> None:
        """Raise FeatureMissing if it needs a package that is not installed."""
        with suppress(*_MALFORMED):
            if not is_plain(*current(self._document())):
                require_package()

    def login(self) -> Login:
        """Return the login of now; a plugin is run again only when its token expires or was not accepted."""
        with self._lock:
            try:
                user, cluster = current(self._document())
                if cluster.get("proxy-url"):
                    raise SourceError("proxy-url is not supported")
                if is_plain(user, cluster):
                    self._last = plain_login(user, cluster, self._path.parent)
                    return self._plain(self._last)
                return self._plugin.login(self._master)
            except (SourceError, *_MALFORMED) as error:
                self._last = None
                self._plugin.forget()
                what = error.what if isinstance(error, SourceError) else why(error)
                raise SourceError(f"kubeconfig {self._path}: {what}") from None

    def reject(self) -> None:
        """Read and run everything again for the next login."""
        with self._lock:
            self._plugin.forget()

    def renewed(self) -> bool:
        """Tell whether what it says, or a file that it names, changed since the last login; never with a plugin."""
        with self._lock, suppress(SourceError, *_MALFORMED):
            user, cluster = current(self._document())
            return is_plain(user, cluster) and plain_login(user, cluster, self._path.parent) != self._last
        return False

    def _document(self) -> Any:
        return yaml.safe_load(self._path.read_text(encoding="utf-8"))

    def _plain(self, plain: PlainLogin) -> Login:
        with as_file(plain.ca) as ca, as_file(plain.certificate) as certificate, as_file(plain.key) as key:
            tls = Tls(ca, certificate, key, plain.verify, plain.server_name, plain.ca_from, plain.certificate_from)
            return make_login(self._master or plain.server, tls, authorization=plain.authorization)
