"""The state machine that asks other servers: fed with answers and with time, no socket anywhere."""

from __future__ import annotations

from itertools import count

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from kproxy.dns.cache import OutsideCache
from kproxy.dns.exchange import Attempt, ResolverLimits, Upstream
from kproxy.dns.forward import Forward
from kproxy.dns.resolver import Resolver
from kproxy.dns.responder import Responder
from kproxy.dns.zone import Zone
from kproxy.dns.zone_config import ZoneConfig

ONE, TWO = Upstream("192.0.2.1"), Upstream("192.0.2.2")


class Play:
    """A resolver, and what the shell would have done for it."""

    def __init__(self, *upstreams: Upstream, limits: ResolverLimits | None = None) -> None:
        ids = count(1000)
        self.resolver = Resolver(upstreams, OutsideCache(), lambda: next(ids), limits)
        self.responder = Responder(Zone(ZoneConfig()), recursion=True)
        self.now = 0.0
        self.open: dict[int, Attempt] = {}
        self.sent: list[Attempt] = []
        self.replies: dict[str, dns.message.Message] = {}

    def ask(self, name: str = "www.example.com", who: str = "c1", client: str = "10.0.0.1") -> str | None:
        """Ask; return the rcode if the answer is known at once."""
        query = dns.message.make_query(name, "A", use_edns=0, payload=1232)
        forward = self.responder.answer(query.to_wire())
        assert isinstance(forward, Forward)
        reply = self.resolver.ask(forward, who, client, self.now)
        self._carry_out()
        if reply is None:
            return None
        self.replies[who] = dns.message.from_wire(reply)
        return self.rcode(who)

    def wait(self, seconds: float) -> None:
        """Let time pass, and the resolver know whenever it wants to."""
        until = self.now + seconds
        while (when := self.resolver.next_time()) is not None and when <= until:
            self.now = max(self.now, when)
            self.resolver.tick(self.now)
            self._carry_out()
        self.now = until

    def answer(self, attempt: Attempt, *ips: str, rcode: str = "NOERROR", cut: bool = False, id_: int = 0) -> None:
        query = dns.message.from_wire(attempt.message)
        reply = dns.message.make_response(query)
        reply.id ^= id_
        reply.set_rcode(dns.rcode.from_text(rcode))
        if ips:
            reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", *ips))
        if cut:
            reply.flags |= dns.flags.TC
        self.resolver.received(attempt.number, reply.to_wire(max_size=65535), self.now)
        self._carry_out()

    def breaks(self, attempt: Attempt) -> None:
        self.resolver.broke(attempt.number, self.now)
        self._carry_out()

    def rcode(self, who: str = "c1") -> str:
        return dns.rcode.to_text(self.replies[who].rcode())

    def ips(self, who: str = "c1") -> list[str]:
        return sorted(rdata.to_text() for rrset in self.replies[who].answer for rdata in rrset)

    def reasons(self, who: str = "c1") -> list[int]:
        return [int(option.code) for option in self.replies[who].options]

    def _carry_out(self) -> None:
        for order in self.resolver.take_orders():
            if order.attempt is None:
                assert isinstance(order.waiter, str)
                self.replies[order.waiter] = dns.message.from_wire(order.reply)
            elif order.close:
                del self.open[order.attempt.number]
            else:
                self.open[order.attempt.number] = order.attempt
                self.sent.append(order.attempt)


def test_one_question_one_answer() -> None:
    play = Play(ONE, TWO)
    assert play.ask() is None
    (attempt,) = play.sent
    assert (attempt.upstream, attempt.tcp) == (ONE, False)
    play.answer(attempt, "192.0.2.80")
    assert play.ips() == ["192.0.2.80"]
    assert not play.open
    assert play.resolver.next_time() is None
    assert play.resolver.idle


def test_the_second_time_it_is_known() -> None:
    play = Play(ONE)
    play.ask()
    play.answer(play.sent[0], "192.0.2.80")
    play.wait(10)
    assert play.ask(who="c2") == "NOERROR"
    assert play.replies["c2"].answer[0].ttl == 50
    assert len(play.sent) == 1


def test_silence_makes_it_ask_the_next_one_and_the_first_answer_counts() -> None:
    play = Play(ONE, TWO)
    play.ask()
    play.wait(0.49)
    assert [one.upstream for one in play.sent] == [ONE]
    play.wait(0.02)
    assert [one.upstream for one in play.sent] == [ONE, TWO]
    assert play.sent[0].id != play.sent[1].id
    play.answer(play.sent[0], "192.0.2.80")  # late, but good
    assert play.ips() == ["192.0.2.80"]
    assert not play.open


