"""What is said of a kubeconfig that can't be used never shows the secret in it: such words end up in logs."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from kproxy.errors import SourceError
from kproxy.kube.credentials import Plain, find_credentials
from kproxy.kube.kubeconfig import current, plain_login
from kproxy.sources.yaml_reader import read_yaml

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2"
IN_BASE64 = base64.b64encode(f"u:{SECRET}".encode()).decode()
CONTEXT = "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
CLUSTER = "clusters: [{name: c, cluster: {server: 'https://192.0.2.1:6443'}}]\n"
WRITES = "#!/bin/sh\necho '%s'\nexit %d\n"


def user(text: str) -> str:
    return f"{CONTEXT}{CLUSTER}users:\n- name: u\n  user:\n{text}"


BROKEN = {
    "written half-way": (user(f"    {{token: {SECRET}"), r"line 7 is not YAML"),
    "a colon too many": (user(f"    token: {SECRET}: x\n"), r"line 7 is not YAML"),
    "a tab": (user(f"\ttoken: {SECRET}\n"), r"line 7 is not YAML"),
    "a tag": (user(f"    token: !!python/x {SECRET}\n"), r"line 7 is not YAML"),
    "an alias": (user(f"    token: *{SECRET}\n"), r"line 7 is not YAML"),
    "a control character": (user(f"    token: {SECRET}\x01\n"), r"it is not YAML"),
    "a list": (user(f"    token: [{SECRET}]\n"), r"its token is not a string"),
    "a line break": (user(f'    token: "{SECRET}\\nx"\n'), r"no header can carry"),
    "a character beyond ASCII": (user(f"    token: {SECRET}\u20ac\n"), r"no header can carry"),
    "no user": (user(f"    {SECRET}\n"), r"kubeconfig .*: "),
    "a key": (user(f"    client-key-data: '{SECRET}%'\n"), r"client-key-data is not base64"),
    "the server's user": (
        f"{CONTEXT}clusters: [{{name: c, cluster: {{server: 'ftp://u:{SECRET}@h'}}}}]\n",
        r"ftp://\.\.\.@h: not a URL",
    ),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_kubeconfig_that_is_broken(tmp_path: Path, text: str, said: str) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=said) as error:
        find_credentials(config).login()
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("status", [0, 3])
@pytest.mark.parametrize("output", [SECRET, f'{{"status": {{"token": "{SECRET}"}}}}', f'{{"token": "{SECRET}"'])
def test_what_a_plugin_writes_to_its_standard_output(tmp_path: Path, output: str, status: int) -> None:
    """What it says on standard error is for people, and told."""
    script, config = tmp_path / "plugin", tmp_path / "kubeconfig"
    script.write_text(WRITES % (output, status), encoding="ascii")
    script.chmod(0o755)
    text = f"    exec: {{apiVersion: v1, command: {script}, env: [{{name: PASSWORD, value: {SECRET}}}]}}\n"
    config.write_text(user(text), encoding="ascii")
    with pytest.raises(SourceError, match="exec: ") as error:
        find_credentials(config).login()
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("url", [f"ftp://u:{SECRET}@h", f"https://{SECRET}@h:99999", f"https://u:{SECRET}@[::1"])
def test_a_password_in_a_url(url: str) -> None:
    with pytest.raises(SourceError, match="not a URL") as error:
        Plain(url)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("text", [f"    token: {SECRET}\n", f"    username: u\n    password: {SECRET}\n"])
def test_a_login_that_is_printed(tmp_path: Path, text: str) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(user(text), encoding="ascii")
    (document,) = read_yaml(config.read_bytes())
    login = find_credentials(config).login()
    assert SECRET in login.authorization or IN_BASE64 in login.authorization
    for printed in (repr(login), repr(plain_login(*current(document.data), tmp_path))):
        assert SECRET not in printed
        assert IN_BASE64 not in printed
