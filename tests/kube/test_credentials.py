from __future__ import annotations

import base64
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from kproxy.errors import FeatureMissing, KproxyError, SourceError
from kproxy.kube.credentials import Kubeconfig, Plain, ServiceAccount, find_credentials
from tests.kube.certificates import Authority

POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "cluster")


def kubeconfig(path: Path, user: dict[str, Any], **cluster: Any) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "elsewhere", "context": {"cluster": "none", "user": "none"}},
            {"name": "here", "context": {"cluster": "c", "user": "u"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": "https://192.0.2.9:6443", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    config = path / "kubeconfig"
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    return config


@pytest.mark.parametrize(
    ("url", "host", "port", "base", "secure", "authority"),
    [
        ("https://192.0.2.1:6443", "192.0.2.1", 6443, "", True, "192.0.2.1:6443"),
        ("https://api.example/", "api.example", 443, "", True, "api.example:443"),
        ("http://[2001:db8::1]:8080", "2001:db8::1", 8080, "", False, "[2001:db8::1]:8080"),
        ("127.0.0.1:8001", "127.0.0.1", 8001, "", False, "127.0.0.1:8001"),
        ("https://rancher.example/k8s/clusters/c-1/", "rancher.example", 443, "/k8s/clusters/c-1", True, None),
    ],
)
def test_a_url_alone(url: str, host: str, port: int, base: str, secure: bool, authority: str | None) -> None:
    login = Plain(url).login()
    assert (login.host, login.port, login.base_path, login.tls is not None) == (host, port, base, secure)
    assert authority in (None, login.authority)
    assert login.authorization == ""


@pytest.mark.parametrize("url", ["ftp://x", "https://", "https://x:port", "https://[::1", "http://x:99999"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(SourceError, match="not a URL of an API server - it looks like https://HOST:6443"):
        Plain(url)


def test_tls_is_verified(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n", encoding="ascii")
    (tmp_path / "ca.crt").write_bytes(authority.ca.read_bytes())
    login = ServiceAccount(POD, tmp_path).login()
    assert login.url == "https://10.96.0.1:443"
    assert login.authorization == "Bearer secret"
    assert login.tls is not None
    assert login.tls.verify_mode is ssl.CERT_REQUIRED
    assert login.tls.check_hostname
    assert len(login.tls.get_ca_certs()) == 1  # and not those of the system


def test_a_service_account_on_ipv6(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret", encoding="ascii")
    (tmp_path / "ca.crt").write_bytes(authority.ca.read_bytes())
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    assert ServiceAccount(environ, tmp_path).login().authority == "[fd00::1]:443"


def test_a_rotated_token_is_read(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(authority.ca.read_bytes())
    account = ServiceAccount(POD, tmp_path)
    with pytest.raises(SourceError, match="service account token: No such file"):
        account.login()
    for token in ("one", "two"):
        (tmp_path / "token").write_text(token, encoding="ascii")
        assert account.login().authorization == f"Bearer {token}"


@pytest.mark.parametrize("file", ["token", "ca.crt"])
def test_a_renewed_service_account_is_noticed(authority: Authority, tmp_path: Path, file: str) -> None:
    (tmp_path / "token").write_text("one", encoding="ascii")
    (tmp_path / "ca.crt").write_bytes(authority.ca.read_bytes())
    account = ServiceAccount(POD, tmp_path)
    account.login()
    assert not account.renewed()
    with (tmp_path / file).open("ab") as more:
        more.write(b"and more")
    assert account.renewed()
    account.login()
    assert not account.renewed()
    (tmp_path / "token").unlink()
    assert not account.renewed(), "it can't be read, so it is of no use yet"


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_ca_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "token").write_text("secret", encoding="ascii")
    if content is not None:
        (tmp_path / "ca.crt").write_bytes(content)
    with pytest.raises(SourceError, match=r"the CA .*/ca\.crt: "):
        ServiceAccount(POD, tmp_path).login()


def test_a_kubeconfig_with_a_token_file(authority: Authority, tmp_path: Path) -> None:
    """As kubeadm writes it for kube-proxy. Paths are relative to the kubeconfig."""
    (tmp_path / "ca.crt").write_bytes(authority.ca.read_bytes())
    (tmp_path / "token").write_text("one\n", encoding="ascii")
    found = find_credentials(kubeconfig(tmp_path, {"tokenFile": "token"}, **{"certificate-authority": "ca.crt"}))
    login = found.login()
    assert login.url == "https://192.0.2.9:6443"
    assert login.authorization == "Bearer one"
    assert login.tls is not None
    assert len(login.tls.get_ca_certs()) == 1
    assert not found.renewed()
    (tmp_path / "token").write_text("two\n", encoding="ascii")
    assert found.renewed()
    assert found.login().authorization == "Bearer two"
    assert not found.renewed()
    (tmp_path / "token").unlink()
    with pytest.raises(SourceError):
        found.login()
    assert not found.renewed()
    (tmp_path / "token").write_text("two\n", encoding="ascii")
    assert found.renewed(), "it is there again"


def test_a_kubeconfig_that_is_written_again_is_read_again(authority: Authority, tmp_path: Path) -> None:
    ca = {"certificate-authority-data": base64.b64encode(authority.ca.read_bytes()).decode()}
    found = find_credentials(kubeconfig(tmp_path, {"token": "one"}, **ca))
    assert found.login().authorization == "Bearer one"
    kubeconfig(tmp_path, {"username": "u", "password": "p"}, **ca)
    assert found.login().authorization == "Basic " + base64.b64encode(b"u:p").decode()


def test_master_replaces_the_server(tmp_path: Path) -> None:
    found = find_credentials(kubeconfig(tmp_path, {"token": "one"}), "https://192.0.2.1:7443")
    login = found.login()
    assert (login.url, login.authorization) == ("https://192.0.2.1:7443", "Bearer one")


def test_a_server_name_and_no_verification(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path, {}, **{"tls-server-name": "kube", "insecure-skip-tls-verify": True})
    login = find_credentials(config).login()
    assert login.server_name == "kube"
    assert login.tls is not None
    assert login.tls.verify_mode is ssl.CERT_NONE


def test_client_certificates(authority: Authority, tmp_path: Path) -> None:
    pair, other = authority.issue("client"), authority.issue("other")
    config = kubeconfig(tmp_path, {"client-certificate": str(pair.certificate), "client-key": str(pair.key)})
    assert find_credentials(config).login().tls is not None
    config = kubeconfig(tmp_path, {"client-certificate": str(pair.certificate), "client-key": str(other.key)})
    with pytest.raises(SourceError, match=r"the client certificate .*client\.crt: KEY_VALUES_MISMATCH"):
        find_credentials(config).login()


def test_all_in_one_file(authority: Authority, tmp_path: Path) -> None:
    """As kubeadm writes it for an administrator. Data goes before files."""
    pair = authority.issue("inside")
    files = {"certificate-authority": authority.ca, "client-certificate": pair.certificate, "client-key": pair.key}
    data = {f"{field}-data": base64.b64encode(file.read_bytes()).decode() for field, file in files.items()}
    ca = data.pop("certificate-authority-data")
    user = {**data, "client-certificate": "nowhere", "client-key": "nowhere"}
    config = kubeconfig(tmp_path, user, **{"certificate-authority-data": ca, "certificate-authority": "nowhere"})
    login = find_credentials(config).login()
    assert login.tls is not None
    assert len(login.tls.get_ca_certs()) == 1
    config = kubeconfig(tmp_path, {**user, "client-key-data": base64.b64encode(b"no key").decode()})
    with pytest.raises(SourceError, match=r"kubeconfig .*: the client certificate client-certificate-data: "):
        find_credentials(config).login()


@pytest.mark.parametrize(
    ("user", "authorization"),
    [
        ({"token": "one", "tokenFile": "token"}, "Bearer two"),
        ({"token": "one", "username": "u", "password": "p"}, "Bearer one"),
        ({"username": "u"}, "Basic dTo="),
        ({}, ""),
    ],
)
def test_which_of_several_ways_to_log_in_is_taken(tmp_path: Path, user: dict[str, Any], authorization: str) -> None:
    """kubectl and kube-proxy (client-go) choose so."""
    (tmp_path / "token").write_text("two\n", encoding="ascii")
    assert find_credentials(kubeconfig(tmp_path, user)).login().authorization == authorization


def plugin(tmp_path: Path, status: str) -> dict[str, Any]:
    """An exec plugin that notes each run."""
    script = tmp_path / "plugin"
    api = "client.authentication.k8s.io/v1"
    answer = f'{{"apiVersion":"{api}","kind":"ExecCredential","status":{status}}}'
    script.write_text(f"#!/bin/sh\necho run >> {tmp_path}/runs\necho '{answer}'\n", encoding="ascii")
    script.chmod(0o755)
    return {"exec": {"apiVersion": api, "command": str(script), "interactiveMode": "Never"}}


def runs(tmp_path: Path) -> int:
    return (tmp_path / "runs").read_text().count("run")


def test_a_plugin_runs_once_until_its_token_expires_or_is_not_accepted(tmp_path: Path) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = f'{{"token":"t1","expirationTimestamp":"{later}"}}'
    found = find_credentials(kubeconfig(tmp_path, plugin(tmp_path, status)))
    assert [found.login().authorization for _ in range(3)] == ["Bearer t1"] * 3
    assert runs(tmp_path) == 1
    plugin(tmp_path, '{"token":"t2","expirationTimestamp":"2020-01-01T00:00:00Z"}')
    found.reject()
    assert found.login().authorization == "Bearer t2"
    before = runs(tmp_path)
    plugin(tmp_path, status)
    assert found.login().authorization == "Bearer t1"
    assert runs(tmp_path) == before + 1


def test_a_plugin_that_gives_a_certificate(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("plugin")
    certificate, key = (file.read_text().replace("\n", "\\n") for file in (pair.certificate, pair.key))
    status = f'{{"clientCertificateData":"{certificate}","clientKeyData":"{key}"}}'
    config = plugin(tmp_path, "")
    script = Path(config["exec"]["command"])
    (tmp_path / "answer").write_text(
        f'{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{status}}}'
    )
    script.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n", encoding="ascii")
    login = find_credentials(kubeconfig(tmp_path, config)).login()
    assert login.authorization == ""
    assert login.tls is not None


@pytest.mark.parametrize(
    ("text", "said"), [("#!/bin/sh\necho it broke >&2\nexit 3\n", "it broke"), ("#!/bin/sh\necho {}\n", "malformed")]
)
def test_a_plugin_that_fails_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    config = plugin(tmp_path, "{}")
    Path(config["exec"]["command"]).write_text(text, encoding="ascii")
    found = find_credentials(kubeconfig(tmp_path, config))
    for _ in range(2):
        with pytest.raises(SourceError, match=said):
            found.login()


def test_an_issuer_that_can_not_be_reached_is_an_error(tmp_path: Path) -> None:
    """It is asked for a new token in place of one that has expired, by a library with errors of its own."""
    expired = base64.urlsafe_b64encode(b'{"exp": 1}').decode().rstrip("=")
    config = {"idp-issuer-url": "http://127.0.0.1:1", "id-token": f"e30.{expired}.e30", "refresh-token": "r"}
    found = Kubeconfig(kubeconfig(tmp_path, {"auth-provider": {"name": "oidc", "config": config}}))
    with pytest.raises(SourceError, match=r"kubeconfig .*127\.0\.0\.1.*Connection refused"):
        found.login()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "a: b: c",
        "\x00",
        "contexts: 3",
        "current-context: x\ncontexts: []\nclusters: []",
        "current-context: x\ncontexts: [{name: x}]\nclusters: []\nusers: []",
        "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: [{name: c}]",
        "current-context: x\ncontexts: [3]",
        "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'https://h', certificate-authority-data: '%%%'}}]\n"
        "users: [{name: u, user: {token: t}}]",
        "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 7}}]",
    ],
)
def test_a_kubeconfig_that_is_none_is_one_line(tmp_path: Path, text: str) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(text, encoding="utf-8")
    with pytest.raises(SourceError) as error:
        find_credentials(config).login()
    assert str(error.value).startswith(f"kubeconfig {config}: ")
    assert "\n" not in str(error.value)


def test_a_proxy_is_not_supported(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path, {}, **{"proxy-url": "http://proxy"})
    with pytest.raises(SourceError, match="proxy-url is not supported"):
        find_credentials(config).login()


def test_nothing_given_outside_of_a_pod() -> None:
    with pytest.raises(SourceError, match="give --kubeconfig FILE, --master URL, or --manifests DIR"):
        find_credentials(None, environ={})


def test_what_is_chosen(tmp_path: Path) -> None:
    assert isinstance(find_credentials(None, environ=POD), ServiceAccount)
    assert isinstance(find_credentials(None, "http://127.0.0.1:1", environ=POD), Plain)
    assert isinstance(find_credentials(kubeconfig(tmp_path, {}), environ=POD), Kubeconfig)
    with pytest.raises(SourceError, match="no such file"):
        find_credentials(tmp_path / "missing", environ=POD)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("kproxy.kube.plugins.importlib.import_module", missing)
    with pytest.raises(FeatureMissing, match=r"install kproxy\[kubernetes\]"):
        find_credentials(kubeconfig(tmp_path, plugin(tmp_path, "{}")))
    # All others are read without it.
    assert find_credentials(kubeconfig(tmp_path, {"token": "one"})).login().authorization == "Bearer one"


def test_a_kubeconfig_that_can_t_be_read(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path, {})
    found = find_credentials(config)
    config.unlink()
    with pytest.raises(KproxyError, match="No such file"):
        found.login()
