"""Texts of manifests for hypothesis: objects written in many styles, and then damaged."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import strategies as st

NAMES = ["web", "db", "api"]
# What trips a reader that cuts texts: indicators at the beginning of lines, line ends, quotes.
NASTY = [
    "plain",
    "yes",
    "80",
    "- item",
    "a: b",
    "---",
    "--- x\n--- y",
    "items:\n- a\n- b",
    "one\n- two\nthree\n",
    "two\n\n  indented\n# no comment\n",
    "'quoted' \"twice\"",
    "&a *b !c %d @e `f",
    "long " * 30,
    "ünï\u00e9",
    "",
    " space ",
    "...",
    "%YAML 1.1",
    "{}[],",
    "#",
]


def metadata() -> st.SearchStrategy[dict[str, Any]]:
    text = st.sampled_from(NASTY)
    return st.fixed_dictionaries(
        {"name": st.sampled_from(NAMES), "namespace": st.sampled_from(["default", "shop"])},
        optional={
            "labels": st.dictionaries(st.sampled_from(["app", "x/y", "on"]), text, max_size=2),
            "annotations": st.dictionaries(text.filter(bool), text, max_size=3),
            "creationTimestamp": st.just("2024-05-01T10:00:00Z"),
            "managedFields": st.just([{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]),
        },
    )


def services() -> st.SearchStrategy[dict[str, Any]]:
    port = st.fixed_dictionaries({"port": st.integers(1, 65535)}, optional={"name": st.sampled_from(NAMES)})
    spec = st.fixed_dictionaries(
        {"ports": st.lists(port, max_size=2)},
        optional={"clusterIPs": st.just(["10.96.0.1", "fd00::1"]), "selector": st.just({"app": "web"})},
    )
    return st.fixed_dictionaries(
        {"apiVersion": st.just("v1"), "kind": st.just("Service"), "metadata": metadata(), "spec": spec}
    )


def slices() -> st.SearchStrategy[dict[str, Any]]:
    endpoint = st.fixed_dictionaries({"addresses": st.just(["10.1.0.1"]), "conditions": st.just({"ready": True})})
    return st.fixed_dictionaries(
        {
            "addressType": st.just("IPv4"),
            "apiVersion": st.just("discovery.k8s.io/v1"),
            "endpoints": st.lists(endpoint, max_size=2),
            "kind": st.just("EndpointSlice"),
            "metadata": metadata(),
        }
    )


def others() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "apiVersion": st.just("v1"),
            "data": st.dictionaries(st.sampled_from(["a", "items"]), st.sampled_from(NASTY)),
            "kind": st.just("ConfigMap"),
            "metadata": metadata(),
        }
    )


def documents() -> st.SearchStrategy[Any]:
    one = services() | slices() | others()
    many = st.lists(one, max_size=4)
    head = {"apiVersion": st.just("v1"), "items": many, "kind": st.just("List")}
    tail = {"metadata": st.just({"resourceVersion": ""})}
    listed = st.fixed_dictionaries(head, optional=tail)
    return one | listed | st.none()


class _Dumper(yaml.SafeDumper):
    """Indents lists in mappings, as PyYAML does not and kubectl does not, but people do."""

    indented = False

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless and not self.indented)

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Indenting(_Dumper):
    indented = True


@st.composite
def yaml_texts(draw: st.DrawFn) -> str:
    """Return the text of a file with a few documents."""
    text = draw(st.sampled_from(["", "# first\n", "---\n", "\n\n"]))
    document = None
    for number in range(draw(st.integers(1, 4))):
        if number:
            ends = ["---\n", "--- # next\n", "---   \n\n# c\n"]
            # Three dots end a document, so there must be one.
            text += draw(st.sampled_from(ends if document is None else [*ends, "...\n---\n"]))
        document = draw(documents())
        if document is None:
            continue
        style = draw(st.sampled_from(["block", "block", "block", "quoted", "literal", "flow", "json"]))
        if style == "json":
            text += json.dumps(document, indent=draw(st.sampled_from([None, 2, 4])), ensure_ascii=False) + "\n"
            continue
        text += yaml.dump(
            document,
            Dumper=draw(st.sampled_from([_Dumper, _Indenting])),
            default_flow_style=style == "flow",
            default_style={"quoted": '"', "literal": "|"}.get(style),
            width=draw(st.sampled_from([20, 80])),
            indent=draw(st.sampled_from([2, 4])),
            sort_keys=draw(st.booleans()),
            allow_unicode=True,
        )
    return text


LINES = [
    "---",
    "--- ",
    "---\t# c",
    "--- x",
    "...",
    "... # c",
    "%YAML 1.1",
    "# comment",
    "",
    "  ",
    "- ",
    "-",
    "- apiVersion: v1",
    "  - x",
    "items:",
    "items: # c",
    "kind: List",
    "apiVersion: v1",
    'metadata: "',
    "metadata: '",
    "metadata: |",
    "x: &a 1",
    "x: *a",
    "  y: &a {b: c}",
    "  <<: *a",
    "{",
    "}",
    "]",
    "x\x85--- y",
    "x\u2028- y",
    "? x",
    ": y",
]


@st.composite
def damaged_texts(draw: st.DrawFn) -> str:
    """Return a text of `yaml_texts` with up to three lines changed."""
    lines = draw(yaml_texts()).split("\n")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["insert", "insert", "delete", "double", "indent", "unindent", "cut"])):
            case "insert":
                lines.insert(at, draw(st.sampled_from(["", "  ", "    "])) + draw(st.sampled_from(LINES)))
            case "delete" if len(lines) > 1:
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "indent":
                lines[at] = " " + lines[at]
            case "unindent":
                lines[at] = lines[at][1:]
            case "cut":
                lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
    return draw(st.sampled_from(["\n", "\n", "\r\n", "\r"])).join(lines)
