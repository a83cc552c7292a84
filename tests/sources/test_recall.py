"""A file that is cut into pieces says exactly what the whole text says, whatever was read before."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given

from kproxy.kube.decode import Decoded, decode_plain
from kproxy.sources import reading, recall
from kproxy.sources.reading import Entry
from kproxy.sources.recall import Memory, read_file
from tests.sources import reference_yaml
from tests.sources.manifest_texts import damaged_texts, yaml_texts


def entries(text: str | bytes, name: str = "x.yaml", known: Memory | None = None) -> list[Entry]:
    """Return all a file says, with the file's line numbers."""
    data = text.encode() if isinstance(text, str) else text
    placed, _ = read_file(name, data, known or Memory())
    return [entry._replace(line=line + entry.line) for line, reading in placed for entry in reading.entries]


def expected(documents: list[Any]) -> list[tuple[Any, ...]]:
    return [_told(found) for document in documents if document is not None for found in decode_plain(document)]


def _told(found: Any) -> tuple[Any, ...]:
    if isinstance(found, Decoded):
        return ((found.kind, found.key), found.obj)
    return ((found.kind, found.key) if found.key else None, None, found.field, found.what)


def told(found: list[Entry]) -> list[tuple[Any, ...]]:
    return [(e.ident, e.obj) if e.obj is not None else (e.ident, None, e.field, e.what) for e in found]


@given(yaml_texts())
def test_a_text_in_pieces_says_what_the_whole_says(text: str) -> None:
    found = entries(text)
    documents = reference_yaml.load_all(text)
    assert [entry.obj for entry in found] == reference_yaml.objects(documents)
    assert told(found) == expected(documents)


@given(damaged_texts())
def test_a_damaged_text_says_no_more_and_no_less(text: str) -> None:
    found = entries(text)
    try:
        documents = reference_yaml.load_all(text)
    except reference_yaml.ERRORS as error:
        # More than PyYAML we take an anchor given twice, and JSON values that follow each other.
        if "duplicate anchor" not in str(error) and '{"' not in text:
            assert any(entry.obj is None for entry in found)
        return
    assert told(found) == expected(documents)


@given(yaml_texts(), damaged_texts())
def test_memory_changes_nothing(first: str, second: str) -> None:
    for name in ("x.yaml", "x.json"):
        _, memory = read_file(name, first.encode(), Memory())
        assert entries(second, name, memory) == entries(second, name)
        assert entries(first, name, memory) == entries(first, name)


@given(yaml_texts())
def test_lines(text: str) -> None:
    known = {"Service", "EndpointSlice"}
    lines = reference_yaml.object_lines(text, known)
    found = entries(text)
    assert [entry.line for entry in found if entry.obj is not None] == lines


LIST = """\
# what kubectl prints
apiVersion: v1
items:
- apiVersion: v1
  kind: Service
  metadata:
    name: a
- apiVersion: v1
  kind: Service
  metadata:
    name: b
  spec:
    ports:
    - port: 80
    - port: x
# the last
- apiVersion: v1
  kind: Service
  metadata:
    name: c
kind: List
metadata:
  resourceVersion: ""
"""


def test_the_items_of_a_list_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[bytes, str]] = []
    piece = reading.read_piece

    def spy(text: bytes, form: Any, item_kind: str = "") -> Any:
        read.append((text, form))
        return piece(text, form, item_kind)

    monkeypatch.setattr(recall, "read_piece", spy)
    _, memory = read_file("x.yaml", LIST.encode(), Memory())
    assert [form for _, form in read] == ["yaml item"] * 3
    read.clear()
    # One item changes, one is put before it: two are read.
    changed = LIST.replace("port: x", "port: 81").replace("items:\n", "items:\n- apiVersion: v1\n  kind: Job\n")
    found = entries(changed, known=memory)
    assert [text for text, _ in read] == [
        b"- apiVersion: v1\n  kind: Job\n",
        b"- apiVersion: v1\n  kind: Service\n  metadata:\n    name: b\n"
        b"  spec:\n    ports:\n    - port: 80\n    - port: 81\n# the last\n",
    ]
    assert [(entry.line, entry.ident) for entry in found] == [
        (6, ("Service", "default/a")),
        (10, ("Service", "default/b")),
        (19, ("Service", "default/c")),
    ]


def test_the_line_of_a_wrong_field() -> None:
    faults = [entry for entry in entries(LIST) if entry.obj is None]
    assert faults == [Entry(15, ("Service", "default/b"), None, "spec.ports[1].port", "expected int, got str")]


