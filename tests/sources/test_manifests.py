"""The state machine: files come, change and go; objects and problems follow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.sources.documents import MAX_PIECES
from kproxy.sources.manifests import MAX_PROBLEMS, FileNews, ManifestSet, Unreadable

if TYPE_CHECKING:
    from kproxy.sources.changes import ChangeBatch


def service(name: str, port: object = 80) -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - port: {port}\n"


def text(*documents: str) -> bytes:
    return "---\n".join(documents).encode()


class Directory:
    """A ManifestSet, and what a consumer makes of its batches: name of a Service -> its port."""

    def __init__(self) -> None:
        self.manifests = ManifestSet()
        self.ports: dict[str, int] = {}
        self.problems: list[str] = []
        self.changed: list[str] = []

    def update(self, **files: FileNews) -> Directory:
        return self.take(self.manifests.update({name.replace("_", "."): news for name, news in files.items()}))

    def take(self, batch: ChangeBatch) -> Directory:
        self.changed = [change.key.removeprefix("default/") for change in batch.changes]
        assert len(set(self.changed)) == len(self.changed)
        for change in batch.changes:
            name = change.key.removeprefix("default/")
            if change.obj is None:
                del self.ports[name]
            else:
                obj: Any = change.obj
                assert self.ports.get(name) != obj.spec.ports[0].port
                self.ports[name] = obj.spec.ports[0].port
        self.problems = [str(problem) for problem in batch.problems]
        return self


def test_files_come_change_and_go() -> None:
    d = Directory().update(a_yaml=text(service("a"), service("b")), b_json=b"")
    assert (d.ports, d.problems) == ({"a": 80, "b": 80}, [])
    d.update(b_json=json.dumps({"apiVersion": "v1", "kind": "List", "items": []}).encode())
    assert d.changed == []
    d.update(a_yaml=text(service("b", 81), "# c\n", service("c")))
    assert d.ports == {"b": 81, "c": 80}
    assert sorted(d.changed) == ["a", "b", "c"]
    d.update(a_yaml=None)
    assert d.ports == {}
    assert d.manifests.names() == {"b.json"}
    d.update(a_yaml=None, c_yaml=None)
    assert d.changed == []


def test_only_what_differs_is_a_change() -> None:
    d = Directory().update(a_yaml=text(service("a"), service("b"), service("c")))
    d.update(a_yaml=text("# new\n", service("c"), service("b", 81), service("a").replace("name: a", "name: 'a'")))
    assert d.changed == ["b"]


def test_an_object_that_moves_to_another_file_does_not_change() -> None:
    d = Directory().update(a_yaml=text(service("a"), service("b")))
    d.update(a_yaml=text(service("b")), c_yaml=text(service("a")))
    assert (d.changed, d.problems) == ([], [])
    d.update(a_yaml=None, b_yaml=text(service("b")))
    assert (d.changed, d.ports) == ([], {"a": 80, "b": 80})


class TestFaults:
    def test_the_last_good_version_of_that_object_stays(self) -> None:
        d = Directory().update(a_yaml=text(service("a"), service("b")))
        d.update(a_yaml=text(service("a", 81), service("b", "x")))
        assert d.ports == {"a": 81, "b": 80}
        assert d.problems == ["a.yaml:15: spec.ports[0].port: expected int, got str"]
        # The others go on; what is gone is gone.
        d.update(a_yaml=text(service("b", "x"), service("c")))
        assert d.ports == {"b": 80, "c": 80}
        assert d.problems == ["a.yaml:7: spec.ports[0].port: expected int, got str"]
        # News of another file leaves the problem in the list.
        d.update(b_yaml=text(service("z")))
        assert len(d.problems) == 1
        d.update(a_yaml=text(service("b", 82), service("c")))
        assert (d.ports, d.problems) == ({"b": 82, "c": 80, "z": 80}, [])

    def test_a_refused_object_that_is_removed_goes(self) -> None:
        d = Directory().update(a_yaml=text(service("a"), service("b")))
        d.update(a_yaml=text(service("a"), service("b", "x")))
        d.update(a_yaml=text(service("a")))
        assert (d.ports, d.problems) == ({"a": 80}, [])

    def test_a_refused_object_without_an_earlier_version_is_not_there(self) -> None:
        d = Directory().update(a_yaml=text(service("a", "x"), service("b")))
        assert d.ports == {"b": 80}
        assert d.problems == ["a.yaml:7: spec.ports[0].port: expected int, got str"]

    def test_text_that_could_be_any_object_keeps_all_that_its_file_gave(self) -> None:
        d = Directory().update(a_yaml=text(service("a"), service("b"), service("c")), b_yaml=text(service("z")))
        d.update(a_yaml=text(service("a", 81), service("b").replace("spec:", "spec: x: y")))
        assert d.ports == {"a": 81, "b": 80, "c": 80, "z": 80}
        assert d.problems == ["a.yaml:13: not YAML: mapping values are not allowed in this context"]
        # b and c are kept for as long as that lasts.
        d.update(a_yaml=text(service("a", 82), "kind: {\n"))
        assert d.ports == {"a": 82, "b": 80, "c": 80, "z": 80}
        d.update(a_yaml=text(service("a", 82), service("b", 83)))
        assert (d.ports, d.problems) == ({"a": 82, "b": 83, "z": 80}, [])

    @pytest.mark.parametrize(
        "broken",
        [
            "apiVersion: v1\nkind: Service\nmetadata: {name: 5}\n",
            "apiVersion: v1\nmetadata: {name: b}\n",
            "just words\n",
            "- a\n- list\n",
            "\x00",
        ],
    )
    def test_documents_whose_object_is_not_known(self, broken: str) -> None:
        d = Directory().update(a_yaml=text(service("a"), service("b")))
        d.update(a_yaml=text(service("a", 81), broken))
        assert d.ports == {"a": 81, "b": 80}
        assert len(d.problems) == 1

    def test_a_file_that_can_not_be_read_keeps_its_objects(self) -> None:
        d = Directory().update(a_yaml=text(service("a")))
        d.update(a_yaml=Unreadable("can't be read: permission denied"))
        assert (d.ports, d.problems) == ({"a": 80}, ["a.yaml: can't be read: permission denied"])
        d.update(a_yaml=text(service("b")))
        assert (d.ports, d.problems) == ({"b": 80}, [])

    def test_json(self) -> None:
        d = Directory().update(
            a_json=b'{"apiVersion": "v1", "kind": "Service",\n "metadata": {"name": "a"},\n "spec": 1}'
        )
        assert d.problems == ["a.json:3: spec: expected mapping, got int"]
        d.update(a_json=b'{"apiVersion": "v1",\n')
        assert d.problems == ["a.json:1: not JSON: Input data was truncated"]


class TestDoubles:
    def test_the_first_file_counts_and_the_second_takes_over(self) -> None:
        d = Directory().update(b_yaml=text(service("a", 82)))
        d.update(a_yaml=text("# first\n", service("a", 81)))
        assert d.ports == {"a": 81}
        assert d.problems == ["b.yaml:1: Service default/a is given before, at a.yaml:3, and that one counts"]
        d.update(b_yaml=text(service("a", 83)))
        assert d.changed == []
        d.update(a_yaml=None)
        assert (d.ports, d.problems) == ({"a": 83}, [])

    def test_of_three_files(self) -> None:
        d = Directory().update(a_yaml=text(service("a", 1)), b_yaml=text(service("a", 2)), c_yaml=text(service("a", 3)))
        assert d.ports == {"a": 1}
        assert [problem.split(":")[0] for problem in d.problems] == ["b.yaml", "c.yaml"]
        d.update(b_yaml=None)
        assert [problem.split(":")[0] for problem in d.problems] == ["c.yaml"]
        d.update(a_yaml=None, b_yaml=text(service("a", 4)))
        assert d.ports == {"a": 4}
        assert d.problems == ["c.yaml:1: Service default/a is given before, at b.yaml:1, and that one counts"]

    def test_in_one_file(self) -> None:
        d = Directory().update(a_yaml=text(service("a", 81), service("a", 82)))
        assert d.ports == {"a": 81}
        assert d.problems == ["a.yaml:9: Service default/a is given before, at a.yaml:1, and that one counts"]
        d.update(a_yaml=text(service("a", 82)))
        assert (d.ports, d.problems) == ({"a": 82}, [])

    def test_one_document_twice(self) -> None:
        d = Directory().update(a_yaml=text(service("a"), service("a")))
        assert d.problems == ["a.yaml:9: Service default/a is given before, at a.yaml:1, and that one counts"]

    def test_a_refused_first_one_with_no_earlier_version_leaves_it_to_the_second(self) -> None:
        d = Directory().update(a_yaml=text(service("a", "x")), b_yaml=text(service("a", 82)))
        assert d.ports == {"a": 82}
        assert len(d.problems) == 1
        d.update(a_yaml=text(service("a", 81)))
        assert d.ports == {"a": 81}
        d.update(a_yaml=text(service("a", "x")))
        assert d.ports == {"a": 81}
        d.update(a_yaml=text("{\n"))
        assert d.ports == {"a": 81}
        assert d.problems[1] == "b.yaml:1: Service default/a is given before, at a.yaml, and that one counts"

    def test_the_same_kind_and_name_elsewhere_is_another_object(self) -> None:
        other = service("a").replace("  name: a", "  name: a\n  namespace: shop")
        endpoints = "apiVersion: v1\nkind: Endpoints\nmetadata:\n  name: a\n"
        batch = ManifestSet().update({"a.yaml": text(service("a"), other, endpoints)})
        assert [(change.kind, change.key) for change in batch.changes] == [
            ("Service", "default/a"),
            ("Service", "shop/a"),
            ("Endpoints", "default/a"),
        ]
        assert batch.problems == ()

    def test_a_name_can_not_break_the_line(self) -> None:
        odd = '{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a\\n\\u001b[2J"}}\n'
        (problem,) = ManifestSet().update({"a.json": (odd + odd).encode()}).problems
        assert str(problem).isprintable()


DOCUMENT = st.sampled_from([service(name, port) for name in "abc" for port in (80, 81)] + ["# nothing\n"])
CONTENT = st.none() | st.lists(DOCUMENT, max_size=4).map(lambda documents: text(*documents))
# What can't be read in between must leave no trace later.
PASSING = CONTENT | st.just(Unreadable("gone fishing")) | st.just(text(service("a", "x"), "kind: [\n"))
NAMES = ["a.yaml", "b.yml", "c.yaml"]


def updates(content: st.SearchStrategy[FileNews]) -> st.SearchStrategy[dict[str, FileNews]]:
    return st.dictionaries(st.sampled_from(NAMES), content, max_size=3)


@given(st.lists(updates(PASSING), max_size=5), st.lists(updates(CONTENT), max_size=3))
def test_any_way_to_a_content_ends_in_the_same_objects(way: list[dict[str, FileNews]], last: Any) -> None:
    followed = Directory()
    files: dict[str, FileNews] = dict.fromkeys(NAMES, b"")
    for news in [*way, *last, _sound(way, last)]:
        followed.take(followed.manifests.update(news))
        files.update(news)
    fresh = Directory()
    fresh.take(fresh.manifests.update({name: news for name, news in files.items() if news is not None}))
    assert followed.ports == fresh.ports
    assert followed.problems == fresh.problems


def _sound(way: list[dict[str, FileNews]], last: list[dict[str, FileNews]]) -> dict[str, FileNews]:
    """Return a content for each file, the last good one if there was one."""
    files: dict[str, FileNews] = dict.fromkeys(NAMES, text(service("a")))
    for news in (*way, *last):
        files.update({name: what for name, what in news.items() if not isinstance(what, Unreadable)})
    return {name: None if what is not None and b"[\n" in what else what for name, what in files.items()}  # type: ignore[operator]


@given(st.permutations([("a.yaml", service("a", 1)), ("b.yaml", service("a", 2)), ("c.yaml", service("b"))]))
def test_the_order_of_news_does_not_matter(order: list[tuple[str, str]]) -> None:
    one_by_one = Directory()
    for name, document in order:
        one_by_one.take(one_by_one.manifests.update({name: text(document)}))
    at_once = Directory()
    at_once.take(at_once.manifests.update({name: text(document) for name, document in order}))
    assert (one_by_one.ports, one_by_one.problems) == (at_once.ports, at_once.problems)


def test_a_big_file_given_twice() -> None:
    documents = [service(f"s{n}") for n in range(2_000)]
    d = Directory().update(a_yaml=text(*documents), b_yaml=text(*documents, *documents))
    assert len(d.ports) == 2_000
    # Twice in b.yaml, and before in a.yaml: 1,000 of each are told.
    assert len(d.problems) == 2 * (MAX_PROBLEMS + 1)
    assert d.problems.count("b.yaml: 1,000 more problems like these") == 2
    d.update(b_yaml=None)
    assert (len(d.ports), d.problems) == (2_000, [])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", "---\n" * (MAX_PIECES + 1)),
        ("a.yaml", "apiVersion: v1\nkind: List\nitems:\n" + "- a\n" * (MAX_PIECES + 1)),
        ("a.yaml", "{}" * (MAX_PIECES + 1)),
        ("a.json", "{} " * (MAX_PIECES + 1)),
        ("a.json", '{"apiVersion": "v1", "kind": "List", "items": [' + "0," * MAX_PIECES + "0]}"),
        ("a.json", '{"apiVersion": "v1", "kind": "List", "items": [' + "0," * 6_000_000 + "0]}"),
    ],
)
def test_garbage_in_millions_of_pieces_is_one_problem(name: str, content: str) -> None:
    manifests = ManifestSet()
    manifests.update({name: (service("a") if name == "a.yaml" else "").encode()})
    batch = manifests.update({name: content.encode()})
    assert [str(problem) for problem in batch.problems] == [
        f"{name}:1: more than {MAX_PIECES:,} documents in one file - split it"
    ]
    assert batch.changes == ()
