"""The YAML of examples/: which stories there are, all of them in one directory, and a Service with other endpoints."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.lab import Family, Host

Document = dict[str, Any]

EXAMPLES = Path(__file__).resolve().parents[1]
#: The same in every story, so in a directory of several stories it is there once.
NODES = "nodes.yaml"
SERVICE_NAME = "kubernetes.io/service-name"
FAMILY: dict[str, Family] = {"IPv4": "ipv4", "IPv6": "ipv6"}


def directory_of(story: str) -> Path:
    """Return the directory of a story."""
    return EXAMPLES / story


def documents(path: Path) -> list[Document]:
    """Read every document of one file, or of all YAML files of a directory."""
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    return [document for file in files for document in yaml.safe_load_all(file.read_text()) if document]


def merge(stories: Iterable[str], target: Path) -> None:
    """Copy the manifests of several stories into one directory, as STORY-FILE."""
    for story in stories:
        for file in directory_of(story).glob("*.yaml"):
            shutil.copyfile(file, target / (NODES if file.name == NODES else f"{story}-{file.name}"))


def replace_file(path: Path, contents: Sequence[Document]) -> None:
    """Write documents in place of a file, in one step: a reader sees the old file or the new one, never a half."""
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(yaml.safe_dump_all(contents, sort_keys=False))
    os.replace(scratch, path)  # noqa: PTH105 (the atomicity is the point)


def with_endpoints(contents: Iterable[Document], pods: Sequence[Host]) -> list[Document]:
    """Return the documents with `pods` as the endpoints of every EndpointSlice in them.

    Pods that had an endpoint keep theirs; the others get one that is ready.
    """
    changed = []
    for document in contents:
        made = copy.deepcopy(document)
        if made["kind"] == "EndpointSlice":
            before = {endpoint["targetRef"]["name"]: endpoint for endpoint in made["endpoints"]}
            family = FAMILY[made["addressType"]]
            made["endpoints"] = [before.get(pod.name) or _endpoint(pod, family, made) for pod in pods]
        changed.append(made)
    return changed


def _endpoint(pod: Host, family: Family, slice_: Document) -> Document:
    return {
        "addresses": [pod.primary(family)],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": pod.node,
        "targetRef": {"kind": "Pod", "namespace": slice_["metadata"]["namespace"], "name": pod.name},
    }
