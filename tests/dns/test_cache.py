from __future__ import annotations

import pytest

from kproxy.dns.cache import CacheLimits, Failure, OutsideCache
from kproxy.dns.codes import NXDOMAIN, SERVFAIL, SOA, A
from kproxy.dns.names import absolute
from kproxy.dns.upstream import Question, Record, Response

WWW = Question(absolute("www.example.com"), A)
OTHER = Question(absolute("other.example.com"), A)


def addresses(ttl: int, *ips: bytes) -> Response:
    return Response(0, False, tuple(Record(WWW.name, A, ttl, ip) for ip in ips or (b"\xc0\0\2\1",)), (), ())


def no_name(ttl: int, minimum: int) -> Response:
    soa = Record(absolute("example.com"), SOA, ttl, b"\0\0" + bytes(16) + minimum.to_bytes(4))
    return Response(NXDOMAIN, False, (), (soa,), ())


def age(cache: OutsideCache, now: float, question: Question = WWW) -> int | None:
    kept = cache.get(question, now)
    assert not isinstance(kept, Failure)
    return None if kept is None else kept.age


def test_an_answer_is_kept_for_its_ttl() -> None:
    cache = OutsideCache()
    assert age(cache, 0) is None
    cache.put(WWW, addresses(60), 100)
    assert [age(cache, now) for now in (100, 100.9, 101, 159.9, 160)] == [0, 0, 1, 59, None]
    assert (cache.hits, cache.misses) == ({True: 4, False: 0}, 2)


def test_a_negative_answer_is_kept_for_the_smaller_of_the_soas_numbers() -> None:
    cache = OutsideCache()
    cache.put(WWW, no_name(300, 30), 0)
    assert [age(cache, now) for now in (29, 30)] == [29, None]
    cache.put(OTHER, no_name(20, 30), 0)
    assert [age(cache, now, OTHER) for now in (19, 20)] == [19, None]


@pytest.mark.parametrize(
    "response", [addresses(0), Response(NXDOMAIN, False, (), (), ()), addresses(60)._replace(truncated=True)]
)
def test_what_may_not_be_kept_is_not(response: Response) -> None:
    cache = OutsideCache()
    cache.put(WWW, response, 0)
    assert len(cache) == 0


def test_nothing_is_kept_for_longer_than_the_limit() -> None:
    cache = OutsideCache(CacheLimits(positive_s=10))
    cache.put(WWW, addresses(86400), 0)
    assert [age(cache, now) for now in (9, 10)] == [9, None]


def test_what_was_not_asked_for_longest_goes_first() -> None:
    cache = OutsideCache(CacheLimits(entries=2))
    names = [Question(absolute(f"n{number}.example"), A) for number in range(3)]
    for name in names[:2]:
        cache.put(name, addresses(60), 0)
    assert age(cache, 1, names[0]) == 1
    cache.put(names[2], addresses(60), 1)
    assert [age(cache, 1, name) for name in names] == [1, None, 0]
    assert cache.evictions == 1


def test_octets_are_bounded_too() -> None:
    cache = OutsideCache(CacheLimits(octets=100_000))
    for number in range(1000):
        cache.put(Question(absolute(f"n{number}.example"), A), addresses(60, *[b"\xc0\0\2\1"] * 10), 0)
    assert 10 < len(cache) < 50
    cache.put(WWW, addresses(60, *[b"\xc0\0\2\1"] * 100), 0)
    assert age(cache, 0) is None  # one answer does not push out all others


def test_a_failure_is_remembered_for_a_moment() -> None:
    cache = OutsideCache()
    cache.put_failure(WWW, Failure(SERVFAIL, 22), 0)
    assert cache.get(WWW, 4.9) == Failure(SERVFAIL, 22)
    assert cache.get(WWW, 5) is None


def test_a_stale_answer_is_better_than_a_failure() -> None:
    cache = OutsideCache()
    cache.put(WWW, addresses(60), 0)
    cache.put_failure(WWW, Failure(SERVFAIL, 22), 100)
    kept = cache.get(WWW, 101)
    assert not isinstance(kept, Failure)
    assert kept is not None
    assert kept.stale
    assert cache.get_stale(WWW, 60 + 86_401) is None


def test_failures_are_bounded() -> None:
    cache = OutsideCache(CacheLimits(failures=3))
    for number in range(10):
        cache.put_failure(Question(absolute(f"n{number}.example"), A), Failure(SERVFAIL), 0)
    failed = [cache.get(Question(absolute(f"n{number}.example"), A), 1) is not None for number in range(10)]
    assert failed == [False] * 7 + [True] * 3
