"""The pages stay true: what is generated is up to date, and every command in them is run where it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.commands import blocks, commands, unmarked
from tests.docs.reference import PAGE, page
from tests.monitoring.operator_rule import ALERTS
from tests.packaging import layers, machine
from tests.packaging.test_machine import NO_SYSCTLS

ROOT = PAGE.parents[1]
CHECKOUT = "in the checkout"
NETWORK, BOOTED = "on a machine, with the network", "on that machine, booted"
BOOTED_DNS = f"{BOOTED}, for DNS"
#: Run by tests/rollout, and the first of them by tests/controlplane/test_deploy.py.
CLUSTER = ("in a cluster", "in that cluster", "in a cluster with kubeadm's kube-proxy", "for each node of that cluster")


def test_every_block_says_where_it_is_run() -> None:
    assert unmarked() == []
    assert {block.where for block in blocks()} == {CHECKOUT, NETWORK, BOOTED, BOOTED_DNS, *CLUSTER}


def test_the_configuration_page_is_generated() -> None:
    assert PAGE.read_text() == page(), "run `make rules`"


def test_every_alert_is_explained() -> None:
    explained = (ROOT / "docs" / "operate.md").read_text()
    alerts = [line.split()[-1] for line in ALERTS.read_text().splitlines() if "- alert:" in line]
    assert [alert for alert in alerts if alert not in explained] == []


@pytest.mark.parametrize(
    "command", [command for block in blocks() if block.where == CHECKOUT for command in block.commands]
)
def test_in_the_checkout(command: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-ec", command], cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout


@pytest.mark.root
def test_on_a_machine_with_systemd() -> None:
    """As the page says, from Debian and a checkout to a running service and back to nothing."""
    layers.require()
    below = [layers.debian("bookworm")]
    below.append(layers.copy("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", to="/src", below=below))
    for name in ("kproxy", "rules", "systemd", "examples"):
        below.append(layers.copy(name, to=f"/src/{name}", below=below))
    typed = " && ".join(["cd /src", "apt-get update", *commands("install.md", NETWORK)])
    installed = machine.with_systemd([*below, layers.layer("install", typed, below)])
    *start, status, disable, cleanup = commands("install.md", BOOTED)
    sysctls = f"sed -i 's|\"$| {NO_SYSCTLS}\"|' /etc/default/kproxy"
    script = ["cd /src", "ip link set lo up", *start[:2], sysctls, *start[2:], status, disable, cleanup]
    script += [*commands("install.md", BOOTED_DNS), 'echo "DNS: $(systemctl is-active kproxy-dns@1.service)"']
    ran = machine.boot(installed, "\n".join(["set -eu", *script, "iptables-nft-save -t nat"]), {})
    assert ran.status == 0, ran.output
    assert "Active: active (running)" in ran.output
    assert "DNS: active" in ran.output
    assert "KUBE-SERVICES" not in ran.output.rpartition("Active: active")[2]


def test_decisions_have_numbers_of_their_own() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [one.name.split("-")[0] for one in decisions]
    assert len(set(numbers)) == len(numbers), "two pages have the same number"
    for one, number in zip(decisions, numbers, strict=True):
        assert one.read_text().startswith(f"# {int(number)}. "), one.name
