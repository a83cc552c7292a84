"""The client: opens many connections from any host at once and says what became of each.

All connections of all probes are made from one thread (a socket belongs to the namespace it was made in, so no process
per host is needed); hundreds of flows are in the air at the same time, and the time-outs of the dropped ones overlap.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import itertools
import json
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from tests.lab.namespace import Doorway
from tests.lab.run import scaled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.lab.namespace import Namespace

Protocol = Literal["tcp", "udp", "sctp"]

KIND: dict[Protocol, tuple[int, int]] = {
    "tcp": (socket.SOCK_STREAM, 0),
    "udp": (socket.SOCK_DGRAM, 0),
    "sctp": (socket.SOCK_STREAM, 132),
}
#: IP_RECVERR and IPV6_RECVERR: without them SCTP, unlike TCP, goes on asking after an ICMP port unreachable.
REPORT_ICMP: dict[int, tuple[int, int]] = {
    socket.AF_INET: (socket.IPPROTO_IP, 11),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 25),
}
#: Closing with this sends a reset: neither side keeps a TIME_WAIT that a later connection could run into.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
AT_ONCE = 512
#: Where the connections of probes come from, one port after the other: two that are under way never share one. The
#: kernel would let them, to different addresses, and IPVS then mixes them up (tests/flows/test_ipvs_ports.py).
PORTS = range(33000, 61000)


class Outcome(enum.Enum):
    ANSWERED = "answered"
    #: A reset, an SCTP ABORT or an ICMP port unreachable came at once.
    REFUSED = "refused"
    #: Nothing came back within the time-out.
    TIMEOUT = "timed out"
    #: An ICMP error other than port unreachable, or no route.
    UNREACHABLE = "unreachable"
    #: The connection opened, and then no answer came.
    SILENT = "connected, then silence"
    #: The connection opened, and was then reset or closed.
    BROKEN = "connected, then broken"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one connection. All but `outcome` are empty unless it was answered.

    `seen` is the source address the server saw, `at`:`at_port` where it was reached, `who` its name.
    """

    outcome: Outcome
    who: str = ""
    seen: str = ""
    seen_port: int = 0
    at: str = ""
    at_port: int = 0
    detail: str = ""

    @classmethod
    def parse(cls, data: bytes) -> Answer:
        said: dict[str, Any] = json.loads(data)
        keys = ("who", "seen", "seen_port", "at", "at_port", "echo")
        return cls(Outcome.ANSWERED, *(said[key] for key in keys))

    def __str__(self) -> str:
        if self.outcome is Outcome.ANSWERED:
            return f"{self.who} at {self.at} port {self.at_port}, which saw {self.seen}"
        return f"{self.outcome.value} {self.detail}".strip()


@dataclass(frozen=True, slots=True)
class Probe:
    """`count` connections from a host to an address and port, at most `parallel` of them at the same time.

    `source_address` and `source_port` bind the client; None leaves the choice to the kernel. `timeout_s` is for each
    connection (not yet scaled). After `give_up_after` connections without an answer no more are opened.
    """

    source: str
    address: str
    port: int
    protocol: Protocol = "tcp"
    count: int = 1
    source_address: str | None = None
    source_port: int = 0
    timeout_s: float = 3.0
    parallel: int = 6
    give_up_after: int = 3

    @property
    def family(self) -> int:
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET


@dataclass(frozen=True, slots=True)
class Report:
    """The answers to one probe, in the order in which they came."""

    probe: Probe
    answers: tuple[Answer, ...] = field(default=())

    @property
    def who(self) -> set[str]:
        """The names of all that answered."""
        return {answer.who for answer in self.answers if answer.outcome is Outcome.ANSWERED}

    @property
    def outcomes(self) -> set[Outcome]:
        return {answer.outcome for answer in self.answers}

    def seen_by(self, who: str) -> set[str]:
        """The source addresses that one server saw."""
        return {answer.seen for answer in self.answers if answer.who == who}

    def share(self) -> Counter[str]:
        """How many connections each server answered."""
        return Counter(answer.who for answer in self.answers if answer.who)

    def __str__(self) -> str:
        lines = Counter(str(answer) for answer in self.answers)
        return "\n".join(f"{number:4} x {line}" for line, number in sorted(lines.items())) or "nothing was sent"