def test_who_was_silent_lately_is_asked_last() -> None:
    play = Play(ONE, TWO)
    play.ask()
    play.wait(0.6)
    play.answer(play.sent[1], "192.0.2.80")
    play.ask("other.example.com", "c2")
    assert play.sent[-1].upstream == TWO
    play.answer(play.sent[-1], "192.0.2.80")
    play.wait(60)
    play.ask("third.example.com", "c3")
    assert play.sent[-1].upstream == ONE  # it gets another chance


def test_a_server_that_is_silent_for_long_is_told_of() -> None:
    play = Play(ONE, TWO)
    for number in range(4):
        play.ask(f"n{number}.example", f"c{number}")
        play.wait(30)
    assert play.resolver.silent() == {ONE, TWO}
    play.ask("n9.example", "c9")
    play.answer(play.sent[-1], "192.0.2.80")
    assert play.resolver.silent() == {TWO}


def test_all_silent_ends_before_the_client_gives_up() -> None:
    play = Play(ONE, TWO)
    play.ask()
    play.wait(4.4)
    assert not play.replies
    play.wait(0.2)
    assert play.rcode() == "SERVFAIL"
    assert play.reasons() == [22]
    assert not play.open
    assert play.ask(who="c2") == "SERVFAIL"  # at once
    assert 4 <= len(play.sent) <= 6


def test_all_refusing_is_known_soon() -> None:
    play = Play(ONE, TWO)
    play.ask()
    for _ in range(20):
        for attempt in list(play.open.values()):
            play.breaks(attempt)
        if play.replies:
            break
        play.wait(0.5)
    assert play.rcode() == "SERVFAIL"
    assert play.reasons() == [23]
    assert play.now <= 2.0
    assert len(play.sent) == 4


def test_a_cut_answer_is_asked_for_again_over_tcp() -> None:
    play = Play(ONE, TWO)
    play.ask()
    play.answer(play.sent[0], "192.0.2.80", cut=True)
    assert (play.sent[1].upstream, play.sent[1].tcp) == (ONE, True)
    play.answer(play.sent[1], *[f"192.0.2.{n}" for n in range(200)])
    assert len(play.ips()) == 74  # the client speaks UDP and takes 1232 octets
    assert play.replies["c1"].flags & dns.flags.TC


def test_where_tcp_is_silent_another_is_asked() -> None:
    play = Play(ONE, TWO)
    play.ask()
    play.wait(0.1)
    play.answer(play.sent[0], cut=True)
    assert play.sent[1].tcp
    play.wait(0.9)
    assert len(play.sent) == 2, "TCP takes a moment"
    play.wait(0.2)
    assert [(one.upstream, one.tcp) for one in play.sent[2:]] == [(TWO, False)]
    play.answer(play.sent[2], "192.0.2.80")
    assert play.ips() == ["192.0.2.80"]
    assert not play.open


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP"])
def test_an_error_is_not_believed_before_another_was_asked(rcode: str) -> None:
    play = Play(ONE, TWO)
    play.ask()
    play.answer(play.sent[0], rcode=rcode)
    assert play.sent[1].upstream == TWO
    play.answer(play.sent[1], rcode=rcode)
    assert play.rcode() == rcode
    assert play.ask(who="c2") == rcode


@pytest.mark.parametrize("whole", [False, True], ids=["a header alone", "with the question"])
def test_who_does_not_understand_edns_is_asked_without(whole: bool) -> None:
    play = Play(ONE)
    play.ask()
    if whole:
        play.answer(play.sent[0], rcode="FORMERR")
    else:
        play.resolver.received(play.sent[0].number, play.sent[0].id + b"\x81\x81" + bytes(8), play.now)
        play._carry_out()
    queries = [dns.message.from_wire(attempt.message) for attempt in play.sent]
    assert [query.edns for query in queries] == [0, -1]
    assert queries[0].question == queries[1].question
    play.answer(play.sent[1], "192.0.2.80", cut=True)
    assert (play.sent[2].tcp, dns.message.from_wire(play.sent[2].message).edns) == (True, -1)
    play.answer(play.sent[2], "192.0.2.80", "192.0.2.81")
    assert play.ips() == ["192.0.2.80", "192.0.2.81"]
    play.ask("other.example", "c2")
    play.answer(play.sent[-1], rcode="FORMERR")
    play.answer(play.sent[-1], rcode="FORMERR")
    assert play.rcode("c2") == "FORMERR"


