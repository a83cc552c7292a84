"""--config, --write-config-to and `kproxy config`, as a user meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kproxy.cli import main
from kproxy.settings.document import read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from kproxy.config import Config

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.conf"
    path.write_text(f"{HEAD}clusterCIDR: 10.244.0.0/16\nmode: iptables\nconntrack: {{min: 5}}\nnonsense: 1\n")
    return path


def test_config_says_where_each_value_comes_from(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    assert call("config", "--config", str(file), "--hostname-override=node-a", "--oom-score-adj=3") == 0
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert lines == [
        ["hostname-override", "node-a", "--hostname-override"],
        ["proxy-mode", "iptables", f"{file}: mode"],
        ["cluster-cidr", "10.244.0.0/16", f"{file}: clusterCIDR"],
        ["conntrack-min", "5", f"{file}: conntrack.min"],
    ]


def test_config_says_what_does_not_count(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    call("config", "--config", str(file), "--oom-score-adj=3")
    comments = [line for line in capsys.readouterr().out.splitlines() if line.startswith("#")]
    assert comments == [
        f"# --oom-score-adj has no effect beside --config: set it in {file}",
        f"# {file}: nonsense: unknown field, passed over",
    ]


def test_config_all_prints_defaults_too(capsys: pytest.CaptureFixture[str]) -> None:
    call("config", "--all")
    lines = capsys.readouterr().out.splitlines()
    assert "conntrack-tcp-timeout-established  24h0m0s" in " ".join(lines)
    assert all(line.split()[-1] == "default" for line in lines)


def test_config_shows_what_comes_of_what_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    call("config", "--all", "--proxy-mode=nftables", "--hostname-override=Node-A", "--healthz-port=0", "-v", "4")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["hostname-override", "node-a", "--hostname-override"] in rows
    assert ["nodeport-addresses", "primary", "default"] in rows
    assert ["healthz-bind-address", "-", "default"] in rows
    assert ["v", "4", "-v"] in rows
    call("config", "--all")
    assert ["proxy-mode", "iptables", "default"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_config_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    call("config", "--master", "https://admin:hunter2@192.0.2.1:6443")
    shown = capsys.readouterr().out
    assert "https://...@192.0.2.1:6443" in shown
    assert "hunter2" not in shown


def test_all_that_is_wrong_is_named_at_once(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    file.write_text(f"{HEAD}conntrack: {{min: -5}}\nmode: userland\nclusterCIDR: nonsense\n")
    assert call("run", "--config", str(file)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:3] for line in lines] == [
        ["kproxy", str(file), "mode"],
        ["kproxy", str(file), "clusterCIDR"],
        ["kproxy", str(file), "conntrack.min"],
    ]


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("run", "--config", str(tmp_path / "none")) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_file_of_something_else(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    file.write_text("apiVersion: v1\nkind: ConfigMap\n")
    assert call("run", "--config", str(file)) == 2
    assert f"kproxy: {file}: kind: ConfigMap (v1) is unknown" in capsys.readouterr().err


def test_written_out_and_read_again(file: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    assert call("run", "--cluster-cidr=10.0.0.0/8", "--manifests=/m", f"--write-config-to={first}") == 0
    assert call("run", f"--config={first}", f"--write-config-to={second}") == 0
    assert first.read_text() == second.read_text()
    assert read_settings(first.read_bytes()).values["cluster_cidr"] == ("10.0.0.0/8",)


def test_run_takes_the_file(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    ran: list[Config] = []
    monkeypatch.setattr("kproxy.start.run_agent", ran.append)
    assert call("run", f"--config={file}", "--hostname-override=node-a") == 0
    (config,) = ran
    assert (config.node_name, config.conntrack.min, config.config_file) == ("node-a", 5, file)
