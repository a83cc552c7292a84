"""Asks other servers, one question at a time to any number of them: whom, when again, and which answer counts. No I/O.

* The servers are asked in the order given, one that failed lately after the others. Silence is not waited for long:
  after a moment another one is asked too (or the same again), and the first good answer wins.
* Every attempt has an id and (the shell's part) a port of its own. What does not fit the question is passed over: the
  true answer may still come (RFC 5452). A cut answer is asked for again over TCP, and who does not understand EDNS is
  asked without.
* Those who ask the same wait for the same exchange. Everything is bounded; when there is too much, those who have
  waited longest give way: their clients have given up first.

The shell passes queries to `ask`, carries out what `take_orders` says, and tells `received`, `broke`, and the time.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

from kproxy.dns.cache import STALE_TTL, Failure, Kept, OutsideCache
from kproxy.dns.codes import FORMERR, HINFO, NOERROR, NXDOMAIN, REFUSED, SERVFAIL
from kproxy.dns.exchange import Asked, Attempt, Conditions, Exchange, Order, ResolverLimits, Waiting
from kproxy.dns.forward import NETWORK_ERROR, NO_REACHABLE_AUTHORITY, STALE_ANSWER
from kproxy.dns.query import Malformed
from kproxy.dns.upstream import Question, read_response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kproxy.dns.exchange import Upstream
    from kproxy.dns.forward import Forward


class Resolver:
    """The state machine. `random_id` returns an unpredictable number from 0 to 65535.

    `rejected` counts queries that were turned away because there were too many, `refreshed` answers that were fetched
    before they ran out; `loop` tells that a probe came back.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        cache: OutsideCache,
        random_id: Callable[[], int],
        limits: ResolverLimits | None = None,
    ) -> None:
        self.limits = limits or ResolverLimits()
        self.cache = cache
        self.rejected = 0
        self.refreshed = 0
        self.loop = False
        self._random_id = random_id
        self._exchanges: dict[Question, Exchange] = {}
        self._attempts: dict[int, Exchange] = {}
        self._per_client: dict[str, int] = {}
        self._timers: list[tuple[float, int, Exchange]] = []
        self._numbers = count(1)
        self._orders: list[Order] = []
        self._asked: list[Asked] = []
        self._probe = b""
        self.use(upstreams)

    def use(self, upstreams: Sequence[Upstream]) -> None:
        """Ask these servers from now on."""
        self._servers = Conditions(upstreams)

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything."""
        return not self._per_client

    def silent(self) -> set[Upstream]:
        """Return the servers that failed again and again, with no answer in between."""
        return self._servers.silent()

    # What the shell calls

    def ask(self, forward: Forward, waiter: object, client: str, now: float) -> bytes | None:
        """Return the reply if it is known already; otherwise it comes in an order, with `waiter`.

        `client` is the IP address by which those are told apart who ask too much.
        """
        question = forward.question
        if question.name == self._probe:
            self.loop = True
        kept = self.cache.get(question, now)
        if kept is not None:
            if isinstance(kept, Kept) and kept.ageing:
                self._refresh(question, now)
            return _reply(forward, kept)
        if not self._servers.upstreams:
            return forward.fail(rcode=REFUSED)
        if self._per_client.get(client, 0) >= self.limits.per_client:
            self.rejected += 1
            return forward.fail()
        exchange = self._exchanges.get(question) or self._begin(question, now)
        exchange.waiting.append(Waiting(forward, waiter, client))
        self._per_client[client] = self._per_client.get(client, 0) + 1
        return None

    def probe(self, name: bytes, now: float) -> None:
        """Ask for a name that nobody else asks for: if it comes back to `ask`, the servers lead back to us."""
        self._probe = name
        if self._servers.upstreams:
            self._begin(Question(name, HINFO), now)

    def take_orders(self) -> list[Order]:
        """Return what is to be done since the last call."""
        orders, self._orders = self._orders, []
        return orders

    def take_asked(self) -> list[Asked]:
        """Return the attempts that were answered since the last call."""
        asked, self._asked = self._asked, []
        return asked

    def received(self, number: int, message: bytes, now: float) -> None:
        """Take what came in on an attempt's socket."""
        exchange = self._attempts.get(number)
        if exchange is None:
            return
        attempt = exchange.open[number]
        try:
            if message[:2] != attempt.id:
                raise Malformed
            response = read_response(message, exchange.question)
        except Malformed:
            if attempt.tcp:
                self.broke(number, now)
            return
        self._servers.answered(attempt.upstream)
        self._asked.append(Asked(attempt.upstream, response.rcode, now - attempt.since))
        self._close(exchange, attempt)
        if response.rcode == FORMERR and attempt.edns:
            self._try(exchange, attempt.upstream, now, tcp=attempt.tcp, edns=False)
        elif response.truncated and not attempt.tcp:
            self._try(exchange, attempt.upstream, now, tcp=True, edns=attempt.edns)
        elif response.rcode in (NOERROR, NXDOMAIN):
            self.cache.put(exchange.question, response, now)
            self._finish(exchange, Kept(response, 0, stale=False))
        else:
            exchange.best = response
            self._another(exchange, now)

    def broke(self, number: int, now: float) -> None:
        """Note that an attempt came to nothing: refused, unreachable, cut off."""
        exchange = self._attempts.get(number)
        if exchange is None:
            return
        attempt = exchange.open[number]
        self._servers.failed(attempt.upstream, now)
        self._close(exchange, attempt)
        exchange.refused = True
        self._another(exchange, now)

    def next_time(self) -> float | None:
        """Return when `tick` is due, None if there is nothing to wait for."""
        while self._timers and self._timers[0][2].over:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def tick(self, now: float) -> None:
        """Do what is due."""
        while (when := self.next_time()) is not None and when <= now:
            self._due(heapq.heappop(self._timers)[2], now)

    # Exchanges

    def _refresh(self, question: Question, now: float) -> None:
        """Fetch an answer anew before it runs out, if there is time for it."""
        busy = len(self._exchanges) >= self.limits.exchanges // 2
        if self._servers.upstreams and question not in self._exchanges and not busy:
            self.refreshed += 1
            self._begin(question, now)

    def _begin(self, question: Question, now: float) -> Exchange:
        if len(self._exchanges) >= self.limits.exchanges:
            self.rejected += 1
            # No fault of the servers, so nothing to remember: who asks again may be lucky.
            oldest = next(iter(self._exchanges.values()))
            self._finish(oldest, self.cache.get_stale(oldest.question, now) or Failure(SERVFAIL))
        order = self._servers.in_order(now)
        exchange = Exchange(question, now + self.limits.deadline_s, order, now + self.limits.stale_after_s)
        self._exchanges[question] = exchange
        for when in (exchange.stale_at, exchange.deadline):
            self._at(when, exchange)
        self._try(exchange, order[0], now)
        return exchange

    def _try(self, exchange: Exchange, upstream: Upstream, now: float, *, tcp: bool = False, edns: bool = True) -> None:
        number, id_ = next(self._numbers), self._random_id()
        message = exchange.question.message(id_, edns=edns)
        attempt = Attempt(number, upstream, tcp, id_.to_bytes(2), message, now, edns)
        exchange.open[number] = attempt
        self._attempts[number] = exchange
        self._orders.append(Order(attempt))
        self._at(now + self._patience(exchange.tries), exchange)
        if not tcp:
            exchange.tries += 1

    def _due(self, exchange: Exchange, now: float) -> None:
        if now >= exchange.deadline:
            self._give_up(exchange, now)
            return
        if now >= exchange.stale_at:
            exchange.stale_at = float("inf")
            self._serve_stale(exchange, now)
        late = list(exchange.open.values())
        if late and now >= late[-1].since + self._patience(exchange.tries - 1):
            self._servers.failed(late[-1].upstream, now)
            self._next(exchange, now)
        elif not exchange.open:
            self._next(exchange, now)

    def _another(self, exchange: Exchange, now: float) -> None:
        """Ask the next server at once if there is one that was not asked, else when its time has come."""
        if exchange.tries < len(exchange.order):
            self._next(exchange, now)
        elif not exchange.open and (exchange.best is not None or exchange.tries >= self._most(exchange)):
            self._give_up(exchange, now)

    def _next(self, exchange: Exchange, now: float) -> None:
        if exchange.tries < self._most(exchange):
            self._try(exchange, exchange.order[exchange.tries % len(exchange.order)], now)
        elif not exchange.open:
            self._give_up(exchange, now)

    def _most(self, exchange: Exchange) -> int:
        return max(self.limits.attempts_each * len(exchange.order), len(self.limits.again_s) + 1)

    def _patience(self, tries: int) -> float:
        return self.limits.again_s[min(tries, len(self.limits.again_s) - 1)]

    def _give_up(self, exchange: Exchange, now: float) -> None:
        """Nobody gave a good answer: a stale one, or what the servers said instead, or nothing."""
        for attempt in exchange.open.values():
            self._servers.failed(attempt.upstream, now)
        if exchange.best is not None:
            failure = Failure(exchange.best.rcode)
        else:
            failure = Failure(SERVFAIL, NETWORK_ERROR if exchange.refused else NO_REACHABLE_AUTHORITY)
        self.cache.put_failure(exchange.question, failure, now)
        self._finish(exchange, self.cache.get_stale(exchange.question, now) or failure)

    def _serve_stale(self, exchange: Exchange, now: float) -> None:
        stale = self.cache.get_stale(exchange.question, now) if exchange.waiting else None
        if stale is not None:
            self._answer(exchange, stale)

    def _finish(self, exchange: Exchange, outcome: Kept | Failure) -> None:
        exchange.over = True
        del self._exchanges[exchange.question]
        for attempt in list(exchange.open.values()):
            self._close(exchange, attempt)
        self._answer(exchange, outcome)

    def _answer(self, exchange: Exchange, outcome: Kept | Failure) -> None:
        for one in exchange.waiting:
            left = self._per_client[one.client] - 1
            if left:
                self._per_client[one.client] = left
            else:
                del self._per_client[one.client]
            self._orders.append(Order(waiter=one.waiter, reply=_reply(one.forward, outcome)))
        exchange.waiting = []

    def _close(self, exchange: Exchange, attempt: Attempt) -> None:
        del exchange.open[attempt.number]
        del self._attempts[attempt.number]
        self._orders.append(Order(attempt, close=True))

    def _at(self, when: float, exchange: Exchange) -> None:
        heapq.heappush(self._timers, (when, next(self._numbers), exchange))


def _reply(forward: Forward, outcome: Kept | Failure) -> bytes:
    if isinstance(outcome, Failure):
        return forward.fail(outcome.reason, outcome.rcode)
    if outcome.stale:
        return forward.complete(outcome.response, ttl=STALE_TTL, reason=STALE_ANSWER)
    return forward.complete(outcome.response, age=outcome.age)
