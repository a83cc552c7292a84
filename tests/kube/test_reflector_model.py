"""Any sequence of changes on the server and faults on the way ends in the objects that the server holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.kube.reflector import Reflector
from kproxy.kube.requests import Purpose, Timing
from kproxy.kube.resources import SERVICES
from kproxy.kube.wire import Service
from tests.kube import texts
from tests.kube.api_model import ApiModel
from tests.kube.texts import bookmark, line

if TYPE_CHECKING:
    from kproxy.kube.wire import KubeObject

TIMING = Timing(page_limit=2)
#: Half of the first step of the delays between lists: the shortest there is.
SHORTEST_BETWEEN_LISTS = TIMING.lists.first_s / 2

CONNECTION_FAULTS = ("refused", "unreachable", "cut", "stall", "half", "429", "503", "500", "401")
STREAM_FAULTS = ("cut", "stall", "half", "end", "410 in it", "500 in it", "garbled", "bookmark")


class World:
    """A server, a network and a reflector, with a clock that only this moves."""

    def __init__(self, *, streams_lists: bool) -> None:
        self.now = 1000.0
        self.server = ApiModel(streams_lists=streams_lists)
        self.reflector = Reflector(SERVICES, lambda: 0.5, TIMING)
        self.told: dict[str, KubeObject] = {}
        self.cursor = 0
        self.list_times: list[float] = []

    def step(self, fault: str = "") -> None:
        """Let one thing happen: a request, or what an open watch gets."""
        if self.reflector.idle:
            self._request(fault)
        else:
            body, self.cursor = self.server.news(self.cursor)
            self._open_stream(body, fault)
        self._take()

    def _request(self, fault: str) -> None:
        reflector = self.reflector
        self.now = max(self.now, reflector.start_at)
        request = reflector.poll(self.now)
        assert request is not None
        answer = self.server.answer(dict(request.query))
        if fault == "refused":
            return reflector.lost(self.now, "connection refused")
        if fault == "unreachable":
            return self._expire()
        reflector.connected(self.now)
        # At the door, or because this is no way to ask for a list.
        refused = fault in ("401", "429", "503") or answer.status == 422
        if request.purpose is not Purpose.WATCH and "continue" not in dict(request.query) and not refused:
            self.list_times.append(self.now)
        if fault.isdigit():
            answer.status, answer.open = int(fault), False
            answer.body = json.dumps(texts.status(int(fault), "Busy", "not now")).encode()
        reflector.response(self.now, answer.status, "3" if fault == "429" else "")
        if answer.open:
            self.cursor = answer.cursor
            return self._open_stream(answer.body, "" if fault.isdigit() else fault)
        if fault in ("cut", "stall", "half"):
            return self._broken(answer.body, fault)
        reflector.data(self.now, answer.body)
        reflector.end(self.now)
        return None

    def _open_stream(self, body: bytes, fault: str) -> None:
        reflector = self.reflector
        match fault:
            case "cut" | "stall" | "half":
                return self._broken(body, fault)
            case "410 in it":
                body += line("ERROR", texts.EXPIRED)
            case "500 in it":
                body += line("ERROR", texts.status(500, "InternalError"))
            case "garbled":
                body += b'{"type":"ADDED","object"\n'
            case "bookmark":
                body += bookmark(self.cursor)
        for start in range(0, len(body), 101):
            reflector.data(self.now, body[start : start + 101])
            if reflector.idle:
                return None
        if fault == "end":
            reflector.end(self.now)
        return None

    def _broken(self, body: bytes, fault: str) -> None:
        part = body[: len(body) * 2 // 3]
        if part:
            self.reflector.data(self.now, part)
        if self.reflector.idle:
            return
        if fault == "stall":
            self._expire()
        elif fault == "half":
            self.reflector.end(self.now)
        else:
            self.reflector.lost(self.now, "connection reset by peer")

    def _expire(self) -> None:
        assert self.reflector.deadline > self.now
        self.now = self.reflector.deadline
        self.reflector.expired(self.now)

    def _take(self) -> None:
        for change in self.reflector.take():
            assert self.told.get(change.key) != change.obj, "a change that is none"
            if change.obj is None:
                del self.told[change.key]
            else:
                self.told[change.key] = change.obj

    def settle(self) -> None:
        """No more faults: let everything arrive."""
        for _ in range(40):
            self.step()

    def check(self) -> None:
        server = self.server.objects
        good = {f"default/{name}": obj for name, obj in server.items() if obj["spec"]["ports"][0]["port"] == 80}
        bad = {f"default/{name}" for name in server} - good.keys()
        assert self.reflector.synced
        assert {str(problem).split(":")[0] for problem in self.reflector.problems} == {f"Service {key}" for key in bad}
        assert good.keys() <= self.told.keys() <= good.keys() | bad
        for key, obj in good.items():
            held = self.told[key]
            assert isinstance(held, Service)
            assert held.spec.cluster_ip == obj["spec"]["clusterIP"]
        gaps = [later - earlier for earlier, later in zip(self.list_times, self.list_times[1:], strict=False)]
        assert all(gap >= SHORTEST_BETWEEN_LISTS for gap in gaps)


NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
IPS = st.sampled_from(["10.96.0.1", "10.96.0.2", "10.96.0.3"])
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, IPS),
        st.tuples(st.just("delete"), NAMES),
        st.tuples(st.just("bad"), NAMES),
    ),
    max_size=4,
)
FAULTS = st.lists(st.sampled_from(("", *CONNECTION_FAULTS, *STREAM_FAULTS)), max_size=5)
Round = tuple[list[tuple[str, ...]], bool, list[str], float, bool]
ROUNDS: st.SearchStrategy[list[Round]] = st.lists(
    # what changes, whether the server forgets its history, what fails, how long nothing happens, and whether
    # everything arrives before the next round
    st.tuples(CHANGES, st.booleans(), FAULTS, st.sampled_from([0.0, 5.0, 100.0]), st.booleans()),
    min_size=3,
    max_size=6,
)


def change(server: ApiModel, step: tuple[str, ...]) -> None:
    match step:
        case ("put", name, ip):
            server.put(name, ip)
        case ("bad", name):
            server.put(name, "10.96.0.9", bad=True)
        case ("delete", name):
            server.delete(name)


@settings(max_examples=300)
@given(ROUNDS, st.booleans())
def test_it_ends_with_what_the_server_holds(rounds: list[Round], streams_lists: bool) -> None:
    world = World(streams_lists=streams_lists)
    for name in ("a", "b", "c", "d"):
        world.server.put(name, "10.96.0.1")
    for changes, compacts, faults, seconds, settles in rounds:
        for step in changes:
            change(world.server, step)
        if compacts:
            world.server.compact()
        for fault in faults:
            world.step(fault)
        world.now += seconds
        if settles:
            world.settle()
            world.check()
    world.settle()
    world.check()
