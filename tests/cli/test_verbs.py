"""The verbs: what they print, what they call, and their exit codes. Nothing here touches the kernel."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import kproxy
from kproxy.cli import cleanup, main
from kproxy.dataplane.iptables import leftovers
from kproxy.dataplane.iptables.binaries import Binaries
from kproxy.errors import KernelError, LockHeld
from kproxy.logs import fields, set_up_logging
from kproxy.plan.iptables.restore import parse_save
from tests.cli.reading import fails
from tests.plan.iptables.kernel import FakeKernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.config import Config
    from kproxy.plan.iptables.restore import Restore, SavedTable


SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: ns1}
spec:
  clusterIP: %s
  clusterIPs: ["%s", "%s"]
  ipFamilies: [IPv4, IPv6]
  ports: [{name: p80, port: %s}]
---
"""
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s1, namespace: ns1, labels: {kubernetes.io/service-name: svc1}}
addressType: IPv4
ports: [{name: p80, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.180.0.1]}, {addresses: [10.180.1.1]}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: ns1}
spec: {clusterIP: None, ports: [{port: 5432}]}
"""


@pytest.fixture(autouse=True)
def _no_handlers_left() -> Iterator[None]:
    log = logging.getLogger("kproxy")
    before = (log.handlers[:], log.propagate, log.level)
    yield
    log.handlers[:], log.propagate = before[0], before[1]
    log.setLevel(before[2])


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    text = SERVICE % ("svc1", *("172.30.0.41",) * 2, "fd00::41", "80") + SLICE
    (tmp_path / "web.yaml").write_text(text)
    return tmp_path


def succeeds(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert caught.value.code in (0, None)
    out, err = capsys.readouterr()
    return out, err


# version and help


@pytest.mark.parametrize("line", ["version", "run --version", "run --version=true", "run --version=raw"])
def test_version(capsys: pytest.CaptureFixture[str], line: str) -> None:
    out, _ = succeeds(capsys, *line.split())
    assert out.startswith(f"kproxy {kproxy.__version__} ")


@pytest.mark.parametrize("line", ["--help", "-h", "run --help", "render -h", "cleanup --help"])
def test_help(capsys: pytest.CaptureFixture[str], line: str) -> None:
    out, _ = succeeds(capsys, *line.split())
    assert out.startswith("Usage: kproxy")


def test_no_verb_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_told_in_one_line(unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kproxy", "version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert (done.returncode, done.stderr) == (1, "kproxy: standard output: No space left on device\n")


# render


def test_render_prints_what_iptables_restore_takes(capsys: pytest.CaptureFixture[str], manifests: Path) -> None:
    out, err = succeeds(capsys, "render", "--manifests", str(manifests), "--hostname-override=node-a")
    assert err == ""
    kernel = FakeKernel()
    kernel.restore(out.splitlines())
    assert ("nat", "KUBE-SVC-" + "MIMCQAWFSGTD4GTY") not in kernel.user_chains()
    balancing = [rule for rules in kernel.user_chains().values() for rule in rules if "-j DNAT" in rule]
    assert [rule.rpartition(" ")[2] for rule in balancing] == ["10.180.0.1:8080", "10.180.1.1:8080"]
    assert "# handed to DNS: ns1/db (headless)\n" in out


def test_render_of_ipv6(capsys: pytest.CaptureFixture[str], manifests: Path) -> None:
    out, _ = succeeds(capsys, "render", "--manifests", str(manifests), "--hostname-override=node-a", "--ip-family=ipv6")
    assert '"ns1/svc1:p80 has no endpoints" -m tcp -p tcp -d fd00::41 --dport 80 -j REJECT' in out
    assert "10.180.0.1" not in out


def test_render_names_what_is_refused_and_goes_on(capsys: pytest.CaptureFixture[str], manifests: Path) -> None:
    (manifests / "bad.yaml").write_text(SERVICE % ("bad", *("172.30.0.42",) * 2, "fd00::42", "0"))
    (manifests / "rival.yaml").write_text(SERVICE % ("zz", *("172.30.0.41",) * 2, "fd00::41", "80"))
    out, err = succeeds(capsys, "render", "--manifests", str(manifests), "--hostname-override=node-a")
    assert sorted(err.splitlines()) == [
        "refused: Service ns1/bad: spec.ports[0].port: 0 is not in 1..65535",
        "refused: Service ns1/zz: 172.30.0.41 80/TCP belongs to Service ns1/svc1; skipped",
    ]
    assert "10.180.1.1:8080" in out


def test_render_takes_the_flags_of_run(capsys: pytest.CaptureFixture[str], manifests: Path) -> None:
    line = "--masquerade_all --iptables-masquerade-bit=15 -v=4 --ipvs-scheduler=rr --cluster-cidr 10.244.0.0/16"
    out, _ = succeeds(capsys, "render", "--manifests", str(manifests), "--hostname-override=node-a", *line.split())
    assert "-j MARK --or-mark 0x00008000" in out


def test_render_takes_the_file_of_run(capsys: pytest.CaptureFixture[str], manifests: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.conf"
    head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
    path.write_text(f"{head}hostnameOverride: node-a\niptables: {{masqueradeBit: 15}}\n")
    out, _ = succeeds(capsys, "render", "--manifests", str(manifests), "--config", str(path))
    assert "-j MARK --or-mark 0x00008000" in out


def test_render_is_the_same_byte_for_byte_in_another_process(manifests: Path) -> None:
    """The order of sets differs from process to process."""
    for number in range(40):
        address, other = f"172.30.1.{number + 1}", f"fd00::1:{number:x}"
        (manifests / f"{number}.yaml").write_text(SERVICE % (f"s{number}", address, address, other, "80"))
    command = [sys.executable, "-m", "kproxy", "render", "--manifests", str(manifests), "--hostname-override=node-a"]
    outputs = {
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_directory_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = fails(capsys, "render", "--manifests=/no/such/directory")
    assert code == 1
    assert "/no/such/directory" in said


@pytest.mark.parametrize("flag", ["--manifests", "--kubeconfig"])
def test_a_path_that_can_not_even_be_looked_at(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    """Below a directory of somebody else's; root, who may run this test, can look everywhere."""

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    code, said = fails(capsys, "run", flag, "/closed/conf", "--hostname-override=node-a")
    assert (code, said.lower()) == (1, f"kproxy: {flag} /closed/conf: permission denied - create it, or name another")


