"""The YAML reader beside PyYAML's own constructor, and against texts made to hurt."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kproxy.sources.yaml_lines import line_of
from kproxy.sources.yaml_reader import MAX_DEPTH, MAX_DIRECTIVES, MAX_NODES, YamlError, read_yaml
from tests.sources import reference_yaml


def read(text: str | bytes) -> list[Any]:
    return [document.data for document in read_yaml(text.encode() if isinstance(text, str) else text)]


WORDS = """
~ null Null NULL nULL true True TRUE tRUE yes Yes YES on On ON false False FALSE no No NO off Off OFF y n Y N
0 -0 +0 1 -1 +12 007 08 0o17 0b101 -0b11 0x1F 0xfg 1_000 1__0 _1 190:20:30 1:30 -1:30.5 123456789012345678901234567890
0. .5 1. 1.5 -1.5 +1.5 1e5 1.5e5 1.5e+5 1.5E-3 1_0.5 . .. .e .inf -.inf +.INF .Inf .iNF .nan .NaN .NAN -.nan
2001-12-14 2001-12-14T21:59:43.10-05:00 10.96.0.1 2001:10:20:30:40:50:1:2 fd00::1 :: ::1 10.0.0.0/8 = << <
'1' "1" '' "" 'yes' !!str~1 a-b a:b a#b http://x/?a=b&c=*d 1.2.3 v1 v1.1 - None none 12h 1k
"""


@pytest.mark.parametrize("scalar", [text.replace("~1", " 1") for text in WORDS.split()])
def test_scalars(scalar: str) -> None:
    for text in (f"a: {scalar}", f"- {scalar}\n- x", f"[{scalar}]", f"? {scalar}\n: 1"):
        try:
            expected = yaml.load(text, Loader=reference_yaml.ReferenceLoader)
        except yaml.YAMLError:
            # libyaml takes some that the parser in Python does not (`[http://x]`).
            continue
        if text.startswith("?"):
            # Keys as JSON has them; floats keep their spelling.
            (key,) = expected
            assert isinstance(read(text)[0], dict)
            if not isinstance(key, float):
                assert read(text) == [_keys_as_in_json(expected)]
        else:
            assert repr(read(text)) == repr([expected])


def _keys_as_in_json(data: dict[Any, Any]) -> dict[str, Any]:
    names = {True: "true", False: "false", None: "null"}
    return {names[key] if key is None or isinstance(key, bool) else str(key): data[key] for key in data}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n# nothing\n",
        "---\n---\n",
        "a\n...\n---\nb\n",
        "%YAML 1.1\n---\na: 1\n",
        "--- {a: 1}\n--- [b]\n--- c\n--- |\n d\n e\n---\n",
        "a: &x {p: 1, q: [1, 2]}\nb: *x\nc: [*x, *x]\n",
        "a: &x k\n*x : b\n",
        "base: &b {p: 1, q: 2}\nx: {<<: *b, q: 3}\ny: {q: 3, <<: *b}\n",
        "b: &b {p: 1}\nc: &c {p: 2, r: 3}\nx: {<<: [*b, *c]}\ny: {<<: [*c, *b], r: 4}\n",
        "b: &b {p: 1}\nc: &c {<<: *b, s: 1}\nx:\n  <<: *b\n  <<: *c\n",
        "'<<': {a: 1}\n",
        "a: 1\na: 2\n",
        "a: |\n  x\n   y\n\n\nb: >-\n  p\n  q\n\n  r\nc: |2\n   z\n",
        "a: \"x\\n\\t\\u00e9 \\\n  y\"\nb: 'it''s'\n",
        "? k\n: x\n",
        "!!map {a: !!seq [!!str 1, !!int '5', !!float 1, !!float 1.5, !!bool yes, !!null ~, ! 7]}\n",
        "a: 2001-12-14\nb: !\n",
        "- - - a\n    - b\n  - c\n- {}\n- []\n",
        "a:\n- 1\n-\n  b: 1\n  c: 2\n- - x\n",
        "ключ: значение\n键: '值'\n",
    ],
)
def test_structures(text: str) -> None:
    expected = list(yaml.load_all(text, Loader=reference_yaml.ReferenceLoader))
    assert read(text) == expected


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN, st.sampled_from([None, "'", '"', "|", ">"]), st.sampled_from([True, False, None]), st.integers(2, 6))
def test_what_pyyaml_writes_is_read_back(data: Any, style: str | None, flow: bool | None, indent: int) -> None:
    text = yaml.safe_dump(data, default_style=style, default_flow_style=flow, indent=indent, allow_unicode=True)
    expected = list(yaml.load_all(text, Loader=reference_yaml.ReferenceLoader))
    assert read(text) == expected


WRONG = [
    # (text, line from 0, what the message says)
    ("a: b\nc: d: e\n", 1, "not YAML: mapping values are not allowed in this context"),
    ("a: 'x\n", 0, "not YAML: found unexpected end of stream while scanning a quoted scalar"),
    ("a: [1, 2\nb: 3\n", 1, "not YAML: did not find expected ',' or ']' while parsing a flow sequence"),
    ("a:\n\t- b\n", 1, "not YAML: found character that cannot start any token while scanning for the next token"),
    ("a: 1\nb: *x\n", 1, "not YAML: alias *x has no anchor before it, or stands inside of it"),
    ("a: &x [1, *x]\n", 0, "not YAML: alias *x has no anchor before it, or stands inside of it"),
    ("a: 1\nb: \x07\n", 1, "not YAML: control characters are not allowed"),
    ("a: 1\nb: \x00\n", 1, "not YAML: control characters are not allowed"),
    ("a: !!python/object:os.system x\n", 0, "tag tag:yaml.org,2002:python/object:os.system is not read"),
    ("a: !mine {}\n", 0, "tag !mine is not read"),
    ("a: !!binary aGk=\n", 0, "tag tag:yaml.org,2002:binary is not read"),
    ("a: !!int x\n", 0, "not what it looks like: x"),
    ("a: !!bool x\n", 0, "not what it looks like: x"),
    ("a: 1\nb: 0x_\n", 1, "not what it looks like: 0x_"),
    ("a: 1\nb: " + "9" * 5000, 1, "not what it looks like: " + "9" * 80 + "..."),
    ("a: 1\nb: !!float " + "9" * 400, 1, "not what it looks like: " + "9" * 80 + "..."),
    ("? [a]\n: b\n", 0, "a key must be a string, not a list or a mapping"),
    ("a: 1\nx: {<<: 5}\n", 1, "<< takes a mapping or a list of mappings"),
]


@pytest.mark.parametrize(("text", "line", "what"), WRONG)
def test_what_is_no_yaml_is_refused_with_its_line(text: str, line: int, what: str) -> None:
    with pytest.raises(YamlError) as caught:
        read(text)
    assert (caught.value.line, caught.value.what) == (line, what)


def test_the_documents_before_a_fault_are_good() -> None:
    documents = read_yaml(b"a: 1\n---\nb: 2\n---\nc: [\n")
    assert next(documents).data == {"a": 1}
    assert next(documents).data == {"b": 2}
    with pytest.raises(YamlError):
        next(documents)


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


def merge_bomb(levels: int) -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("text", [bomb(12), merge_bomb(12)])
def test_aliases_that_multiply(text: str) -> None:
    with pytest.raises(YamlError, match=f"more than {MAX_NODES:,} values"):
        read(text)


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "? " * 100_000, "{a: " * 100_000, "[{a: " * 50_000])
def test_deep_nesting(text: str) -> None:
    with pytest.raises(YamlError, match=f"nested more than {MAX_DEPTH} levels"):
        read(text)


def test_many_directives() -> None:
    text = "".join(f"%TAG !t{n}! tag:{n}\n" for n in range(MAX_DIRECTIVES + 5)) + "---\na: 1\n"
    with pytest.raises(YamlError, match="too many % directives"):
        read(text)


@given(st.binary(max_size=200))
def test_any_bytes(text: bytes) -> None:
    line, what = 0, ""
    try:
        read(text)
    except YamlError as error:
        line, what = error.line, str(error)
    assert 0 <= line <= text.count(b"\n")
    assert what.isprintable()


@given(st.text(alphabet="ab1 \n\n:-[]{}#&*!|>'\"%@`,?<.~\t", max_size=60))
def test_any_yaml_like_text(text: str) -> None:
    try:
        ours = read(text)
    except YamlError:
        ours = None
    try:
        expected = reference_yaml.load_all(text)
    except reference_yaml.ERRORS:
        # PyYAML stops at an anchor that is given twice, and has its own faults with odd tags.
        return
    assert ours is not None
    assert ours == expected


LINES = b"""\
# a comment
apiVersion: v1
kind: Service
metadata: {name: web,
  labels: {app: web,
    1: one}}
