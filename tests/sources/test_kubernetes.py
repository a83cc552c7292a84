from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.errors import SourceError
from kproxy.kube.credentials import Plain
from kproxy.sources.changes import ChangeBatch
from kproxy.sources.kubernetes import KubernetesSource
from tests.kube.live_api import FAST, LiveApi, live_api
from tests.kube.texts import node, service, service_cidr, slice_

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from kproxy.kube.requests import Timing
    from kproxy.sources.changes import Change

PATIENCE_S = 20.0


class Follower:
    """What a source said so far, as objects."""

    def __init__(self, batches: AsyncIterator[ChangeBatch]) -> None:
        self.batches = batches
        self.objects: dict[tuple[str, str], Any] = {}
        self.problems: list[str] = []

    async def take(self) -> ChangeBatch:
        """The next batch; the first one is put together from its parts."""
        changes: list[Change] = []
        while True:
            batch = await anext(self.batches)
            changes += batch.changes
            if batch.complete:
                break
        for change in changes:
            if change.obj is None:
                del self.objects[change.kind, change.key]
            else:
                assert self.objects.get((change.kind, change.key)) != change.obj
                self.objects[change.kind, change.key] = change.obj
        self.problems = [str(problem) for problem in batch.problems]
        return ChangeBatch(tuple(changes), batch.problems)

    async def until(self, keys: set[str]) -> None:
        """Take batches until the Services are those."""
        while {key for kind, key in self.objects if kind == "Service"} != keys:
            await self.take()


def tell(
    story: Callable[[LiveApi, KubernetesSource, Follower], Coroutine[Any, Any, None]],
    api: Callable[[], LiveApi] = LiveApi,
    timing: Timing = FAST,
    node_wait_s: float = 0,
) -> None:
    async def run() -> None:
        async with asyncio.timeout(PATIENCE_S), live_api(api()) as server:
            source = KubernetesSource(Plain(server.url), "n1", timing=timing, node_wait_s=node_wait_s)
            async with aclosing(source.changes()) as batches:
                await story(server, source, Follower(batches))

    asyncio.run(run())


def test_the_first_batch_is_everything() -> None:
    async def story(api: LiveApi, source: KubernetesSource, seen: Follower) -> None:
        await api.put(service("web"))
        await api.put(slice_("web-1"))
        await api.put(node("n1"))
        batch = await seen.take()
        assert {(change.kind, change.key) for change in batch.changes} == {
            ("Service", "default/web"),
            ("EndpointSlice", "default/web-1"),
            ("Node", "n1"),
        }
        assert batch.problems == ()
        assert source.troubles() == ()

    tell(story)


def test_the_first_batch_may_be_empty() -> None:
    async def story(_api: LiveApi, _source: KubernetesSource, seen: Follower) -> None:
        assert (await seen.take()).changes == ()

    tell(story)


def test_the_first_batch_waits_for_all_lists() -> None:
    async def story(api: LiveApi, source: KubernetesSource, seen: Follower) -> None:
        api.faults["EndpointSlice"] = ["500"] * 5
        await api.put(service("web"))
        await api.put(slice_("web-1"))
        batch = await seen.take()
        assert len(batch.changes) == 2
        assert len(await api.calls_of("EndpointSlice", 6)) == 6
        assert source.troubles() == ()

    tell(story)


def test_the_requests_are_kube_proxys() -> None:
    async def story(api: LiveApi, _source: KubernetesSource, seen: Follower) -> None:
        await seen.take()
        labels = "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name"
        selectors = {
            call.path: (call.query.get("labelSelector"), call.query.get("fieldSelector")) for call in api.calls
        }
        assert selectors == {
            "/k8s/clusters/c-1/api/v1/services": (labels, "spec.clusterIP!=None"),
            "/k8s/clusters/c-1/apis/discovery.k8s.io/v1/endpointslices": (labels, None),
            "/k8s/clusters/c-1/api/v1/nodes": (None, "metadata.name=n1"),
            "/k8s/clusters/c-1/apis/networking.k8s.io/v1/servicecidrs": (None, None),
        }
        headers = api.calls[0].headers
        assert headers["host"] == f"127.0.0.1:{api.port}"
        assert headers["accept"] == "application/json"
        assert "authorization" not in headers

    tell(story, lambda: LiveApi(base="/k8s/clusters/c-1"))


