"""kproxy's /metrics beside the real kube-proxy's, on the same objects: the same names, types, labels and buckets."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.agent.one_node import LEAVE_CONNTRACK
from tests.controlplane.bulk import create_services
from tests.controlplane.control_plane import KUBE_PROXY_TOKEN
from tests.lab.agent import eventually
from tests.lab.httpget import get
from tests.oracle.kube_proxy import SYSTEM_PATH, tools
from tests.peers import peer, require
from tests.uml.needs import needs_ipvs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.controlplane import ControlPlane
    from tests.lab import Cluster

pytestmark = pytest.mark.root

PORT = 10249
FLAGS = ("--hostname-override=node-a", "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48", *LEAVE_CONNTRACK)
#: What kube-proxy exports only because of the libraries it is made of, or would say something wrong of kproxy.
NOT_KPROXY_S = (
    *("go_", "apiserver_", "aggregator_", "registered_metrics", "hidden_metrics", "disabled_metrics"),
    *("cardinality_enforcement", "kubernetes_build_info", "kubernetes_feature_enabled"),
    *("rest_client_exec_plugin", "rest_client_rate_limiter", "rest_client_request_size", "rest_client_response_size"),
    "rest_client_transport",
    *("process_network_", "process_virtual_memory_max_bytes"),
)


class Shape(NamedTuple):
    """What a dashboard or an alert relies on."""

    type: str
    labels: frozenset[str]
    buckets: tuple[str, ...]


def shapes(text: str) -> dict[str, Shape]:
    """The metrics of an exposition by name, as far as they have series."""
    found: dict[str, Shape] = {}
    for family in text_string_to_metric_families(text):
        labels = {name for sample in family.samples for name in sample.labels if name != "le"}
        buckets = dict.fromkeys(sample.labels["le"] for sample in family.samples if "le" in sample.labels)
        if family.samples:
            found[family.name] = Shape(family.type, frozenset(labels), tuple(buckets))
    return found


@pytest.fixture(scope="module", autouse=True)
def _objects(control: ControlPlane, cluster: Cluster) -> None:
    require("kube-proxy")
    with control.api() as api:
        api.post("/api/v1/nodes", cluster.node_object())
    create_services(control, 3, endpoints=2, first=100)


@contextmanager
def running(cluster: Cluster, argv: Sequence[str], env: Mapping[str, str]) -> Iterator[None]:
    with cluster.node.popen(argv, env={**cluster.node.run_of.env, **env}) as process:
        try:
            yield
        finally:
            process.terminate()


def metrics(cluster: Cluster) -> str:
    """/metrics after the first sync of both families."""

    def synced() -> bool:
        try:
            text = get(cluster.node, "127.0.0.1", PORT, "/metrics").body
        except OSError:
            return False
        counts = [
            sample.value
            for family in text_string_to_metric_families(text)
            if family.name == "kubeproxy_sync_proxy_rules_duration_seconds"
            for sample in family.samples
            if sample.name.endswith("_count")
        ]
        return len(counts) == 2 and all(counts)

    eventually(synced, "both families have been synced", 40)
    # The question after the first sync has been counted.
    get(cluster.node, "127.0.0.1", 10256, "/healthz")
    get(cluster.node, "127.0.0.1", 10256, "/livez")
    return get(cluster.node, "127.0.0.1", PORT, "/metrics").body


@pytest.mark.parametrize("mode", ["iptables", "nftables", pytest.param("ipvs", marks=[pytest.mark.uml, needs_ipvs])])
def test_all_of_kube_proxy_s_own_metrics(mode: str, control: ControlPlane, cluster: Cluster, tmp_path: Path) -> None:
    path = {"PATH": f"{tools(tmp_path, 'nft')}:{SYSTEM_PATH}"}
    theirs_config = control.kubeconfig("metrics-kube-proxy", token=KUBE_PROXY_TOKEN)
    command = [str(peer("kube-proxy")), f"--kubeconfig={theirs_config}", f"--proxy-mode={mode}", *FLAGS]
    with running(cluster, command, path):
        theirs = shapes(metrics(cluster))
        their_configz = json.loads(get(cluster.node, "127.0.0.1", PORT, "/configz").body)
        their_slis = shapes(get(cluster.node, "127.0.0.1", PORT, "/metrics/slis").body)
    ours_config = control.kubeconfig("metrics-kproxy", token=control.service_account_token())
    command = [sys.executable, "-m", "kproxy", "run", f"--kubeconfig={ours_config}", f"--proxy-mode={mode}", *FLAGS]
    with running(cluster, command, {}):
        ours = shapes(metrics(cluster))
        our_configz = json.loads(get(cluster.node, "127.0.0.1", PORT, "/configz").body)
        our_slis = shapes(get(cluster.node, "127.0.0.1", PORT, "/metrics/slis").body)
    wanted = {name: shape for name, shape in theirs.items() if not name.startswith(NOT_KPROXY_S)}
    assert "kubeproxy_sync_proxy_rules_duration_seconds" in wanted
    assert {name: ours.get(name) for name in wanted} == wanted
    assert our_slis == their_slis
    group = "kubeproxy.config.k8s.io"
    assert set(our_configz[group]) <= set(their_configz[group])
    assert our_configz[group]["clusterCIDR"] == their_configz[group]["clusterCIDR"]