# run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """What the agent would be started with."""
    configs: list[Config] = []
    monkeypatch.setattr("kproxy.start.run_agent", configs.append)
    return configs


def test_run_starts_the_agent(capsys: pytest.CaptureFixture[str], started: list[Config], tmp_path: Path) -> None:
    line = "--cluster_cidr=10.244.0.0/16,fd00::/56 --masquerade-all --oom-score-adj=-998 --iptables-sync-period=1m"
    succeeds(capsys, "run", "--manifests", str(tmp_path), "--hostname-override=Node-A", *line.split())
    (config,) = started
    assert config.node_name == "node-a"
    assert config.manifests == tmp_path
    assert dict(config.local.cluster_cidrs) == {"IPv4": "10.244.0.0/16", "IPv6": "fd00::/56"}
    assert (config.masquerade_all, config.oom_score_adj, config.sync_period_s) == (True, -998, 60)


def test_run_says_which_flags_have_no_effect(capsys: pytest.CaptureFixture[str], started: list[Config]) -> None:
    _, err = succeeds(capsys, "run", "--kube-api-qps=5", "--profiling=false", "--hostname-override=node-a")
    lines = [line for line in err.splitlines() if "has no effect" in line]
    assert len(lines) == 2
    assert "--kube-api-qps" in lines[0]
    assert len(started) == 1


def test_run_without_manifests_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """The real agent: it must say so before it does anything."""
    code, said = fails(capsys, "run", "--hostname-override=node-a")
    assert code == 1
    assert "--manifests" in said


def test_run_cleanup_and_init_only_do_not_start_the_agent(
    capsys: pytest.CaptureFixture[str], started: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    monkeypatch.setattr(cleanup, "clean_up", lambda excluded: called.append(f"cleanup {excluded}"))
    monkeypatch.setattr("kproxy.dataplane.iptables.start.set_sysctls", lambda _: called.append("sysctls"))
    succeeds(capsys, "run", "--cleanup", "--hostname-override=node-a", "--ipvs-exclude-cidrs=192.0.2.0/24")
    succeeds(capsys, "run", "--init-only", "--hostname-override=node-a")
    assert called == ["cleanup ('192.0.2.0/24',)", "sysctls"]
    assert started == []
    succeeds(capsys, "run", "--cleanup=false", "--init-only=false", "--hostname-override=node-a")
    assert len(started) == 1


def test_an_error_of_the_kernel_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise LockHeld("the xtables lock is held by\nkubelet (pid 1)", remedy="wait")

    monkeypatch.setattr("kproxy.start.run_agent", refuse)
    code, said = fails(capsys, "run", "--hostname-override=node-a")
    assert code == 1
    assert said.startswith("kproxy: the xtables lock is held by")
    assert said.endswith("kubelet (pid 1) - wait")


def test_cleanup_tells_an_error_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise KernelError("nothing works", remedy="go home")

    monkeypatch.setattr(cleanup, "installed_tools", refuse)
    assert fails(capsys, "cleanup") == (1, "kproxy: nothing works - go home")


def test_cleanup_without_iptables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "find_binaries", lambda *_: None)
    monkeypatch.setattr(cleanup, "installed_tools", list)
    code, said = fails(capsys, "cleanup")
    assert code == 1
    assert said == "kproxy: iptables-restore is not installed - install the package iptables"


