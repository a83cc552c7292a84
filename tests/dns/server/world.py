"""A DNS server outside the cluster, for the forwarder: real sockets, written with dnspython. What it does is in names.

`www.example.` and all that is not mentioned has 192.0.2.80; `big.` does not fit into a datagram, `cut.` not even into
what TCP takes; `silent.` gets no answer, `slow.` one after a moment; `fail.` is SERVFAIL, `none.` does not exist;
`brief.` has a TTL of one second; `target.` is 192.0.2.4, for 5 s. Nothing is below `corp.example.`
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

if TYPE_CHECKING:
    from tests.lab import Namespace

SLOW_S = 0.4
EMPTY = ".corp.example."
BIG = [f"192.0.2.{number}" for number in range(1, 201)]
SOA = "ns.example. hostmaster.example. 1 7200 1800 86400 60"


class World:
    """Serves on one address and port 53 in a namespace, from a thread. `asked` are the names, in order."""

    def __init__(self, namespace: Namespace, address: str) -> None:
        self.address = address
        self.asked: list[str] = []
        self.ports: set[int] = set()
        self.ids: list[int] = []
        self._udp = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((address, 53))
        self._tcp = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._tcp.bind((address, 53))
        self._tcp.listen()
        self._late: list[tuple[float, bytes, tuple[str, int]]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="world")

    def __enter__(self) -> World:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._udp.close()
        self._tcp.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in (self._udp, self._tcp):
                selector.register(sock, selectors.EVENT_READ)
            while not self._stop.is_set():
                for key, _ in selector.select(0.02):
                    if key.fileobj is self._udp:
                        self._datagram()
                    else:
                        self._connection()
                now = time.monotonic()
                for late in [late for late in self._late if late[0] <= now]:
                    self._late.remove(late)
                    self._udp.sendto(late[1], late[2])

    def _datagram(self) -> None:
        data, client = self._udp.recvfrom(4096)
        self.ports.add(client[1])
        reply = self._reply(data, tcp=False)
        if reply is None:
            return
        name = self.asked[-1]
        self._late.append((time.monotonic() + (SLOW_S if name.startswith("slow.") else 0), reply, client))

    def _connection(self) -> None:
        connection, _ = self._tcp.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(2)
            length = int.from_bytes(connection.recv(2))
            reply = self._reply(connection.recv(length), tcp=True)
            if reply is not None:
                connection.sendall(len(reply).to_bytes(2) + reply)

    def _reply(self, data: bytes, *, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text()
        self.asked.append(name)
        self.ids.append(query.id)
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        kind, ttl, ips = name.partition(".")[0], 300, ["192.0.2.80"]
        match kind:
            case "silent":
                return None
            case "fail":
                reply.set_rcode(dns.rcode.SERVFAIL)
                return reply.to_wire()
            case _ if kind == "none" or name.endswith(EMPTY):
                reply.set_rcode(dns.rcode.NXDOMAIN)
                reply.authority.append(dns.rrset.from_text("example.", 60, "IN", "SOA", SOA))
                return reply.to_wire()
            case "big" if not tcp:
                reply.flags |= dns.flags.TC
                return reply.to_wire()
            case "big":
                ips = BIG
            case "cut":
                reply.flags |= dns.flags.TC
            case "brief":
                ttl = 1
            case "target":
                ttl, ips = 5, ["192.0.2.4"]
        if question.rdtype == dns.rdatatype.A:
            reply.answer.append(dns.rrset.from_text(question.name, ttl, "IN", "A", *ips))
        return reply.to_wire(max_size=65535)
