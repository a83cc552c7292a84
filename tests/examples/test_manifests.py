"""The stories' YAML: complete, consistent with the cluster that they are played in, and listed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from examples.demo import manifests, topology
from examples.demo.tables import STORIES
from tests.lab import CLUSTER_IPS, EXTERNAL_IPS, LOAD_BALANCER_IPS

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = manifests.EXAMPLES
PLAN = topology.shop()
story_wise = pytest.mark.parametrize("story", STORIES)


def of_kind(story: str, kind: str) -> list[dict[str, Any]]:
    return [one for one in manifests.documents(EXAMPLES / story) if one["kind"] == kind]


def test_every_directory_is_a_story_and_listed() -> None:
    directories = {path.name for path in EXAMPLES.iterdir() if (path / "service.yaml").exists()}
    listed = set(re.findall(r"\[`([a-z-]+)`\]\(\1\)", (EXAMPLES / "README.md").read_text()))
    assert directories == set(STORIES) == listed


@story_wise
def test_a_story_is_complete(story: str) -> None:
    assert (EXAMPLES / story / "README.md").read_text().startswith("# ")
    for document in manifests.documents(EXAMPLES / story):
        assert document["apiVersion"]
        assert document["metadata"]["name"]
    assert of_kind(story, "Service")
    assert of_kind(story, "EndpointSlice") or of_kind(story, "Endpoints")


@story_wise
def test_the_commands_of_a_readme_name_their_own_story(story: str) -> None:
    text = (EXAMPLES / story / "README.md").read_text()
    assert f"kproxy render --manifests examples/{story} --hostname-override node-a" in text
    assert f"python -m examples.demo {story}" in text


@story_wise
def test_the_nodes_are_those_of_the_cluster(story: str) -> None:
    assert (EXAMPLES / story / "nodes.yaml").read_text() == (EXAMPLES / "web-ports/nodes.yaml").read_text()
    for node in of_kind(story, "Node"):
        host = PLAN.host(node["metadata"]["name"])
        internal = [one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"]
        assert internal == [host.primary("ipv4"), host.primary("ipv6")]
        assert node["metadata"]["labels"]["topology.kubernetes.io/zone"] == topology.ZONES[host.name]


@story_wise
def test_endpoints_are_pods_of_the_cluster(story: str) -> None:
    for slice_ in of_kind(story, "EndpointSlice"):
        assert slice_["metadata"]["labels"]["kubernetes.io/service-name"] in {
            one["metadata"]["name"] for one in of_kind(story, "Service")
        }
        for endpoint in slice_["endpoints"]:
            pod = PLAN.host(endpoint["targetRef"]["name"])
            assert endpoint["addresses"] == [pod.primary(manifests.FAMILY[slice_["addressType"]])]
            assert endpoint["nodeName"] == pod.node
            listening = {
                port for prefix, ports in topology.LISTENING.items() if pod.name.startswith(prefix) for port in ports
            }
            for port in slice_["ports"]:
                assert port["port"] == 8080 or (port["protocol"].lower(), port["port"]) in listening


def test_the_server_outside_is_the_mainframe() -> None:
    (endpoints,) = of_kind("external-server", "Endpoints")
    (subset,) = endpoints["subsets"]
    assert [one["ip"] for one in subset["addresses"]] == [PLAN.host(topology.MAINFRAME).primary("ipv4")]
    assert [("tcp", one["port"]) for one in subset["ports"]] == list(topology.LISTENING[topology.MAINFRAME])


@story_wise
def test_addresses_of_services_are_routed_in_the_cluster(story: str) -> None:
    def within(address: str, ranges: dict[Any, str]) -> bool:
        return any(
            address.startswith(cidr.split("/")[0].removesuffix("0.0").removesuffix(":")) for cidr in ranges.values()
        )

    for service in of_kind(story, "Service"):
        spec = service["spec"]
        ips = [ip for ip in spec.get("clusterIPs", [spec["clusterIP"]]) if ip != "None"]
        assert all(within(ip, CLUSTER_IPS) for ip in ips)
        assert all(within(ip, EXTERNAL_IPS) for ip in spec.get("externalIPs", []))
        ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
        assert all(within(one["ip"], LOAD_BALANCER_IPS) for one in ingress)


def test_no_two_stories_claim_the_same() -> None:
    claims: list[tuple[str, str]] = []
    for story in STORIES:
        for kind in ("Service", "EndpointSlice", "Endpoints"):
            claims += [(kind, one["metadata"]["name"]) for one in of_kind(story, kind)]
        for service in of_kind(story, "Service"):
            spec = service["spec"]
            claims += [("IP", ip) for ip in {spec["clusterIP"], *spec.get("clusterIPs", [])} - {"None"}]
            claims += [("node port", f"{p['nodePort']}/{p.get('protocol')}") for p in spec["ports"] if "nodePort" in p]
    assert len(claims) == len(set(claims))


def test_stories_can_be_merged(tmp_path: Path) -> None:
    manifests.merge(STORIES, tmp_path)
    merged = manifests.documents(tmp_path)
    assert sum(one["kind"] == "Node" for one in merged) == 2
    assert sum(one["kind"] == "Service" for one in merged) == sum(len(of_kind(story, "Service")) for story in STORIES)


def test_endpoints_can_be_replaced() -> None:
    before = of_kind("local-traffic", "EndpointSlice")
    pods = [PLAN.host("gateway-2"), PLAN.host("web-4")]
    after = manifests.with_endpoints([one for one in before if one["metadata"]["name"].startswith("gateway")], pods)
    assert [[e["addresses"] for e in one["endpoints"]] for one in after] == [
        [["10.244.2.16"], ["10.244.2.12"]],
        [["fd00:10:244:2::16"], ["fd00:10:244:2::12"]],
    ]
    assert all(endpoint["nodeName"] == "node-b" for one in after for endpoint in one["endpoints"])
    assert manifests.with_endpoints(after, [])[0]["endpoints"] == []


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "web.yaml"
    path.write_text("kind: Old")
    manifests.replace_file(path, [{"kind": "A"}, {"kind": "B"}])
    assert manifests.documents(path) == [{"kind": "A"}, {"kind": "B"}]
    assert [one.name for one in tmp_path.iterdir()] == ["web.yaml"]