class Prober:
    """Runs probes in a thread of its own; its methods may be called from any thread."""

    def __init__(self, namespaces: Mapping[str, Namespace]) -> None:
        self._namespaces = namespaces
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lab-prober", daemon=True)
        self._thread.start()
        self._doorway = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._ports = itertools.cycle(PORTS)

    def run(self, probes: Iterable[Probe]) -> list[Report]:
        """Run all probes at the same time; reports in the order of the probes. RuntimeError when the lab is gone."""
        if self._loop.is_closed():
            raise RuntimeError("the lab is gone, so nothing can be probed")
        return asyncio.run_coroutine_threadsafe(self._all(list(probes)), self._loop).result()

    def close(self) -> None:
        """Stop. Whoever still waits in `run()` gets a CancelledError."""
        asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._doorway.close()
        self._loop.close()

    async def _start(self) -> Doorway:
        return Doorway()

    async def _cancel(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _all(self, probes: list[Probe]) -> list[Report]:
        return await asyncio.gather(*(self._probe(probe) for probe in probes))

    async def _probe(self, probe: Probe) -> Report:
        answers: list[Answer] = []
        left = probe.count

        async def lane() -> None:
            nonlocal left
            while left > 0 and sum(a.outcome is not Outcome.ANSWERED for a in answers) < probe.give_up_after:
                left -= 1
                async with self._limit:
                    answers.append(await self._connection(probe))

        await asyncio.gather(*(lane() for _ in range(min(probe.count, probe.parallel))))
        return Report(probe, tuple(answers))

    async def _connection(self, probe: Probe) -> Answer:
        try:
            with self._doorway.inside(self._namespaces[probe.source]):
                sock = socket.socket(probe.family, *KIND[probe.protocol])
        except OSError as error:
            return Answer(Outcome.UNREACHABLE, detail=str(error))
        with sock:
            sock.setblocking(False)
            if probe.protocol != "udp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            if probe.protocol == "sctp":
                sock.setsockopt(*REPORT_ICMP[probe.family], 1)
            opened = False
            try:
                if probe.source_port:
                    sock.bind((probe.source_address or "", probe.source_port))
                else:
                    self._bind(sock, probe.source_address or "")
                async with asyncio.timeout(scaled(probe.timeout_s)):
                    await self._loop.sock_connect(sock, (probe.address, probe.port))
                    opened = probe.protocol != "udp"
                    await self._send(sock, datagram=probe.protocol == "udp")
                    data = await self._loop.sock_recv(sock, 4096)
            except OSError as error:
                return failure(error, opened=opened)
            return Answer.parse(data) if data else Answer(Outcome.BROKEN, detail="closed without an answer")

    def _bind(self, sock: socket.socket, address: str) -> None:
        """Bind to the next port that is free."""
        for port in itertools.islice(self._ports, len(PORTS)):
            try:
                return sock.bind((address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        raise OSError(errno.EADDRINUSE, "no port is free")

    async def _send(self, sock: socket.socket, *, datagram: bool) -> None:
        try:
            await self._loop.sock_sendall(sock, b"hello\n")
        except PermissionError:
            # A rule in OUTPUT took the datagram. Whether it was rejected or dropped, receiving will tell.
            if not datagram:
                raise


def failure(error: OSError, *, opened: bool) -> Answer:
    """The outcome that an error of a socket stands for; `opened` says whether the connection had been established."""
    if isinstance(error, TimeoutError):
        return Answer(Outcome.SILENT if opened else Outcome.TIMEOUT)
    if opened:
        return Answer(Outcome.BROKEN, detail=str(error))
    if isinstance(error, ConnectionRefusedError):
        return Answer(Outcome.REFUSED)
    return Answer(Outcome.UNREACHABLE, detail=str(error))


def many_sources(probe: Probe, sources: Iterable[str]) -> list[Probe]:
    """The same probe once from each source address."""
    return [replace(probe, source_address=source) for source in sources]