def test_changes_come_as_they_are_made() -> None:
    async def story(api: LiveApi, _source: KubernetesSource, seen: Follower) -> None:
        await seen.take()
        await api.put(service("web"))
        await seen.until({"default/web"})
        await api.put(service("web", ip="10.96.0.2"))
        while seen.objects["Service", "default/web"].spec.cluster_ip != "10.96.0.2":
            await seen.take()
        await api.delete("Service", "web")
        await seen.until(set())

    tell(story)


def test_what_came_meanwhile_is_one_batch() -> None:
    async def story(api: LiveApi, source: KubernetesSource, seen: Follower) -> None:
        await seen.take()
        for name in "abc":
            await api.put(service(name))
        await api.delete("Service", "a")
        services = source._reflectors[1]
        while not services.holds("default/c") or services.holds("default/a"):
            await asyncio.sleep(0.01)
        batch = await seen.take()
        assert [change.key for change in batch.changes] == ["default/b", "default/c"]

    tell(story)


@pytest.mark.parametrize("streams_lists", [True, False])
@pytest.mark.parametrize("fault", ["cut", "stall", "half-close", "end", "503", "429", "401", "410"])
def test_after_a_fault_nothing_is_stale(fault: str, streams_lists: bool) -> None:
    """The fault meets the initial list, a watch and a list after a 410."""

    async def story(api: LiveApi, source: KubernetesSource, seen: Follower) -> None:
        await api.put(service("kept"))
        await api.put(service("gone"))
        api.faults["Service"] = [fault] * 3
        await seen.until({"default/kept", "default/gone"})
        api.faults["Service"] = [fault] * 2
        await api.cut()
        await api.put(service("new"))
        await seen.until({"default/kept", "default/gone", "default/new"})
        await api.delete("Service", "gone")
        await api.compact()
        api.faults["Service"] = [fault]
        await api.cut()
        await seen.until({"default/kept", "default/new"})
        await api.put(service("last"))
        await seen.until({"default/kept", "default/new", "default/last"})
        assert [text for text in source.troubles() if text.startswith("services:")] == []

    timing = replace(FAST, list_silence_s=0.2, watch_silence_s=0.5)
    tell(story, lambda: LiveApi(streams_lists=streams_lists), timing)


def test_nothing_is_said_twice_over_a_new_list() -> None:
    async def story(api: LiveApi, _source: KubernetesSource, seen: Follower) -> None:
        for name in "abcde":
            await api.put(service(name))
        await seen.take()
        await api.compact()
        await api.cut()
        await api.put(service("f"))
        batch = await seen.take()
        assert [change.key for change in batch.changes] == ["default/f"]

    tell(story)


def test_retry_after_is_waited_for() -> None:
    async def story(api: LiveApi, _source: KubernetesSource, seen: Follower) -> None:
        clock = asyncio.get_running_loop().time
        api.faults["Service"] = ["retry"]
        begin = clock()
        await seen.take()
        assert clock() - begin >= 1.0

    tell(story)


def test_an_object_that_does_not_decode_is_a_problem_and_the_last_good_one_stays() -> None:
    async def story(api: LiveApi, _source: KubernetesSource, seen: Follower) -> None:
        await api.put(service("web"))
        await seen.take()
        bad = service("web")
        bad["spec"]["ports"][0]["port"] = "http"
        await api.put(bad)
        batch = await seen.take()
        assert batch.changes == ()
        assert seen.problems == ["Service default/web: spec.ports[0].port: expected int, got str"]
        await api.put(service("web", ip="10.96.0.5"))
        batch = await seen.take()
        assert [change.key for change in batch.changes] == ["default/web"]
        assert seen.problems == []

    tell(story)


