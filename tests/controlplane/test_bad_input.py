"""What keeps the agent from its API server, from the start on: one line, the rules stay as they were, and it heals."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.agent.one_node import LEAVE_CONNTRACK
from tests.controlplane import kubeconfig, pki
from tests.controlplane.objects import serve
from tests.lab import FAMILIES
from tests.lab.agent import Agent, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.controlplane import ControlPlane
    from tests.lab import Cluster

    Heals = Callable[[Path, str, Callable[[], None]], None]
    """With a kubeconfig, the one line that is said, and what mends it."""

pytestmark = pytest.mark.root

FAULTS_PORT = 7460
NODE, NAMESPACE = "node-a", "bad-input"


def new_agent(cluster: Cluster, config: Path) -> Agent:
    flags = ("--kubeconfig", str(config), "--hostname-override", NODE, "--iptables-variant", "nft", *LEAVE_CONNTRACK)
    cidrs = ("--cluster-cidr", "10.244.0.0/16,fd00:10:244::/48")
    return Agent(cluster.node, [sys.executable, "-m", "kproxy", "run", *flags, *cidrs], FAMILIES)


def rules(cluster: Cluster) -> list[str]:
    """What traffic meets in nat: the rules, without their counters."""
    saved = cluster.node.run("iptables-nft-save", "-t", "nat")
    return [line for line in re.sub(r"\[\d+:\d+\]", "", saved).splitlines() if not line.startswith("#")]


@pytest.fixture(scope="module")
def good_rules(control: ControlPlane, cluster: Cluster) -> list[str]:
    """Rules of an agent that ran before, for a Service that is still there."""
    with control.api() as api:
        assert api.post("/api/v1/nodes", cluster.node_object()).status in (201, 409), "made, or there already"
        serve(api, "web", NAMESPACE)
    with new_agent(cluster, control.kubeconfig("before", token=control.service_account_token())) as agent:
        agent.wait_ready()
    found = rules(cluster)
    assert any(f"{NAMESPACE}/" in line for line in found)
    return found


@pytest.fixture
def heals(cluster: Cluster, good_rules: list[str]) -> Heals:
    """Run an agent into a fault, and on when it is mended."""

    def play(config: Path, line: str, mend: Callable[[], None]) -> None:
        with new_agent(cluster, config) as agent:
            eventually(lambda: "; trying again" in agent.log.read_text(), "it says what is wrong")
            attempts = agent.log.read_text()
            assert agent.health().status == 503
            assert rules(cluster) == good_rules
            mend()
            agent.wait_ready()
            said = agent.log.read_text()
            assert said.startswith(attempts)
            assert [text.split("WARNING ")[1] for text in said.splitlines() if "trying again" in text] == [line]
            assert "Traceback" not in said
            assert rules(cluster) == good_rules

    return play


def test_a_server_that_can_not_be_reached(control: ControlPlane, heals: Heals) -> None:
    with control.faults(port=FAULTS_PORT) as proxy:
        proxy.refuse()
        config = control.kubeconfig("unreachable", server=proxy.url, token=control.service_account_token())
        heals(config, f"{proxy.url}: connection refused; trying again", proxy.heal)


def test_a_token_that_has_expired(control: ControlPlane, heals: Heals, tmp_path: Path) -> None:
    token = tmp_path / "token"
    control.write_token(token, control.service_account_token(lifetime_s=-1))
    heals(
        control.kubeconfig("expired", token_file=token),
        f"{control.server}: 401 Unauthorized - the token or certificate has expired or is another cluster's; "
        "it is read again at each attempt; trying again",
        lambda: control.write_token(token, control.service_account_token()),
    )


def test_an_authority_that_is_not_the_servers(control: ControlPlane, heals: Heals, tmp_path: Path) -> None:
    other, trusted = pki.Authority(tmp_path, "other"), tmp_path / "ca.crt"
    kubeconfig.write_whole(trusted, other.certificate.read_text())
    heals(
        control.kubeconfig("other-ca", token=control.service_account_token(), authority=trusted),
        f"{control.server}: its certificate is not accepted: unable to get local issuer certificate; trying again",
        lambda: kubeconfig.write_whole(trusted, control.authority.certificate.read_text()),
    )
