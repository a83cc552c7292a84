"""The control plane is real: controllers act, access is by RBAC, history can be lost, credentials can be rotated."""

from __future__ import annotations

import json
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from kubernetes import client
from kubernetes.config import new_client_from_config

from tests.controlplane import ControlPlane, create_services, pki
from tests.controlplane.bulk import NAMESPACE as BULK
from tests.controlplane.bulk import replace_endpoints
from tests.controlplane.objects import create_namespace, create_running_pod, create_service, set_pod_status
from tests.lab import FAMILIES, Cluster
from tests.lab.agent import eventually
from tests.peers import VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab import Namespace

pytestmark = pytest.mark.root

SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
EVENT = {
    "apiVersion": "events.k8s.io/v1",
    "kind": "Event",
    "metadata": {"name": "kproxy-test", "namespace": "default"},
    "eventTime": "2026-01-01T00:00:00.000000Z",
    "reportingController": "kproxy",
    "reportingInstance": "kproxy-node-a",
    "action": "StartKubeProxy",
    "reason": "Starting",
    "type": "Normal",
    "regarding": {"kind": "Node", "name": "node-a", "uid": "node-a"},
}

READABLE = (
    "/api/v1/services",
    "/api/v1/nodes",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/networking.k8s.io/v1/servicecidrs",
    "/api/v1/namespaces",
)
#: A sample of everything else, reads and writes, of the kinds it may read too.
FORBIDDEN = (
    ("GET", "/api/v1/secrets"),
    ("GET", "/api/v1/namespaces/kube-system/secrets"),
    ("GET", "/api/v1/pods"),
    ("GET", "/api/v1/endpoints"),
    ("GET", "/api/v1/configmaps"),
    ("GET", "/api/v1/namespaces/default"),
    ("GET", "/api/v1/nodes/node-a"),
    ("GET", "/api/v1/namespaces/default/services/kubernetes"),
    ("GET", "/apis/events.k8s.io/v1/events"),
    ("GET", "/apis/networking.k8s.io/v1/ipaddresses"),
    ("POST", "/api/v1/namespaces/default/services"),
    ("POST", "/api/v1/namespaces/default/pods"),
    ("POST", "/api/v1/nodes"),
    ("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"),
    ("POST", "/apis/networking.k8s.io/v1/servicecidrs"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
    ("POST", "/api/v1/namespaces/kube-system/serviceaccounts/kproxy/token"),
    ("PATCH", "/api/v1/namespaces/default/services/kubernetes"),
    ("PATCH", "/api/v1/namespaces/default/services/kubernetes/status"),
    ("PATCH", "/api/v1/nodes/node-a"),
    ("PATCH", "/apis/events.k8s.io/v1/namespaces/default/events/kproxy-test"),
    ("DELETE", "/api/v1/namespaces/default/services/kubernetes"),
    ("DELETE", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"),
    ("DELETE", "/api/v1/nodes"),
)


def test_the_version_is_the_one_that_was_asked_for(control: ControlPlane) -> None:
    with control.api() as api:
        assert api.get("/version").checked()["gitVersion"] == f"v{VERSION}"


def test_nodes_and_pods_reach_it(control: ControlPlane, cluster: Cluster) -> None:
    for host in ("node-a", "node-b", "a1", "b1"):
        _connected(cluster.namespaces[host], control.address).close()


# --- who may do what ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", READABLE)
def test_kproxy_may_list_and_watch_what_it_reads(control: ControlPlane, path: str) -> None:
    with control.api(control.service_account_token()) as api:
        assert api.get(path).status == 200
        assert api.get(f"{path}?watch=1&timeoutSeconds=1").status == 200


def test_kproxy_may_create_events(control: ControlPlane) -> None:
    with control.api(control.service_account_token()) as api:
        path = "/apis/events.k8s.io/v1/namespaces/default/events"
        assert api.post(path, EVENT).status == 201
    with control.api() as admin:
        admin.request("DELETE", f"{path}/kproxy-test").checked()


@pytest.mark.parametrize(("method", "path"), FORBIDDEN, ids=[" ".join(one) for one in FORBIDDEN])
def test_kproxy_may_do_nothing_else(control: ControlPlane, method: str, path: str) -> None:
    with control.api(control.service_account_token()) as api:
        assert api.request(method, path, None if method == "GET" else {}).status == 403


def test_its_rules_are_these_and_no_others(control: ControlPlane) -> None:
    """The API server's own list of what the token may do, without what everybody who is logged in may."""
    with control.api(control.service_account_token()) as api:
        review = {"spec": {"namespace": "default"}}
        said = api.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review).checked()
    everybody = {"authorization.k8s.io", "authentication.k8s.io"}
    rules = {
        (group, resource, tuple(sorted(rule["verbs"])))
        for rule in said["status"]["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if group not in everybody
    }
    reads = ("list", "watch")
    assert rules == {
        ("", "services", reads),
        ("", "nodes", reads),
        ("", "namespaces", reads),
        ("discovery.k8s.io", "endpointslices", reads),
        ("networking.k8s.io", "servicecidrs", reads),
        ("events.k8s.io", "events", ("create",)),
    }


def test_a_client_without_credentials_or_with_an_expired_token_is_told_so(control: ControlPlane) -> None:
    for token, status in (("", 403), ("nonsense", 401), (control.service_account_token(lifetime_s=-1), 401)):
        with control.api(token) as api:
            assert api.get("/api/v1/services").status == status


# --- real parts -----------------------------------------------------------------------------------------------


def test_the_real_controller_makes_the_slices_of_a_service(control: ControlPlane, cluster: Cluster) -> None:
    """Its Pod's Node must exist: the controller looks up its zone."""
    with control.api() as plain:
        assert plain.post("/api/v1/nodes", cluster.node_object()).status in (201, 409), "made, or there already"
    control.start_controllers()
    addresses = [cluster.address("a1", family) for family in FAMILIES]
    with control.typed() as api:
        create_namespace(api, "real")
        create_running_pod(api, "a1", "real", {"app": "web"}, node="node-a", addresses=addresses)
        made = create_service(api, "web", "real", {"app": "web"})
        assert made.spec
        assert made.spec.ip_families == ["IPv4", "IPv6"]

        def endpoints() -> dict[str, bool | None]:
            slices = client.DiscoveryV1Api(api).list_namespaced_endpoint_slice("real").items
            every = [one for each in slices for one in each.endpoints or []]
            return {one.addresses[0]: one.conditions and one.conditions.ready for one in every}  # type: ignore[misc]

        eventually(lambda: endpoints() == dict.fromkeys(addresses, True), "the slices of both families are there")
        set_pod_status(api, "a1", "real", addresses=addresses, ready=False)
        eventually(lambda: endpoints() == dict.fromkeys(addresses, False), "the endpoint is not ready any more")
        client.CoreV1Api(api).delete_namespaced_pod("a1", "real", grace_period_seconds=0)
        eventually(lambda: not endpoints(), "the endpoint is gone")
        client.CoreV1Api(api).delete_namespaced_service("web", "real")


def test_many_services_at_once(control: ControlPlane) -> None:
    create_services(control, 40, 3)
    with control.api() as api:
        slices = api.get(f"/apis/discovery.k8s.io/v1/namespaces/{BULK}/endpointslices").checked()["items"]
        addresses = [address for one in slices for e in one["endpoints"] for address in e["addresses"]]
        assert (len(slices), len(addresses), len(set(addresses))) == (40, 120, 120)
        services = api.get(f"/api/v1/namespaces/{BULK}/services").checked()["items"]
        assert {one["spec"]["clusterIP"] for one in services} == {f"10.96.8.{n}" for n in range(40)}
        replace_endpoints(api, 7, 1)
        changed = api.get(f"/apis/discovery.k8s.io/v1/namespaces/{BULK}/endpointslices/svc-7-1").checked()
        assert len(changed["endpoints"]) == 1


def test_lists_can_be_streamed(control: ControlPlane) -> None:
    """The store is new enough for it: after the objects comes the bookmark that ends them."""
    query = "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    with control.api() as api:
        told = api.get(f"/api/v1/services?{query}").body["text"].splitlines()
    events = [json.loads(line) for line in told]
    assert "ADDED" in {event["type"] for event in events}
    ends = [event["type"] for event in events if "k8s.io/initial-events-end" in str(event["object"])]
    assert ends == ["BOOKMARK"]


def test_history_is_lost_by_compaction_and_a_restart(control: ControlPlane) -> None:
    """What is stored stays; a watch from before is told that it is too old."""
    with control.api() as api:
        before = api.get("/api/v1/services").checked()
        version = before["metadata"]["resourceVersion"]
        watch = f"/api/v1/services?watch=1&timeoutSeconds=1&resourceVersion={version}"
        api.request("PATCH", "/api/v1/namespaces/default/services/kubernetes", {"metadata": {"labels": {"a": "b"}}})
        assert "ERROR" not in str(api.get(watch).body)
        assert control.compact() > int(version)
        control.restart_api_server(kill=True)
        told = api.get(watch)
        assert (told.status, told.body.get("code", 410)) in ((200, 410), (410, 410)), str(told)
        assert "410" in str(told), str(told)
        assert len(api.get("/api/v1/services").checked()["items"]) == len(before["items"])


# --- credentials ----------------------------------------------------------------------------------------------


def test_a_rotated_serving_certificate_is_taken_up_without_a_restart(control: ControlPlane, tmp_path: Path) -> None:
    other = pki.Authority(tmp_path, "other")

    def trusted(authority: Path) -> bool:
        try:
            with _connected(control.namespace, control.address) as sock:
                pki.client_context(authority).wrap_socket(sock, server_hostname=control.address).close()
        except ssl.SSLCertVerificationError:
            return False
        return True

    assert not trusted(other.certificate)
    control.rotate_serving_certificate(other)
    try:
        eventually(lambda: trusted(other.certificate), "the new certificate is served")
        assert not trusted(control.authority.certificate)
    finally:
        control.rotate_serving_certificate()
        eventually(lambda: trusted(control.authority.certificate), "the old authority's certificate is served again")


def test_kubeconfigs_work_as_they_are(control: ControlPlane, tmp_path: Path) -> None:
    """By token, token file and client certificate, read by the kubernetes package inside the control plane's host."""
    token_file = tmp_path / "token"
    control.write_token(token_file, control.service_account_token())
    certificate = control.client_certificate("somebody", "somebody", ["system:masters"])
    configs = (
        control.kubeconfig("by-token", token=control.service_account_token()),
        control.kubeconfig("by-file", token_file=token_file),
        control.kubeconfig("by-certificate", certificate=certificate),
    )
    for config in configs:

        def names(path: Path = config) -> set[str | None]:
            with new_client_from_config(str(path)) as api:  # type: ignore[no-untyped-call]
                found = client.CoreV1Api(api).list_namespaced_service("default").items
            return {one.metadata.name for one in found if one.metadata}

        assert "kubernetes" in control.namespace.call(names)


def _connected(namespace: Namespace, address: str) -> socket.socket:
    sock = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(5)
        sock.connect((address, 6443))
    except OSError:
        sock.close()
        raise
    return sock