def test_cleanup_goes_on_where_one_variant_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel without nf_tables has the nft programs all the same; its legacy rules must go."""
    cleaned: list[str] = []

    class Tool:
        def __init__(self, binaries: Binaries) -> None:
            self.family, self.variant = binaries.family, binaries.variant

        def save(self) -> dict[str, SavedTable]:
            if self.variant == "nft":
                raise KernelError("iptables-nft-save: Failed to initialize nft: Protocol not supported")
            return parse_save("*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n")

        def restore(self, restore: Restore) -> None:
            assert "-X KUBE-SERVICES" in restore.lines
            cleaned.append(f"{self.family} {self.variant}")

    monkeypatch.setattr(leftovers, "IptablesTool", Tool)
    monkeypatch.setattr(leftovers, "find_binaries", lambda family, variant: Binaries(family, variant, "a", "b", "c"))
    monkeypatch.setattr(leftovers, "legacy_tables", lambda _: ["nat"])
    with pytest.raises(SystemExit) as caught:
        main(["cleanup"])
    assert cleaned == ["IPv4 legacy", "IPv6 legacy"]
    assert caught.value.code == 1
    assert "Protocol not supported" in capsys.readouterr().err


# explain


def explained(capsys: pytest.CaptureFixture[str], manifests: Path, *arguments: str) -> list[str]:
    out, _ = succeeds(capsys, "explain", *arguments, "--manifests", str(manifests), "--hostname-override=node-a")
    return out.splitlines()


def test_explain_a_service(capsys: pytest.CaptureFixture[str], manifests: Path) -> None:
    """Both families: the Service has endpoints in one of them only."""
    lines = explained(capsys, manifests, "outside", "ns1/svc1:p80")
    assert lines[0] == "192.0.2.1 -> 172.30.0.41:80 TCP"
    assert "    10.180.0.1:8080" in lines
    assert "2001:db8::1 -> [fd00::41]:80 TCP" in lines
    assert "  it is refused: the Service has no endpoints" in lines


def test_explain_an_address(capsys: pytest.CaptureFixture[str], manifests: Path) -> None:
    assert explained(capsys, manifests, "10.180.0.9", "172.30.0.41:81") == [
        "10.180.0.9 -> 172.30.0.41:81 TCP",
        "  172.30.0.41:81 (TCP) is passed on: no Service has this address and port here",
    ]
    assert explained(capsys, manifests, "node", "[fd00::41]:80")[0] == "::1 -> [fd00::41]:80 TCP"


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("nobody", "ns1/svc1", "SOURCE"),
        ("outside", "172.30.0.41", "TARGET"),
        ("outside", "172.30.0.41:http", "TARGET"),
        ("outside", "172.30.0.41:65536", "TARGET"),
        ("outside", "172.30.0.41:0", "TARGET"),
        ("outside", "ns1/other", "no such Service"),
        ("outside", "ns1/svc1:p81", "no such Service, port"),
        ("outside", "ns1/db", "it is for DNS (headless)"),
        ("10.0.0.1", "[fd00::41]:80", "a SOURCE of the same family"),
    ],
)
def test_explain_what_there_is_not(
    capsys: pytest.CaptureFixture[str], manifests: Path, source: str, target: str, said: str
) -> None:
    code, line = fails(capsys, "explain", source, target, "--manifests", str(manifests))
    assert code == 2
    assert said in line


# Logs


@pytest.mark.parametrize(("verbosity", "debug"), [(0, False), (2, False), (3, False), (4, True), (10, True)])
def test_logs(capsys: pytest.CaptureFixture[str], verbosity: int, debug: bool) -> None:
    log = set_up_logging(verbosity)
    logging.getLogger("kproxy.part").debug("in detail")
    log.info("in short")
    log.warning("careful")
    out, err = capsys.readouterr()
    assert out == ""
    assert ("in detail" in err) is debug
    assert "in short" in err
    assert "careful" in err
    assert len(err.splitlines()) == 2 + debug


def test_logs_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    log = set_up_logging(0, "json")
    log.warning("wrote %d\nrules", 3, extra=fields(ip_family="IPv4", seconds=0.5))
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert said.pop("ts") == pytest.approx(1000 * time.time(), abs=60_000)
    assert said.pop("caller").startswith("kproxy:")
    assert said == {"level": "warning", "msg": "wrote 3\nrules", "ip_family": "IPv4", "seconds": 0.5}