def test_it_waits_for_its_node(caplog: pytest.LogCaptureFixture) -> None:
    async def story(api: LiveApi, _source: KubernetesSource, seen: Follower) -> None:
        first = asyncio.ensure_future(seen.take())
        while "waiting up to 60 s for Node n1" not in caplog.messages:
            await asyncio.sleep(0.01)
        await api.put(service("web"))
        await api.put(node("n1"))
        await first
        assert ("Node", "n1") in seen.objects

    with caplog.at_level(logging.INFO):
        tell(story, node_wait_s=60)
    assert "Node n1 is there" in caplog.messages
    assert "going on without" not in caplog.text


def test_it_goes_on_without_its_node(caplog: pytest.LogCaptureFixture) -> None:
    async def story(_api: LiveApi, _source: KubernetesSource, seen: Follower) -> None:
        await seen.take()

    with caplog.at_level(logging.INFO):
        tell(story, node_wait_s=0.05)
    assert "waiting up to 0.05 s for Node n1" in caplog.messages
    assert "no Node n1 after 0.05 s (see --hostname-override): going on without" in caplog.messages


def test_an_api_server_that_is_away_is_said_once_and_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with asyncio.timeout(PATIENCE_S):
            async with live_api() as api:
                await api.put(service("web"))
                source = KubernetesSource(Plain(api.url), "n1", timing=FAST, node_wait_s=0)
                batches = source.changes()
                seen = Follower(batches)
                await seen.take()
            while len(source.troubles()) < 4:
                await asyncio.sleep(0.01)
            await api.put(service("new"))
            async with live_api(api), aclosing(batches):
                await seen.until({"default/web", "default/new"})
                while source.troubles():
                    await asyncio.sleep(0.01)
                await api.put(service("more"))
                await seen.until({"default/web", "default/new", "default/more"})

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    server = "http://127.0.0.1:"
    away = [text for text in caplog.messages if text.startswith(server) and text.endswith("; trying again")]
    # Each way in which it is away: the connection that ended, those that were refused. Not each for each resource.
    assert 1 <= len(away) <= 2
    assert away[-1].endswith(": connection refused; trying again")
    assert [text for text in caplog.messages if text.endswith(": followed again")][-1].startswith(server)


