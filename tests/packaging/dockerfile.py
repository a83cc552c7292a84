"""Reads a Dockerfile: as much of the language as ours uses, and an error for anything else."""

from __future__ import annotations

import json
import re
import shlex
from typing import NamedTuple


class Step(NamedTuple):
    """One instruction. `words` are the arguments of COPY; `text` is the rest of the line of any other one."""

    name: str
    text: str
    words: tuple[str, ...] = ()
    source: str = ""
    """COPY --from=STAGE."""


class Stage(NamedTuple):
    """FROM and what follows. `name` is what it is called (AS), "" for the last."""

    base: str
    name: str
    steps: tuple[Step, ...]


class Image(NamedTuple):
    """What a container of the last stage runs."""

    stages: tuple[Stage, ...]
    environment: dict[str, str]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]


def read_dockerfile(text: str) -> Image:
    """Parse; ValueError for an instruction that is not known here."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    metadata: dict[str, str] = {}
    for line in _lines(text):
        name, _, rest = line.partition(" ")
        if name == "ARG":
            key, _, value = rest.partition("=")
            arguments[key] = value
        elif name == "FROM":
            base, *more = re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], rest).split()
            stages.append(Stage(base, more[1] if more else "", ()))
        elif name in ("RUN", "ENV"):
            stages[-1] = _with(stages[-1], Step(name, rest))
        elif name == "COPY":
            words = shlex.split(rest)
            source = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else ""
            stages[-1] = _with(stages[-1], Step(name, rest, tuple(words), source))
        elif name in ("ENTRYPOINT", "CMD"):
            metadata[name] = rest
        else:
            raise ValueError(f"{name} is not known here")
    environment = dict(word.split("=", 1) for s in stages[-1].steps if s.name == "ENV" for word in shlex.split(s.text))
    entrypoint, command = (tuple(json.loads(metadata[name])) for name in ("ENTRYPOINT", "CMD"))
    return Image(tuple(stages), environment, entrypoint, command)


def _lines(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def _with(stage: Stage, step: Step) -> Stage:
    return stage._replace(steps=(*stage.steps, step))
