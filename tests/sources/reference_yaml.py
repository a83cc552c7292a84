"""An independent reading of manifests to compare with: PyYAML's own composer and constructor, on the whole text.

With libyaml's parser where it is there, as the parsers differ in odd corners. The resolver is PyYAML's, less what
Kubernetes does not know: timestamps, base-60 numbers and the `=` type.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import yaml

from kproxy.kube.wire import KINDS, KubeObject

API_VERSIONS = {
    "Service": "v1",
    "Endpoints": "v1",
    "Node": "v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "ServiceCIDR": "networking.k8s.io/v1",
}


class ReferenceLoader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    pass


_OTHER_TYPES = ("timestamp", "value", "int", "float")
ReferenceLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(_OTHER_TYPES)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind in ("int", "float"):
    for _first, _resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items():
        for _tag, _pattern in _resolvers:
            if _tag.endswith(f":{_kind}"):
                _no_colon = re.compile(rf"(?![^:]*:)(?:{_pattern.pattern})", _pattern.flags)
                ReferenceLoader.yaml_implicit_resolvers.setdefault(_first, []).append((_tag, _no_colon))


# PyYAML's own, and those that its constructors let through for tags that do not fit (`!!bool x`, `!!int ""`).
ERRORS = (yaml.YAMLError, ValueError, TypeError, KeyError, IndexError, AttributeError)


def load_all(text: bytes | str) -> list[Any]:
    """Return the documents of a text with mapping keys as JSON has them. Raises ERRORS."""
    return [json.loads(json.dumps(document)) for document in yaml.load_all(text, Loader=ReferenceLoader)]


def objects(documents: list[Any]) -> list[KubeObject]:
    """Return the objects of well-formed documents, Lists unfolded, in their order."""
    found: list[KubeObject] = []
    for document in documents:
        if document is None:
            continue
        if document["kind"] == "List":
            found.extend(objects(document.get("items") or []))
        elif document["kind"] in KINDS and document["apiVersion"] == API_VERSIONS[document["kind"]]:
            found.append(msgspec.convert(document, KINDS[document["kind"]]))
    return found


def object_lines(text: bytes | str, kinds: set[str]) -> list[int]:
    """Return the line (from 1) on which each object of these kinds begins, in or out of a List."""
    return [line for node in yaml.compose_all(text, Loader=ReferenceLoader) for line in _lines(node, kinds)]


def _lines(node: Any, kinds: set[str]) -> list[int]:
    if not isinstance(node, yaml.MappingNode):
        return []
    fields = {key.value: value for key, value in node.value}
    if fields["kind"].value == "List":
        return [line for item in fields["items"].value for line in _lines(item, kinds)]
    return [node.start_mark.line + 1] if fields["kind"].value in kinds else []