def test_cancelling_it_leaves_nothing_behind() -> None:
    async def run() -> None:
        async with asyncio.timeout(PATIENCE_S), live_api() as api:
            source = KubernetesSource(Plain(api.url), "n1", timing=FAST, node_wait_s=0)
            before = asyncio.all_tasks()

            async def follow() -> None:
                async for _ in source.changes():
                    pass

            task = asyncio.create_task(follow())
            await api.calls_of("Service", 1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            while api.open:
                await asyncio.sleep(0)
            assert asyncio.all_tasks() <= before

    asyncio.run(run())


def test_service_cidrs_are_followed() -> None:
    async def story(api: LiveApi, _source: KubernetesSource, seen: Follower) -> None:
        await api.put(service_cidr("kubernetes", "10.96.0.0/16"))
        await seen.take()
        assert seen.objects["ServiceCIDR", "kubernetes"].spec.cidrs == ["10.96.0.0/16"]
        await api.delete("ServiceCIDR", "kubernetes")
        await seen.take()
        assert ("ServiceCIDR", "kubernetes") not in seen.objects

    tell(story)


@pytest.mark.parametrize("streams_lists", [True, False])
def test_a_server_that_is_too_old_for_service_cidrs_has_none(
    streams_lists: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(api: LiveApi, source: KubernetesSource, seen: Follower) -> None:
        api.faults["ServiceCIDR"] = ["404"] * 100
        await api.put(service("web"))
        await seen.until({"default/web"})
        assert source.troubles() == ()
        assert len(await api.calls_of("ServiceCIDR", 1)) == 1  # it is not asked for all the time
        assert f"servicecidrs: not served by {api.url}, so there are none" in caplog.messages

    with caplog.at_level(logging.INFO):
        tell(story, lambda: LiveApi(streams_lists=streams_lists))
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_nobody_waits_for_service_cidrs_that_do_not_come(caplog: pytest.LogCaptureFixture) -> None:
    async def story(api: LiveApi, _source: KubernetesSource, seen: Follower) -> None:
        api.faults["ServiceCIDR"] = ["403"] * 1000
        await api.put(service("web"))
        await seen.until({"default/web"})
        api.faults.clear()
        await api.put(service_cidr("kubernetes", "10.96.0.0/16"))
        while ("ServiceCIDR", "kubernetes") not in seen.objects:
            await seen.take()

    tell(story)
    told = [text for text in caplog.messages if text.startswith("servicecidrs of http://127.0.0.1:")]
    assert len(told) == 1
    assert told[0].endswith(": 403 Told so - grant what deploy/rbac.yaml holds; trying again")


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        ({"status": {}}, "no address of Node n1 after 0.05 s (see --hostname-override): going on without"),
        ({}, ""),
    ],
    ids=["an address", "nothing"],
)
def test_it_waits_for_an_address_of_its_node(
    missing: dict[str, Any], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(api: LiveApi, _source: KubernetesSource, seen: Follower) -> None:
        await api.put(node("n1") | missing)
        await seen.take()
        assert ("Node", "n1") in seen.objects

    tell(story, node_wait_s=0.05)
    assert caplog.messages == [text] * bool(text)


def test_where_pod_cidrs_tell_what_is_local_there_is_no_going_on_without() -> None:
    async def run(served: dict[str, Any]) -> ChangeBatch:
        async with asyncio.timeout(PATIENCE_S), live_api() as api:
            await api.put(served)
            source = KubernetesSource(Plain(api.url), "n1", pod_cidrs=True, timing=FAST, node_wait_s=0.05)
            async with aclosing(source.changes()) as batches:
                return await Follower(batches).take()

    with pytest.raises(SourceError) as failure:
        asyncio.run(run(node("n1")))
    assert str(failure.value) == (
        "--detect-local-mode NodeCIDR: no podCIDRs of Node n1 after 0.05 s - "
        "see --hostname-override, and that the cluster allocates podCIDRs to its Nodes"
    )
    batch = asyncio.run(run(node("n1") | {"spec": {"podCIDRs": ["10.244.1.0/24"]}}))
    assert [change.key for change in batch.changes] == ["n1"]


def test_a_node_that_is_deleted_stays_as_it_was_until_it_is_there_again(caplog: pytest.LogCaptureFixture) -> None:
    async def story(api: LiveApi, _source: KubernetesSource, seen: Follower) -> None:
        await api.put(node("n1") | {"spec": {"podCIDRs": ["10.244.1.0/24"]}})
        await seen.take()
        first = seen.objects["Node", "n1"]
        await api.delete("Node", "n1")
        batch = await seen.batches.__anext__()
        assert [change.obj for change in batch.changes] == [first]
        await api.put(node("n1", zone="b") | {"status": {}})
        await seen.take()
        made_again = seen.objects["Node", "n1"]
        assert made_again.metadata.labels == {"topology.kubernetes.io/zone": "b"}
        assert (made_again.spec.pod_cidrs, made_again.status) == (["10.244.1.0/24"], first.status)

    tell(story)
    assert "Node n1 was deleted: going on with what it said last" in caplog.messages


def test_a_server_that_is_too_old_is_named_once_and_followed_after_its_upgrade(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(api: LiveApi, source: KubernetesSource, seen: Follower) -> None:
        api.faults["EndpointSlice"] = ["404"] * 100_000
        await api.put(service("web"))
        first = asyncio.ensure_future(seen.take())
        await api.calls_of("EndpointSlice", 5)
        assert not first.done(), "nothing is written by half of what there is"
        assert len(source.troubles()) == 1
        api.faults.clear()
        await first

    with caplog.at_level(logging.INFO):
        tell(story)
    [line] = [text for text in caplog.messages if text.endswith("; trying again")]
    assert line.startswith("endpointslices of http://127.0.0.1:")
    assert "this is no API server, or one before Kubernetes 1.21, which is too old" in line
    assert "endpointslices: followed again" in caplog.messages
