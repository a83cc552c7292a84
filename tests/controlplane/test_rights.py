"""deploy/rbac.yaml grants what is needed, and nothing that is not: without any one right one line names it.

The server is as one that streams no lists: on a newer one a list is only a second way.
"""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING, Any

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.agent.one_node import LEAVE_CONNTRACK
from tests.controlplane import ControlPlane, plan_with_control_plane
from tests.dns.server.running import DnsProcess
from tests.lab import FAMILIES, Cluster
from tests.lab.agent import Agent, eventually
from tests.peers import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.controlplane.https import Api

pytestmark = pytest.mark.root

ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/kproxy"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
NODE = "node-a"
REMEDY = "grant what deploy/rbac.yaml holds"
#: Namespaces are of interest to DNS alone.
WITH_DNS = ("--dns-bind-address", "127.0.0.1:10053", "--dns-metrics-bind-address", "127.0.0.1:19153")
ESSENTIAL = ("nodes", "services", "endpointslices")
RIGHTS = [(resource, verb) for resource in (*ESSENTIAL, "servicecidrs", "namespaces") for verb in ("list", "watch")]


@pytest.fixture(scope="module")
def older_cluster() -> Iterator[Cluster]:
    require("etcd", "kube-apiserver")
    with Cluster(plan_with_control_plane()) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def older(older_cluster: Cluster) -> Iterator[ControlPlane]:
    with ControlPlane.of(older_cluster, flags=["--feature-gates=WatchList=false"]) as control:
        control.install_rbac()
        with control.api() as admin:
            admin.post("/api/v1/nodes", older_cluster.node_object()).checked()
        yield control


@pytest.fixture
def admin(older: ControlPlane) -> Iterator[Api]:
    """An administrator; afterwards the role is as it was."""
    with older.api() as api:
        role = api.get(ROLE).checked()
        yield api
        grant(api, role["rules"])


def new_agent(control: ControlPlane, cluster: Cluster, *more: str) -> Agent:
    kubeconfig = control.kubeconfig("rights", token=control.service_account_token())
    flags = ("--kubeconfig", str(kubeconfig), "--hostname-override", NODE, *LEAVE_CONNTRACK)
    cidrs = ("--cluster-cidr", "10.244.0.0/16,fd00:10:244::/48")
    return Agent(cluster.node, [sys.executable, "-m", "kproxy", "run", *flags, *cidrs, *more], FAMILIES)


def grant(api: Api, rules: list[dict[str, Any]]) -> None:
    api.request("PATCH", ROLE, {"rules": rules}).checked()


def without(rules: list[dict[str, Any]], resource: str, verb: str) -> list[dict[str, Any]]:
    left = copy.deepcopy(rules)
    [rule] = [rule for rule in left if rule["resources"] == [resource]]
    rule["verbs"].remove(verb)
    return [rule for rule in left if rule["verbs"]]


def take_away(control: ControlPlane, admin: Api, resource: str, verb: str, group: str) -> list[dict[str, Any]]:
    """Take a right away, wait until the server has noticed, and return the rules as they were."""
    rules: list[dict[str, Any]] = admin.get(ROLE).checked()["rules"]
    grant(admin, without(rules, resource, verb))
    review = {"spec": {"resourceAttributes": {"group": group, "resource": resource, "verb": verb}}}
    with control.api(control.service_account_token()) as kproxy:

        def denied() -> bool:
            path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
            allowed: bool = kproxy.post(path, review).checked()["status"]["allowed"]
            return not allowed

        eventually(denied, f"{verb} {resource} is denied")
    return rules


def refusals(agent: Agent) -> list[str]:
    return [line for line in agent.log.read_text(encoding="utf-8").splitlines() if "403" in line]


def test_all_of_them_suffice(older: ControlPlane, older_cluster: Cluster, admin: Api) -> None:
    with new_agent(older, older_cluster, *WITH_DNS) as agent:
        agent.wait_ready()
        eventually(lambda: any(one["reason"] == "Starting" for one in told(admin)), "it says that it has started")
        [event] = [one for one in told(admin) if one["reason"] == "Starting"]
        assert (event["regarding"]["kind"], event["regarding"]["name"]) == ("Node", NODE)
        assert (event["reportingController"], event["reportingInstance"]) == ("kube-proxy", f"kproxy-{NODE}")
        assert refusals(agent) == []