def test_an_error_of_one_and_an_answer_of_another() -> None:
    play = Play(ONE, TWO)
    play.ask()
    play.answer(play.sent[0], rcode="SERVFAIL")
    play.answer(play.sent[1], "192.0.2.80")
    assert play.ips() == ["192.0.2.80"]


def test_what_does_not_fit_is_passed_over() -> None:
    play = Play(ONE)
    play.ask()
    play.answer(play.sent[0], "192.0.2.66", id_=1)
    for junk in (b"", b"\0" * 12, play.sent[0].message):  # nothing, no question, not a response
        play.resolver.received(play.sent[0].number, junk, play.now)
    other = dns.message.make_response(dns.message.make_query("evil.example", "A"))
    other.id = int.from_bytes(play.sent[0].id)
    play.resolver.received(play.sent[0].number, other.to_wire(), play.now)
    assert not play.replies
    play.answer(play.sent[0], "192.0.2.80")
    assert play.ips() == ["192.0.2.80"]


def test_those_who_ask_the_same_share_an_exchange() -> None:
    play = Play(ONE)
    for number in range(5):
        play.ask(who=f"c{number}")
    assert len(play.sent) == 1
    play.answer(play.sent[0], "192.0.2.80")
    assert [play.ips(f"c{number}") for number in range(5)] == [["192.0.2.80"]] * 5


def test_stale_rather_than_late_and_fresh_afterwards() -> None:
    play = Play(ONE)
    play.ask()
    play.answer(play.sent[0], "192.0.2.80")
    play.wait(61)
    assert play.ask(who="c2") is None
    play.wait(1.7)
    assert "c2" not in play.replies
    play.wait(0.2)
    assert play.ips("c2") == ["192.0.2.80"]
    assert play.replies["c2"].answer[0].ttl == 30
    assert play.reasons("c2") == [3]
    play.answer(play.sent[-1], "192.0.2.81")
    assert play.ask(who="c3") == "NOERROR"
    assert play.ips("c3") == ["192.0.2.81"]


def test_what_is_asked_for_is_fetched_anew_before_it_runs_out() -> None:
    play = Play(ONE)
    play.ask()
    play.answer(play.sent[0], "192.0.2.80")
    play.wait(53)
    assert play.ask(who="c2") == "NOERROR"
    assert len(play.sent) == 1  # it is early yet
    play.wait(2)
    for number in range(3, 6):
        assert play.ask(who=f"c{number}") == "NOERROR"
    assert len(play.sent) == 2
    play.answer(play.sent[1], "192.0.2.81")
    play.wait(10)
    assert play.ask(who="c6") == "NOERROR"
    assert play.ips("c6") == ["192.0.2.81"]
    assert (len(play.sent), play.resolver.refreshed) == (2, 1)


def test_one_client_can_not_take_all_the_room() -> None:
    play = Play(ONE, limits=ResolverLimits(per_client=3))
    asked = [play.ask(f"n{number}.example", f"c{number}") for number in range(5)]
    assert asked == [None, None, None, "SERVFAIL", "SERVFAIL"]
    assert play.ask("n9.example", "c9", client="10.0.0.2") is None
    assert play.resolver.rejected == 2
    play.answer(play.sent[0], "192.0.2.80")
    assert play.ask("n10.example", "c10") is None


def test_too_many_questions_make_the_oldest_give_way() -> None:
    play = Play(ONE, limits=ResolverLimits(exchanges=3))
    for number in range(4):
        play.ask(f"n{number}.example", f"c{number}")
    assert list(play.replies) == ["c0"]
    assert play.rcode("c0") == "SERVFAIL"
    assert len(play.open) == 3
    assert play.ask("n0.example", "c4") is None, "it is asked again: the servers have not failed"
    play.answer(play.sent[-1], "192.0.2.80")
    assert play.ips("c4") == ["192.0.2.80"]


def test_without_servers_all_else_is_refused() -> None:
    play = Play()
    assert play.ask() == "REFUSED"


def test_a_question_that_comes_back_is_a_loop() -> None:
    play = Play(ONE)
    play.resolver.probe(b"\x05probe\0", 0)
    assert not play.resolver.loop
    play.ask("probe.")
    assert play.resolver.loop


def test_servers_can_be_exchanged_while_questions_are_under_way() -> None:
    play = Play(ONE)
    play.ask()
    play.resolver.use([TWO])
    play.wait(0.6)
    play.answer(play.sent[0], "192.0.2.80")
    assert play.ips() == ["192.0.2.80"]
    play.ask("other.example", "c2")
    assert play.sent[-1].upstream == TWO
