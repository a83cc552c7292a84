"""Plays both servers against each other and prints the figures."""

from __future__ import annotations

import contextlib
import statistics
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
LARGE = 1000
"""Endpoints of each headless Service that is added for the figures of 100,000 names."""
SHARES = (25, 50, 75)
CHANGES = 100
SETTLED_S = 2.0


def figures(services: int, runs: int, seconds: int) -> None:
    """Measure a zone of so many Services and 1,000 headless endpoints, and what 100,000 more endpoints need."""
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
        bench = _Bench(control, namespace, pair, questions, runs, seconds)
        with World(namespace, UPSTREAM):
            title = f"{services} Services, 1,000 headless endpoints, {runs} runs of {seconds} s"
            show(title, [*bench.speed(), *bench.needs(f"db-0-0.db-0.{zone.HERE}.")])
            zone.create(control, 0, HEADLESS, LARGE, first=HEADLESS)
            last = 2 * HEADLESS - 1
            show(f"{title}, and 100,000 more", bench.needs(f"db-{last}-0.db-{last}.{zone.HERE}."))


class _Bench:
    """Both servers on one control plane, and what is measured of them."""

    def __init__(
        self,
        control: ControlPlane,
        namespace: Namespace,
        pair: Sequence[Server],
        questions: Path,
        runs: int,
        seconds: int,
    ) -> None:
        self._control, self._namespace, self._pair, self._questions = control, namespace, pair, questions
        self._runs, self._seconds = runs, seconds

    def speed(self) -> list[Figure]:
        """Queries a second, latencies at shares of that, and how soon a change is in the answers."""
        with contextlib.ExitStack() as closing:
            for server in self._pair:
                server.start(f"db-0-0.db-0.{zone.HERE}.")
                closing.callback(server.stop)
            knees = self._each(self._pair, self._knee)
            found = [
                *_figures("knee, queries a second", [[one.rate for one in of] for of in knees], ""),
                *_figures("lost", [[float(one.lost) for one in of] for of in knees], ""),
            ]
            best = [max(one.rate for one in of) for of in knees]
            for share in SHARES:
                found += self._latencies(share, [int(rate * share / 100) for rate in best])
            return [*found, *self._changes()]

    def needs(self, name: str) -> list[Figure]:
        """Time and memory of a start until a name is known, and memory under load; each run is a start of its own."""
        starts, idle, loaded, rates = (_pair_of_lists() for _ in range(4))
        for _ in range(self._runs):
            for at, server in enumerate(self._pair):
                starts[at].append(server.start(name))
                try:
                    time.sleep(SETTLED_S)
                    idle[at].append(server.memory_mib())
                    rates[at].append(self._knee(server).rate)
                    loaded[at].append(server.memory_mib())
                finally:
                    server.stop()
        return [
            *_figures("start to the first answer", starts, "s"),
            *_figures("memory (PSS of all its processes) after the start", idle, "MiB"),
            *_figures("memory after a load", loaded, "MiB"),
            *_figures("queries a second in that load", rates, ""),
        ]

    def _knee(self, server: Server) -> Outcome:
        return dnsperf.knee(self._namespace, server.address, self._questions, self._seconds)

    def _each(self, what: Sequence[T], measure: Callable[[T], Outcome]) -> list[list[Outcome]]:
        """Measure all of them in turns."""
        found: list[list[Outcome]] = [[] for _ in what]
        for _ in range(self._runs):
            for one, outcomes in zip(what, found, strict=True):
                outcomes.append(measure(one))
        return found

    def _latencies(self, share: int, rates: Sequence[int]) -> Iterator[Figure]:
        """Both at a share of their own knee, and kproxy at CoreDNS's rate, which is what the ratio is of."""
        ours, theirs = self._pair
        asked = [(ours, rates[0]), (theirs, rates[1]), (ours, rates[1])]
        at = self._each(
            asked,
            lambda one: dnsperf.at_rate(self._namespace, one[0].address, self._questions, self._seconds, one[1]),
        )
        names = (f"kproxy at {share} % of its knee", f"CoreDNS at {share} % of its knee", "kproxy at that rate")
        for name, of, peer in zip(names, at, ([], [], at[1]), strict=True):
            # As many as were asked for, or fewer where the server or dnsperf is at its limit.
            reached, lost = statistics.median(one.rate for one in of), sum(one.lost for one in of)
            title = f"{name}, {reached:.0f} a second, {lost} lost"
            medians, p99s = [one.median_ms for one in of], [one.p99_ms for one in of]
            yield Figure(f"{title}: median", medians, "ms", peer=[one.median_ms for one in peer])
            yield Figure(f"{title}: p99", p99s, "ms", peer=[one.p99_ms for one in peer])

    def _changes(self) -> Iterator[Figure]:
        """How soon an endpoint that changed is in the answers, as a client sees it and as kproxy counts it."""
        changes: list[list[float]] = [[], []]
        for generation in range(1, CHANGES + 1):
            for server, seen in zip(self._pair, changes, strict=True):
                seen.append(_change(self._control, server, generation, len(changes[0])))
        yield from _figures("a changed endpoint in the answer, after the API server's word", changes, "ms")
        yield from _figures("the same: p99", [[dnsperf.percentile(of, 99)] for of in changes], "ms")
        time.sleep(1.5)  # until the workers have told
        count, bound_ms = self._pair[0].slowest_change_ms()
        yield Figure(
            f"kproxy: 99 % of {count} changes in the answers after their watch event, at most", [bound_ms], "ms"
        )


def _pair_of_lists() -> tuple[list[float], list[float]]:
    return [], []


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
