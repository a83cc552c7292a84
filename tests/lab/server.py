#!/usr/bin/env python3
"""The answering server: says who it is, whom it saw, and on which address and port it was reached.

One process listens in many namespaces (a socket stays in the namespace it was made in), which is what makes a cluster
of a dozen hosts start fast on a slow machine. It imports nothing but the standard library and runs as a script.

Commands arrive as JSON lines on standard input, one answer line each:
    {"listen": [{"who": "a1", "netns": "/run/netns/x", "family": "ipv4", "protocol": "tcp", "port": 8080}, ...]}
    {"close": {"who": "a1"}}                      stop listening there; open connections end
and the end of standard input ends the server. To a client it answers, after the first bytes it gets:
    TCP, SCTP  one JSON line per line received, for as long as the connection stays open;
               to "GET ..." one HTTP response, so that curl works
    UDP        one JSON datagram per datagram, but none to "only NAME..." when its own name is not among them
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import selectors
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

CLONE_NEWNET = 0x40000000
IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO = 8, 49, 50
IPPROTO_SCTP = 132
FAMILY = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
WILDCARD = {"ipv4": "0.0.0.0", "ipv6": "::"}
TELL_DESTINATION = {"ipv4": (socket.IPPROTO_IP, IP_PKTINFO), "ipv6": (socket.IPPROTO_IPV6, IPV6_RECVPKTINFO)}

Ready = Callable[[], None]
_libc = ctypes.CDLL(None, use_errno=True)


class Server:
    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.open: dict[socket.socket, str] = {}
        self.commands = b""

    def run(self) -> None:
        os.set_blocking(0, False)
        self.selector.register(0, selectors.EVENT_READ, self._read_commands)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == 0 or key.fileobj in self.open:
                    key.data()

    def _read_commands(self) -> None:
        data = os.read(0, 65536)
        if not data:
            sys.exit(0)
        *lines, self.commands = (self.commands + data).split(b"\n")
        for line in lines:
            answer = self._obey(json.loads(line))
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()

    def _obey(self, command: dict[str, Any]) -> dict[str, Any]:
        if "close" in command:
            who = command["close"]["who"]
            for sock in [sock for sock, owner in self.open.items() if owner == who]:
                self._forget(sock)
            return {"closed": who}
        opened, errors = 0, []
        for wanted in command["listen"]:
            try:
                self._listen(**wanted)
                opened += 1
            except OSError as error:
                errors.append(f"{wanted['who']} {wanted['protocol']} {wanted['port']}: {error}")
        return {"listening": opened, "errors": errors}

    def _listen(self, who: str, netns: str, family: str, protocol: str, port: int) -> None:
        datagram = protocol == "udp"
        with _inside(netns):
            sock = socket.socket(
                FAMILY[family],
                socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM,
                IPPROTO_SCTP if protocol == "sctp" else 0,
            )
        if family == "ipv6":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if datagram:
            sock.setsockopt(*TELL_DESTINATION[family], 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((WILDCARD[family], port))
        sock.setblocking(False)
        if datagram:
            self._watch(sock, who, lambda: self._datagram(sock, who, family, port))
        else:
            sock.listen(1024)
            self._watch(sock, who, lambda: self._accept(sock, who, protocol))

    def _watch(self, sock: socket.socket, who: str, ready: Ready) -> None:
        self.open[sock] = who
        self.selector.register(sock, selectors.EVENT_READ, ready)

    def _forget(self, sock: socket.socket) -> None:
        self.selector.unregister(sock)
        del self.open[sock]
        sock.close()

    def _accept(self, listener: socket.socket, who: str, protocol: str) -> None:
        for _ in range(64):
            try:
                sock, peer = listener.accept()
                local = sock.getsockname()
            except OSError:
                return
            sock.setblocking(False)
            identity = {
                "who": who,
                "protocol": protocol,
                "seen": peer[0],
                "seen_port": peer[1],
                "at": local[0],
                "at_port": local[1],
            }
            self._watch(sock, who, lambda sock=sock, identity=identity: self._stream(sock, identity))  # type: ignore[misc]

    def _stream(self, sock: socket.socket, identity: dict[str, Any]) -> None:
        try:
            data = sock.recv(65536)
            if not data:
                self._forget(sock)
            elif data.startswith(b"GET "):
                body = json.dumps(identity) + "\n"
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                sock.send(f"{head}Connection: close\r\n\r\n{body}".encode())
                self._forget(sock)
            else:
                for line in data.splitlines():
                    answer = identity | {"echo": line.decode(errors="replace")}
                    sock.send(json.dumps(answer).encode() + b"\n")
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR):
                self._forget(sock)

    def _datagram(self, sock: socket.socket, who: str, family: str, port: int) -> None:
        for _ in range(64):
            try:
                data, ancillary, _, peer = sock.recvmsg(2048, 256)
            except OSError:
                return
            words = data.split()
            if words[:1] == [b"only"] and who.encode() not in words[1:]:
                continue
            at, reply_from = _reached_at(ancillary, family)
            answer = {
                "who": who,
                "protocol": "udp",
                "seen": peer[0],
                "seen_port": peer[1],
                "at": at,
                "at_port": port,
                "echo": data.decode(errors="replace"),
            }
            try:
                sock.sendmsg([json.dumps(answer).encode()], reply_from, 0, peer)
            except OSError as error:
                sys.stderr.write(f"{who}: no answer to {peer}: {error}\n")


def _reached_at(ancillary: list[tuple[int, int, bytes]], family: str) -> tuple[str, list[tuple[int, int, bytes]]]:
    """The address a datagram was sent to, and the control message that makes the answer leave from it."""
    for level, kind, data in ancillary:
        if family == "ipv4" and (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            address = data[8:12]
            return socket.inet_ntop(socket.AF_INET, address), [(level, kind, struct.pack("@i4s4s", 0, address, b""))]
        if family == "ipv6" and (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
            address = data[:16]
            return socket.inet_ntop(socket.AF_INET6, address), [(level, kind, struct.pack("@16si", address, 0))]
    return "", []


class _inside:  # noqa: N801 (used like a function)
    """In a namespace for the length of a block."""

    def __init__(self, netns: str) -> None:
        self.netns = netns

    def __enter__(self) -> None:
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        door = os.open(self.netns, os.O_RDONLY)
        self._enter(door)
        os.close(door)

    def __exit__(self, *exc: object) -> None:
        self._enter(self.home)
        os.close(self.home)

    def _enter(self, fd: int) -> None:
        if _libc.setns(fd, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"enter {self.netns}: {os.strerror(number)}")


if __name__ == "__main__":
    Server().run()
