"""Where the API server is and who kproxy is to it: kubeconfig, a service account in a pod, or only a URL.

Everything is read again for each new connection, so that rotated tokens, certificates and kubeconfigs are picked up
without a restart. A kubeconfig is read by the `kubernetes` package (the extra `kproxy[kubernetes]`), which also runs
exec plugins; a service account is two files and needs no package.
"""

from __future__ import annotations

import importlib
import logging
import os
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import yaml

from kproxy.errors import FeatureMissing, SourceError, one_line
from kproxy.kube.kubeconfig import PlainLogin, current, is_plain, plain_login

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a pod's token and the cluster's CA."""

_MALFORMED = (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError)


@dataclass(frozen=True, slots=True)
class Login:
    """What one connection needs. `tls` None is plain HTTP; `authorization` is the header's value, "" for none."""

    host: str
    port: int
    base_path: str = ""
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    authorization: str = ""

    @property
    def url(self) -> str:
        """The server as one writes it."""
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.base_path}"

    @property
    def authority(self) -> str:
        """Host and port, as in a Host header."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


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
        if not kubeconfig.is_file():
            raise SourceError(f"--kubeconfig {kubeconfig}: no such file", remedy="create it, or name another")
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
        return _login(self._url, _Tls())

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
            raise SourceError(f"service account token: {_reason(error)}") from None
        self._last = token, self._authority()
        return _login(self._url, _Tls(ca=str(self._directory / "ca.crt")), authorization=f"Bearer {token}")

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
        self._loaded: Any = None
        self._stamp: tuple[int, ...] = ()
        self._last: PlainLogin | None = None

    def require(self) -> None:
        """Raise FeatureMissing if it needs a package that is not installed."""
        with suppress(*_MALFORMED):
            if not is_plain(*current(self._document())):
                _package("kubernetes.config")

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
                return self._login(self._settings())
            except (SourceError, *_MALFORMED) as error:
                self._loaded = self._last = None
                why = error.what if isinstance(error, SourceError) else _reason(error)
                raise SourceError(f"kubeconfig {self._path}: {why}") from None

    def reject(self) -> None:
        """Read and run everything again for the next login."""
        with self._lock:
            self._loaded = None

    def renewed(self) -> bool:
        """Tell whether what it says, or a file that it names, changed since the last login; never with a plugin."""
        with self._lock, suppress(SourceError, *_MALFORMED):
            user, cluster = current(self._document())
            return is_plain(user, cluster) and plain_login(user, cluster, self._path.parent) != self._last
        return False

    def _document(self) -> Any:
        return yaml.safe_load(self._path.read_text(encoding="utf-8"))

    def _plain(self, plain: PlainLogin) -> Login:
        with _as_file(plain.ca) as ca, _as_file(plain.certificate) as certificate, _as_file(plain.key) as key:
            tls = _Tls(ca, certificate, key, plain.verify, plain.server_name, plain.ca_from, plain.certificate_from)
            return _login(self._master or plain.server, tls, authorization=plain.authorization)

    def _settings(self) -> Any:
        """Let the package read it; it may run a plugin, so that is done once as long as the file stays as it is."""
        status = self._path.stat()
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._loaded is not None and stamp == self._stamp:
            return self._loaded
        settings = _package("kubernetes.client").Configuration()
        config = _package("kubernetes.config")
        with _raising():
            try:
                config.load_kube_config(config_file=str(self._path), client_configuration=settings)
            except config.ConfigException as error:
                raise SourceError(str(error)) from None
        self._loaded, self._stamp = settings, stamp
        return settings

    def _login(self, settings: Any) -> Login:
        with _raising():
            # This looks whether a plugin's token has expired, and runs it then.
            authorization = next((entry["value"] for entry in settings.auth_settings().values()), None) or ""
        tls = _Tls(
            ca=settings.ssl_ca_cert,
            certificate=settings.cert_file,
            key=settings.key_file,
            verify=settings.verify_ssl,
            server_name=settings.tls_server_name or "",
        )
        # A token file ends with a line end, which is none of the token's.
        return _login(self._master or settings.host, tls, authorization=authorization.strip())


@dataclass(frozen=True, slots=True)
class _Tls:
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: bool = True
    server_name: str = ""
    ca_from: str = ""
    certificate_from: str = ""


@contextmanager
def _as_file(content: bytes) -> Iterator[str | None]:
    """Give the content a path, in memory: the ssl module reads certificates and keys from files only."""
    if not content:
        yield None
        return
    with os.fdopen(os.memfd_create("kproxy"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _login(url: str, tls: _Tls, *, authorization: str = "") -> Login:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise SourceError(f"{url}: not a URL of an API server", remedy="it looks like https://HOST:6443")
    secure = parts.scheme == "https"
    return Login(
        host,
        port or (443 if secure else 80),
        parts.path.rstrip("/"),
        _context(tls) if secure else None,
        tls.server_name or host,
        authorization,
    )


def _context(tls: _Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
    except (OSError, ValueError) as error:
        raise SourceError(f"the CA {tls.ca_from or tls.ca}: {_reason(error)}") from None
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
                f"the client certificate {tls.certificate_from or tls.certificate}: {_reason(error)}"
            ) from None
    return context


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
    """Raise what the package only says to the root logger (a plugin that failed), to go on without credentials."""
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
    finally:
        root.removeHandler(collect)
    if told:
        raise SourceError(told[0])


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    strerror = getattr(error, "strerror", None)
    reason = getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else None
    return one_line(str(reason or strerror or error or type(error).__name__))
