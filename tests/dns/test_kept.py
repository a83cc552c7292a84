from __future__ import annotations

from kproxy.dns.kept import MOST_KINDS, KeptAnswers, Kind

KIND = Kind(1, 0, 40, 60, dnssec_ok=False)


def fill(kept: KeptAnswers, *names: bytes) -> None:
    for name in names:
        kept.put(name, b"reply to " + name, KIND, b"")


def reply(kept: KeptAnswers, name: bytes) -> object:
    found = kept.find(name)
    return None if found is None else found[0]


def test_what_is_in_use_outlives_what_is_asked_for_once() -> None:
    kept = KeptAnswers(most=3)
    fill(kept, b"often")
    for round_ in range(20):
        fill(kept, b"once %d" % round_)
        assert reply(kept, b"often") == b"reply to often"
        assert len(kept) <= 2 * 3
    assert reply(kept, b"once 0") is None
    assert reply(kept, b"once 19") is not None


def test_octets_are_bounded_too() -> None:
    kept = KeptAnswers(most=1000, most_octets=10_000)
    for number in range(100):
        kept.put(b"%d" % number + bytes(2000), bytes(500), KIND, b"web")
        assert sum(len(query) for query in (*kept.recent, *kept._older)) <= 20_000
    assert kept.find(b"99" + bytes(2000)) is not None
    assert kept.find(b"80" + bytes(2000)) is None
    kept.drop({b"web"})
    assert len(kept) == 0


def test_brief_ones_go_and_the_others_stay() -> None:
    kept = KeptAnswers(most=2)
    kept.put(b"outside", b"1", KIND, b"", briefly=True)
    fill(kept, b"a", b"b")  # the outside one is in the older generation now
    kept.forget_brief()
    assert [reply(kept, name) for name in (b"outside", b"a", b"b")] == [None, b"reply to a", b"reply to b"]


def test_a_change_takes_away_what_depends_on_it() -> None:
    kept = KeptAnswers(most=3)
    for number in range(9):
        kept.put(b"web %d" % number, b"", KIND, b"web")
        kept.put(b"db %d" % number, b"", KIND, b"db")
    kept.find(b"db 7")  # it moves from the older generation to the recent one
    kept.put(b"anything", b"", KIND, None)
    kept.put(b"nothing", b"", KIND, b"")
    before = len(kept)
    kept.drop({b"db"})
    assert not [number for number in range(9) if kept.find(b"db %d" % number)]
    assert kept.find(b"anything") is None
    assert kept.find(b"nothing") is not None
    left = [number for number in range(9) if kept.find(b"web %d" % number)]
    assert left
    assert len(kept) == len(left) + 1 < before
    kept.drop(None)
    assert len(kept) == 0


def test_what_moved_while_the_generations_changed_is_taken_away_too() -> None:
    kept = KeptAnswers(most=2)
    kept.put(b"a", b"", KIND, b"db")
    kept.put(b"b", b"", KIND, b"web")
    kept.put(b"c", b"", KIND, b"web")  # a and b are the older generation
    kept.put(b"d", b"", KIND, b"web")
    assert kept.find(b"a") is not None  # it moves, and pushes c and d into the older generation
    kept.drop({b"db"})
    assert kept.find(b"a") is None
    assert kept.find(b"d") is not None


def test_counts_survive_what_they_count() -> None:
    kept = KeptAnswers()
    fill(kept, b"a")
    found = kept.find(b"a")
    assert found is not None
    found[1].times += 3
    kept.forget()
    assert kept.find(b"a") is None
    assert kept.take_counts() == {KIND: 3}
    assert kept.take_counts() == {}


def test_kinds_are_bounded_and_nothing_goes_uncounted() -> None:
    kept = KeptAnswers()
    for size in range(MOST_KINDS + 500):
        kept.count(KIND._replace(query_size=size)).times += 1
    assert sum(kept.take_counts().values()) == MOST_KINDS + 500
    kept.count(KIND).times += 1
    assert kept.take_counts() == {KIND: 1}
