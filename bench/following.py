"""From a write to the API until the kernel sends connections there: packets decide, whatever the mode or the program.

While EndpointSlices are written at a steady rate, SYNs go to the changed Services; a change has arrived when one of
them comes out at an endpoint that is new.
"""

from __future__ import annotations

import itertools
import select
import socket
import threading
import time
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from tests.controlplane.bulk import FIRST_CLUSTER_IP, endpoint_slice, slices_path
from tests.lab.rawpacket import SYN, TCP, Segment

if TYPE_CHECKING:
    from bench.api_lab import ApiLab, Node
    from tests.controlplane import Api

PER_SECOND, SECONDS = 100, 10
WRITERS = 4
PATIENCE_S = 120.0
FIRST_NEW_ENDPOINT = IPv4Address("10.192.0.0")
PORT = 80

_numbers = itertools.count()
"""Of changes, so that no two of a lab have an endpoint in common."""


@dataclass(slots=True)
class _Change:
    vip: str
    written: float
    next_probe: float


def follow(lab: ApiLab, node: Node) -> list[float]:
    """Make changes for some seconds; return how long each took to reach the kernel, in seconds, in no order."""
    waiting: dict[bytes, _Change] = {}
    lock = threading.Lock()
    begin = time.monotonic() + 1.0
    lanes = [_lane(lab, waiting, lock, begin, lane) for lane in range(WRITERS)]
    for lane in lanes:
        lane.start()
    try:
        return _probe(node, waiting, lock, lanes)
    finally:
        for lane in lanes:
            lane.join()


def _lane(
    lab: ApiLab, waiting: dict[bytes, _Change], lock: threading.Lock, begin: float, lane: int
) -> threading.Thread:
    """Every WRITERS-th change, at its time."""

    def write() -> None:
        with lab.plane.api() as api:
            api.get("/version").checked()  # the connection stands before the first change
            for step in range(lane, PER_SECOND * SECONDS, WRITERS):
                time.sleep(max(0.0, begin + step / PER_SECOND - time.monotonic()))
                _write(lab, api, step % lab.services, waiting, lock)

    return threading.Thread(target=write, name=f"bench-writer-{lane}")


def _write(lab: ApiLab, api: Api, service: int, waiting: dict[bytes, _Change], lock: threading.Lock) -> None:
    body = endpoint_slice(service, lab.endpoints)
    first = FIRST_NEW_ENDPOINT + next(_numbers) * lab.endpoints
    for index, endpoint in enumerate(body["endpoints"]):
        endpoint["addresses"] = [str(first + index)]
    now = time.monotonic()
    change = _Change(str(FIRST_CLUSTER_IP + service), now, now)
    with lock:
        waiting.update({(first + index).packed: change for index in range(lab.endpoints)})
    api.request("PUT", f"{slices_path()}/{body['metadata']['name']}", body).checked()


def _probe(
    node: Node, waiting: dict[bytes, _Change], lock: threading.Lock, lanes: list[threading.Thread]
) -> list[float]:
    ports = itertools.cycle(range(10000, 60000))
    sender = node.namespace.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    receiver = node.pods.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    took: list[float] = []
    deadline = time.monotonic() + SECONDS + PATIENCE_S
    with sender, receiver:
        receiver.setblocking(False)
        while waiting or any(lane.is_alive() for lane in lanes):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(waiting)} changes never reached the kernel")
            _take_arrivals(receiver, waiting, lock, took)
            now = time.monotonic()
            with lock:
                due = {id(change): change for change in waiting.values() if change.next_probe <= now}
            for change in due.values():
                syn = Segment(node.address, change.vip, next(ports), PORT, TCP, SYN)
                sender.sendto(syn.packet(), (change.vip, 0))
                # What takes long is looked at less often: a resolution of 5 %.
                change.next_probe = now + max(0.001, (now - change.written) / 20)
            select.select([receiver], [], [], 0.001)
    return took


def _take_arrivals(
    receiver: socket.socket, waiting: dict[bytes, _Change], lock: threading.Lock, took: list[float]
) -> None:
    while True:
        try:
            packet = receiver.recv(256)
        except BlockingIOError:
            return
        change = waiting.get(packet[16:20])
        if change is not None:
            took.append(time.monotonic() - change.written)
            with lock:
                for address in [address for address, other in waiting.items() if other is change]:
                    del waiting[address]