@pytest.mark.parametrize(
    "text",
    [
        LIST.replace("metadata:\n    name: a", "metadata: &m\n    name: a").replace("    name: c", "    <<: *m"),
        LIST.replace("- apiVersion", "-\n  apiVersion"),
        LIST.replace("# the last\n- apiVersion", "-\n  apiVersion"),
        LIST.replace("name: a\n- apiVersion", "name: a\n-\n  apiVersion"),
        LIST + "items: []\n",
        LIST.replace("items:\n", "items: [x]\nitems:\n"),
        LIST.replace("kind: List", "..."),
        "%YAML 1.1\n---\n" + LIST,
        LIST.replace('resourceVersion: ""', 'resourceVersion: "\n- x\n"'),
        LIST + "...\n# end\n",
        LIST.replace("# the last", "# the\u2028last"),
        "metadata: |\n items:\n - a\n" + LIST.replace('metadata:\n  resourceVersion: ""', ""),
        LIST + "---\n" + LIST,
        LIST.replace("items:", "items: # all").replace("\n", "\r\n"),
        "\ufeff" + LIST,
        LIST.replace("kind: List", "kind: JobList"),
        LIST.replace("- ", "    - ").replace("\n  ", "\n      "),
        LIST.replace("items:\n", "items:\n\n# none\n\n").replace("kind: List\n", "\n\n\nkind: List\n"),
        LIST.replace("name: a", "name: >-\n      a"),
        LIST.replace("    name: c\n", '    name: c\n    annotations: {x: "a\n- b\nkind: c"}\n'),
        LIST[: LIST.index("kind: List")] + "kind: List",
    ],
)
def test_unusual_texts(text: str) -> None:
    try:
        documents = reference_yaml.load_all(text)
    except yaml.YAMLError:
        assert None in [entry.ident for entry in entries(text) if entry.obj is None]
        return
    assert told(entries(text)) == expected(documents)


def test_a_broken_item_breaks_its_list_alone() -> None:
    text = LIST.replace("name: b", "name: [b") + "---\napiVersion: v1\nkind: Node\nmetadata: {name: n}\n"
    found = entries(text)
    assert [(entry.line, entry.ident) for entry in found] == [(12, None), (25, ("Node", "n"))]
    assert found[0].what == "not YAML: did not find expected ',' or ']' while parsing a flow sequence"


def object_named(name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, **fields}


ITEMS = [object_named("a"), object_named("b", spec={"ports": [{"port": "x"}]}), {"kind": "Job"}, object_named("c")]
JSON_LIST = {"apiVersion": "v1", "items": ITEMS, "kind": "List", "metadata": {"resourceVersion": ""}}


@pytest.mark.parametrize("name", ["x.json", "x.yaml"])
@pytest.mark.parametrize("indent", [None, 4])
def test_json_lists(name: str, indent: int | None) -> None:
    text = json.dumps(JSON_LIST, indent=indent) + "\n"
    found = entries(text, name)
    assert told(found) == expected([JSON_LIST])
    lines = text.splitlines()
    if indent:
        for entry, what in zip(found, ['"a"', '"x"', '"c"'], strict=True):
            # Objects: the line of their brace; the fault: its own.
            assert lines[entry.line - 1].strip() in ("{", f'"port": {what}')
        assert [lines[entry.line + 3].strip() for entry in (found[0], found[2])] == ['"name": "a"', '"name": "c"']
    else:
        assert [entry.line for entry in found] == [1, 1, 1]


@pytest.mark.parametrize("name", ["x.json", "x.yaml"])
def test_json_streams(name: str) -> None:
    parts = [object_named("a"), JSON_LIST, object_named("z", spec=1)]
    text = "\n" + "\n".join(json.dumps(part, indent=2) for part in parts) + "\n\n"
    found = entries(text, name)
    assert told(found) == expected(parts)
    assert found[0].line == 2
    assert text.splitlines()[found[-1].line - 1] == '  "spec": 1'
    assert told(entries(json.dumps(parts[0]) + json.dumps(parts[2]), name)) == expected([parts[0], parts[2]])


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('{"kind": "Job"}\n{"kind": "Job",\n "x": }\n', 3, "not JSON: invalid character"),
        ('{"kind": "Job"}\n{"kind": "Job",\n "x": [\n\n', 3, "not JSON: Input data was truncated"),
        ('{"kind": "Job"}\n\nkind: Job\n', 3, "not JSON: invalid character"),
        ('{"kind":\n' + "[" * 100_000, 1, "not JSON: nested too deeply"),
        ('{"kind": "Job"}\n\x00', 2, "not JSON: invalid character"),
    ],
)
def test_what_is_not_json(text: str, line: int, what: str) -> None:
    (fault,) = entries(text, "x.json")
    assert (fault.line, fault.ident, fault.what) == (line, None, what)


def test_json_that_is_no_yaml() -> None:
    document = object_named("a", x="\U0001f600")
    assert told(entries(json.dumps(document))) == expected([document])
    # YAML that begins like JSON.
    assert told(entries("{apiVersion: v1, kind: Service,\n metadata: {name: a}}\n")) == expected([object_named("a")])


@pytest.mark.parametrize("name", ["x.json", "x.yaml"])
def test_bytes_that_are_not_utf_8(name: str) -> None:
    text = b'{"apiVersion": "v1", "kind": "Service",\n "metadata": {"name": "a", "annotations": {"x": "\xff"}}}'
    (fault,) = entries(text, name)
    assert (fault.line, fault.what) == (2, "not UTF-8: byte 0xff")


def test_an_item_that_is_not_utf_8() -> None:
    text = LIST.encode().replace(b"name: b", b"name: \xff")
    assert [(entry.line, entry.what) for entry in entries(text)] == [(11, "not UTF-8: byte 0xff")]


def test_an_empty_file() -> None:
    for name in ("x.yaml", "x.json"):
        for text in ("", "\n \n", "\ufeff"):
            assert entries(text, name) == []
