"""Real datagrams, received and sent in batches."""

from __future__ import annotations

import socket

import pytest

from kproxy.dns.server.batch import SLOTS, DatagramBatch

PLACES = [
    (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
    (socket.AF_INET, "0.0.0.0", "127.0.0.7"),
    (socket.AF_INET6, "::1", "::1"),
    (socket.AF_INET6, "::", "::1"),
]


class Talk:
    """A batch on a socket, and clients of it."""

    def __init__(self, family: socket.AddressFamily, bound: str, to: str, clients: int) -> None:
        self.server = socket.socket(family, socket.SOCK_DGRAM)
        self.server.bind((bound, 0))
        self.batch = DatagramBatch(self.server)
        self.clients = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(clients)]
        for client in self.clients:
            # A connected socket takes only what comes from the address that was asked.
            client.connect((to, self.server.getsockname()[1]))
            client.settimeout(5)

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *exc: object) -> None:
        for sock in (self.server, *self.clients):
            sock.close()


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[1])
def test_each_gets_its_own_reply_from_the_address_that_was_asked(
    place: tuple[socket.AddressFamily, str, str],
) -> None:
    with Talk(*place, clients=5) as talk:
        for number, client in enumerate(talk.clients):
            client.send(b"q%d" % number * (number + 1))
        queries = talk.batch.receive()
        assert queries == [b"q%d" % number * (number + 1) for number in range(5)]
        assert talk.batch.send([query.upper() for query in queries]) == 5
        assert [client.recv(100) for client in talk.clients] == [query.upper() for query in queries]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[1])
def test_some_now_and_one_later(place: tuple[socket.AddressFamily, str, str]) -> None:
    with Talk(*place, clients=4) as talk:
        for number, client in enumerate(talk.clients):
            client.send(b"%d" % number)
        talk.batch.receive()
        peer = talk.batch.peer(2)
        assert talk.batch.peer_address(peer) == talk.clients[0].getsockname()[0]
        assert talk.batch.send([b"a", b"b", b"d"], [0, 1, 3]) == 3
        talk.clients[1].send(b"again")
        assert talk.batch.receive() == [b"again"]
        assert talk.batch.send([b"bb"]) == 1
        assert talk.batch.send_to(peer, b"c") == 1
        assert [client.recv(100) for client in talk.clients] == [b"a", b"b", b"c", b"d"]
        assert talk.clients[1].recv(100) == b"bb"


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[1])
def test_one_from_before_while_a_batch_is_answered(place: tuple[socket.AddressFamily, str, str]) -> None:
    with Talk(*place, clients=3) as talk:
        talk.clients[2].send(b"before")
        talk.batch.receive()
        peer = talk.batch.peer(0)
        for client in talk.clients[:2]:
            client.send(b"?")
        talk.batch.receive()
        assert talk.batch.send_to(peer, b"late") == 1
        assert talk.batch.send([b"a", b"b"]) == 2
        assert [client.recv(100) for client in talk.clients] == [b"a", b"b", b"late"]


def test_more_than_fit_are_left_for_the_next_time() -> None:
    with Talk(*PLACES[0], clients=1) as talk:
        for number in range(SLOTS + 3):
            talk.clients[0].send(bytes([number]))
        assert [len(talk.batch.receive()) for _ in range(3)] == [SLOTS, 3, 0]


def test_full_replies_in_all_slots() -> None:
    with Talk(*PLACES[0], clients=1) as talk:
        for _ in range(SLOTS):
            talk.clients[0].send(b"?")
        count = len(talk.batch.receive())
        assert talk.batch.send([bytes([number]) * 1232 for number in range(count)]) == count
        assert [talk.clients[0].recv(2000)[:1] for _ in range(count)] == [bytes([number]) for number in range(count)]


def test_a_query_that_is_too_long_is_cut() -> None:
    with Talk(*PLACES[0], clients=1) as talk:
        talk.clients[0].send(bytes(3000))
        assert [len(query) for query in talk.batch.receive()] == [2048]


def test_what_can_not_be_sent_does_not_keep_the_others() -> None:
    with Talk(*PLACES[0], clients=3) as talk:
        for client in talk.clients:
            client.send(b"?")
        talk.batch.receive()
        nobody = bytearray(talk.batch.peer(1))
        nobody[4:8] = b"\xff\xff\xff\xff"  # the broadcast address, to which this socket may not send
        talk.batch._names_view[28:56] = nobody
        assert talk.batch.send([b"a", b"b", b"c"]) == 2
        assert [talk.clients[0].recv(9), talk.clients[2].recv(9)] == [b"a", b"c"]