spec:
  ports:
  - name: http
    port: 80

  - name: https
    port: "443"
  1.5:
    on: [a,
      b]
spec2: &x
  y: 1
spec3: *x
---
second:
  - x: 1
    x: 2
"""


@pytest.mark.parametrize(
    ("path", "document", "line"),
    [
        ((), 0, 1),
        (("kind",), 0, 2),
        (("metadata",), 0, 3),
        (("metadata", "name"), 0, 3),
        (("metadata", "labels", "app"), 0, 4),
        (("metadata", "labels", "1"), 0, 5),
        (("spec",), 0, 7),
        (("spec", "ports"), 0, 8),
        (("spec", "ports", 0), 0, 8),
        (("spec", "ports", 0, "port"), 0, 9),
        (("spec", "ports", 1), 0, 11),
        (("spec", "ports", 1, "port"), 0, 12),
        (("spec", "ports", 1, "missing"), 0, 11),
        (("spec", "ports", 2, "port"), 0, 8),
        (("spec", "1.5", "true", 1), 0, 15),
        (("spec3", "y"), 0, 18),
        (("nothing", "of", "this"), 0, 1),
        ((), 1, 20),
        (("second", 0, "x"), 1, 22),
    ],
)
def test_the_line_of_a_field(path: tuple[str | int, ...], document: int, line: int) -> None:
    assert line_of(LINES, path, document) == line
