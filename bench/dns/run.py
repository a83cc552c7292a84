"""Plays both servers against each other and prints the figures."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, TypeVar

from bench.dns import dnsperf, servers, zone
from bench.figures import Figure, show
from tests.controlplane import ControlPlane
from tests.controlplane.control_plane import ADMIN_TOKEN, HOST, plan_with_control_plane
from tests.dns.server.world import World
from tests.lab import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.dns.dnsperf import Outcome
    from bench.dns.servers import Server
    from tests.lab import Namespace

T = TypeVar("T")

KPROXY, COREDNS, UPSTREAM = "10.53.0.1", "10.53.0.2", "10.53.0.3"
HEADLESS, ENDPOINTS = 100, 10
SHARES = (25, 50, 75)
CHANGES = 50


def figures(services: int, runs: int, seconds: int) -> None:
    """Measure a zone of so many Services and 1,000 headless endpoints."""
    program = servers.coredns_program()
    assert program is not None, "the real CoreDNS is not in the cache"
    with Cluster(plan_with_control_plane()) as cluster, ControlPlane.of(cluster) as control:
        namespace = cluster.namespaces[HOST]
        for address in (KPROXY, COREDNS, UPSTREAM):
            namespace.run("ip", "address", "add", f"{address}/32", "dev", "lo")
        zone.create(control, services, HEADLESS, ENDPOINTS)
        questions = control.directory / "questions"
        zone.write_questions(questions, services, HEADLESS, ENDPOINTS)
        kubeconfig = control.kubeconfig("dns", token=ADMIN_TOKEN)
        pair = (
            servers.kproxy(namespace, KPROXY, kubeconfig, UPSTREAM),
            servers.coredns(namespace, COREDNS, kubeconfig, UPSTREAM, program),
        )
        with World(namespace, UPSTREAM):
            _compare(
                control, namespace, pair, questions, runs, seconds, f"{services} Services, 1,000 headless endpoints"
            )


def _compare(
    control: ControlPlane,
    namespace: Namespace,
    pair: Sequence[Server],
    questions: Path,
    runs: int,
    seconds: int,
    title: str,
) -> None:
    name = f"db-0-0.db-0.{zone.HERE}."
    starts = [[server.start(name)] for server in pair]
    with contextlib.ExitStack() as closing:
        for server in pair:
            closing.callback(server.stop)
        idle = [[server.memory_mib()] for server in pair]
        knees = _each(pair, runs, lambda server: dnsperf.knee(namespace, server.address, questions, seconds))
        found = [
            *_figures("knee, queries a second", [[one.rate for one in of] for of in knees], ""),
            *_figures("lost", [[float(one.lost) for one in of] for of in knees], ""),
        ]
        best = [max(one.rate for one in of) for of in knees]
        ours, theirs = pair
        for share in SHARES:
            rates = [int(rate * share / 100) for rate in best]
            asked = [(ours, rates[0]), (theirs, rates[1]), (ours, rates[1])]
            at = _each(asked, runs, lambda one: dnsperf.at_rate(namespace, one[0].address, questions, seconds, one[1]))
            found += _latencies(f"{share} %", rates, at)
        changes: list[list[float]] = [[], []]
        for generation in range(1, CHANGES + 1):
            for server, seen in zip(pair, changes, strict=True):
                seen.append(_change(control, server, generation, len(changes[0])))
        found += _figures("an endpoint changed: in the answer after", changes, "ms")
        found += _figures("start to the first answer", starts, "s")
        found += _figures("memory after the start", idle, "MiB")
        found += _figures("memory under load", [[server.memory_mib()] for server in pair], "MiB")
        time.sleep(1.5)  # until the workers have told
        count, bound_ms = ours.slowest_change_ms()
        title += f"; 99 % of {count} changes in kproxy's answers {bound_ms:g} ms after their watch event, or sooner"
    show(title, found)


def _each(what: Sequence[T], runs: int, measure: Callable[[T], Outcome]) -> list[list[Outcome]]:
    """Measure all of them in turns."""
    found: list[list[Outcome]] = [[] for _ in what]
    for _ in range(runs):
        for one, outcomes in zip(what, found, strict=True):
            outcomes.append(measure(one))
    return found


def _latencies(share: str, rates: Sequence[int], at: Sequence[Sequence[Outcome]]) -> Iterator[Figure]:
    """Both at a share of their own knee, and kproxy at CoreDNS's rate, which is what the ratio is of."""
    titles = [
        f"kproxy at {share} of its knee, {rates[0]} a second",
        f"CoreDNS at {share} of its knee, {rates[1]} a second",
        "kproxy at that rate",
    ]
    for title, of, peer in zip(titles, at, (None, None, at[1]), strict=True):
        medians = [one.median_ms for one in peer] if peer else ()
        yield Figure(f"{title}: median", [one.median_ms for one in of], "ms", peer=medians)
        p99s = [one.p99_ms for one in peer] if peer else ()
        yield Figure(f"{title}: p99", [one.p99_ms for one in of], "ms", peer=p99s)


def _figures(what: str, values: Sequence[Sequence[float]], unit: str) -> Iterator[Figure]:
    ours, theirs = values
    yield Figure(f"kproxy: {what}", ours, unit, peer=theirs if any(theirs) else ())
    yield Figure(f"CoreDNS: {what}", theirs, unit)


def _change(control: ControlPlane, server: Server, generation: int, turn: int) -> float:
    """Change the endpoints of one Service; return the milliseconds from the API server's word to the answer."""
    number = (generation * 2 + turn) % HEADLESS
    wanted = zone.address(number * ENDPOINTS + generation * 2_000)
    zone.change(control, number, ENDPOINTS, generation)
    start = time.perf_counter()
    name = f"db-{number}-0.db-{number}.{zone.HERE}."
    while server.ask(name) != [wanted]:
        assert time.perf_counter() - start < 60
    return (time.perf_counter() - start) * 1000