@pytest.mark.parametrize(("resource", "verb"), RIGHTS)
def test_each_one_is_needed(older: ControlPlane, older_cluster: Cluster, admin: Api, resource: str, verb: str) -> None:
    group = {"endpointslices": "discovery.k8s.io", "servicecidrs": "networking.k8s.io"}.get(resource, "")
    rules = take_away(older, admin, resource, verb, group)
    more = WITH_DNS if resource == "namespaces" else ()
    with new_agent(older, older_cluster, *more) as agent:
        eventually(lambda: bool(refusals(agent)), f"it says that it may not {verb} {resource}")
        if resource in ESSENTIAL:
            assert agent.health().status == 503, "without it nothing is written"
        else:
            agent.wait_ready()
        grant(admin, rules)
        eventually(lambda: f"{resource}: followed again" in agent.log.read_text(), "it goes on by itself", 60)
        agent.wait_ready()
        [line] = refusals(agent)
        assert f"{resource} of {older.server}: 403 Forbidden {resource}" in line
        assert f'cannot {verb} resource "{resource}"' in line
        assert line.endswith(f" - {REMEDY}; trying again")


def test_without_the_right_to_create_events_the_rest_goes_on(
    older: ControlPlane, older_cluster: Cluster, admin: Api
) -> None:
    before = len(told(admin))
    rules = take_away(older, admin, "events", "create", "events.k8s.io")
    with new_agent(older, older_cluster) as agent:
        agent.wait_ready()
        eventually(lambda: bool(refusals(agent)), "it says that it may not create Events")
        grant(admin, rules)
        eventually(lambda: len(told(admin)) > before, "the Event came late", 60)
        eventually(lambda: "Events are created again" in agent.log.read_text(), "it says so")
        [line] = refusals(agent)
        assert f"Events can't be created at {older.server}: 403 Forbidden events.events.k8s.io is forbidden" in line
        assert line.endswith(f" - {REMEDY}")


def told(admin: Api) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = admin.get(EVENTS).checked()["items"]
    return [one for one in items if one["reportingController"] == "kube-proxy"]


def test_115_and_116_of_dns_before_all_is_known(older: ControlPlane, older_cluster: Cluster, admin: Api) -> None:
    """Without the right to list endpoints: addresses of Services are told, and nothing else is denied or made up."""
    headless = {"metadata": {"name": "headless"}, "spec": {"clusterIP": "None"}}
    admin.post("/api/v1/namespaces/default/services", headless).checked()
    rules = take_away(older, admin, "endpointslices", "list", "discovery.k8s.io")
    kubeconfig = older.kubeconfig("rights", token=older.service_account_token())
    arguments = ["--kubeconfig", str(kubeconfig), "--dns-bind-address", "127.0.0.1:5311", "--dns-upstream", "192.0.2.9"]
    server = DnsProcess(older_cluster.node, [*arguments, "--dns-metrics-bind-address", "127.0.0.1:5312"], 5312)
    server.start()

    def asked(name: str) -> list[str]:
        query = dns.message.make_query(f"{name}.default.svc.cluster.local", "A")
        reply = older_cluster.node.call(lambda: dns.query.tcp(query, "127.0.0.1", port=5311, timeout=5))
        return [one.to_text() for rrset in reply.answer for one in rrset] or [dns.rcode.to_text(reply.rcode())]

    eventually(lambda: "answering on" in server.said(), "it listens")
    eventually(lambda: asked("kubernetes") == ["10.96.0.1"], "the Services are known")
    assert asked("headless") == asked("nosuch") == ["SERVFAIL"]
    assert server.get("/ready") == 503
    grant(admin, rules)
    eventually(lambda: asked("nosuch") == ["NXDOMAIN"], "all is known", 60)
    assert asked("headless") == ["NXDOMAIN"]  # it has no endpoints
    assert server.get("/ready") == 200
    server.stop()
