"""`kproxy render` on every story: without privileges, in both families, and taken by the tools themselves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from examples.demo.manifests import EXAMPLES
from examples.demo.tables import STORIES
from tests.lab import FAMILIES, Family, Namespace, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

story_wise = pytest.mark.parametrize("story", STORIES)
family_wise = pytest.mark.parametrize("family", FAMILIES)

#: What each story's rules must hold: the address that is asked, and one that it leads to.
LEADS: dict[tuple[str, Family], tuple[str, ...]] = {
    ("web-ports", "ipv4"): ("10.96.0.10", "10.244.1.11:8080", "10.244.2.11:8443", "--dport 30443", "10.244.1.12:9100"),
    ("external-server", "ipv4"): ("10.96.0.30", "172.18.0.103:8443"),
    ("session-affinity", "ipv4"): ("10.96.0.40", "10.244.1.14:8080", "--seconds 600"),
    ("topology-hints", "ipv4"): ("10.96.0.50", "10.244.1.16:8080"),
    ("local-traffic", "ipv4"): ("10.97.0.60", "10.244.1.17:8080", "--dport 30961", "10.244.1.18:5140"),
    ("local-traffic", "ipv6"): ("fd00:10:97::60", "[fd00:10:244:1::17]:8080"),
    ("dual-stack", "ipv4"): ("10.96.0.70", "10.97.0.70", "10.98.0.70", "10.244.2.18:8080"),
    ("dual-stack", "ipv6"): ("fd00:10:96::70", "fd00:10:97::70", "fd00:10:98::70", "[fd00:10:244:2::18]:8080"),
}


def rendered(story: str, family: Family, node: str = "node-a", prefix: tuple[str, ...] = ()) -> str:
    argv = [sys.executable, "-m", "kproxy", "render", "--manifests", str(EXAMPLES / story), "--hostname-override", node]
    done = subprocess.run(
        [*prefix, *argv, "--ip-family", family], cwd=EXAMPLES.parent, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@family_wise
@story_wise
def test_a_story_renders(story: str, family: Family) -> None:
    text = rendered(story, family)
    assert "*nat" in text
    for needed in LEADS.get((story, family), ()):
        assert needed in text


def test_render_needs_no_privileges() -> None:
    """As an ordinary user these tests run without any; as root they are given up first."""
    without: tuple[str, ...] = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    capabilities = subprocess.run([*without, "cat", "/proc/self/status"], capture_output=True, text=True, check=False)
    if capabilities.returncode:
        without = ()  # not root, so there is nothing to give up
    else:
        assert "CapEff:\t0000000000000000" in capabilities.stdout
    assert "10.96.0.10" in rendered("web-ports", "ipv4", prefix=without)


def test_the_headless_database_gets_no_rule() -> None:
    for family in FAMILIES:
        text = rendered("headless-database", family)
        first, *rest = text.splitlines()
        assert first == "# handed to DNS: shop/db (headless)"
        assert not [line for line in rest if "shop/db" in line or "10.244.1.13" in line or "10.244.2.13" in line]


def test_hints_lead_each_node_to_its_own_zone() -> None:
    node_a, node_b = rendered("topology-hints", "ipv4"), rendered("topology-hints", "ipv4", node="node-b")
    assert "--to-destination 10.244.2.15:8080" not in node_a
    assert "# shop/catalog:http (TCP): 10.244.2.15:8080 is passed over: its hints name other zones" in node_a
    assert "--to-destination 10.244.2.15:8080" in node_b


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    with Run() as run:
        yield Namespace(run, "render")


@pytest.mark.root
@pytest.mark.parametrize("variant", ["nft", "legacy"])
@family_wise
@story_wise
def test_the_tools_take_it(namespace: Namespace, story: str, family: Family, variant: str) -> None:
    tool = f"{'iptables' if family == 'ipv4' else 'ip6tables'}-{variant}-restore"
    namespace.run(tool, "--test", "--noflush", stdin=rendered(story, family))
