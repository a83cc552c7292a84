"""The wire, octet by octet, at the responder."""

from __future__ import annotations

import random

import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.dns.codes import TC
from kproxy.dns.forward import Forward
from kproxy.dns.query import Malformed, read_query
from kproxy.dns.responder import Responder
from kproxy.dns.upstream import Question, Response, read_response
from tests.dns.fixtures import make_zone
from tests.dns.outside import answer, complete
from tests.dns.wire_rows import WEB, WIRE_CLUSTER, WireRow, fuzz_seeds, mutated, over_each_transport, query

LIMITS = {False: 1232, True: 65535}


def make_responders() -> dict[bool, Responder]:
    zone = make_zone("all")
    zone.apply(WIRE_CLUSTER)
    return {tcp: Responder(zone, tcp=tcp, recursion=True) for tcp in (False, True)}


RESPONDERS = make_responders()


@pytest.mark.parametrize(("row", "tcp"), over_each_transport(), ids=str)
def test_row(row: WireRow, tcp: bool) -> None:
    for _ in range(2):  # an answer may come from those that were kept
        reply = RESPONDERS[tcp].answer(row.message)
        assert not isinstance(reply, Forward)
        row.check(reply)


def test_20_the_question_comes_back_as_it_was_spelt() -> None:
    chance = random.Random(20)
    for _ in range(1000):
        name = "".join(chance.choice((letter.lower(), letter.upper())) for letter in WEB)
        message = query(name)
        reply = RESPONDERS[False].answer(message)
        assert isinstance(reply, bytes)
        assert reply[12 : len(message)] == message[12:]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_25_mutated_queries(tcp: bool) -> None:
    """Nothing is raised; what comes back is a reply to that query, can be read, and is no longer than it may be."""
    responder, replies, forwards = RESPONDERS[tcp], 0, 0
    for message in mutated(fuzz_seeds(), 10_000, seed=25):
        reply = responder.answer(message)
        if isinstance(reply, Forward):
            forwards += 1
            reply = reply.fail(22)
        if reply is None:
            assert len(message) < 12 or message[2] & 0x80
            continue
        replies += 1
        assert len(reply) <= LIMITS[tcp]
        assert (reply[:2], reply[2] & 0x80) == (message[:2], 0x80)
        dns.message.from_wire(reply)
    assert replies > 8000
    assert forwards > 100


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=80))
def test_any_octets(message: bytes) -> None:
    reply = RESPONDERS[False].answer(message)
    if isinstance(reply, bytes):
        dns.message.from_wire(reply)


def test_every_prefix_of_a_query_is_refused_or_ignored() -> None:
    message = query(WEB, use_edns=0, payload=1232, want_dnssec=True)
    for length in range(len(message)):
        reply = RESPONDERS[False].answer(message[:length])
        assert reply is None if length < 12 else reply is not None and reply[3] & 15 == 1  # type: ignore[index]


def test_mutated_replies_of_upstreams() -> None:
    """Every one is read or refused as `Malformed`, and what is read makes a reply that can be read."""
    names = (b"\3www\7example\3org\0", b"\6target\7example\0")
    questions = [Question(name, qtype) for name in names for qtype in (1, 28)]
    seeds = [answer(dns.message.from_wire(question.message(7))).to_wire() for question in questions]
    client = read_query(query("www.example.org.", use_edns=0, payload=512))
    good = 0
    for message in mutated(seeds, 10_000, seed=26):
        for question in questions:
            try:
                response = read_response(message, question)
            except Malformed:
                continue
            good += 1
            response.ttl()
            assert not isinstance(client, bytes | None)
            dns.message.from_wire(Forward(client, question.name).complete(response), continue_on_error=True)
    assert good > 1000


def test_an_upstreams_reply_is_cut_for_the_client() -> None:
    message = query("www.example.org.")
    forward = RESPONDERS[False].answer(message)
    assert isinstance(forward, Forward)
    assert not int.from_bytes(complete(forward)[2:4]) & TC
    upstream = answer(dns.message.from_wire(forward.question.message(7)))
    records = read_response(upstream.to_wire(), forward.question).answer
    reply = forward.complete(Response(0, False, records * 30, (), ()))
    assert len(reply) <= 512
    assert int.from_bytes(reply[2:4]) & TC
    assert sum(len(rrset) for rrset in dns.message.from_wire(reply).answer) == 2  # dnspython takes equal ones for one
    assert int.from_bytes(reply[6:8]) == (512 - len(message)) // 16
