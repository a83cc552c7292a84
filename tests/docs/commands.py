"""The commands that the pages tell one to type, each with where it is to be run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"<!-- run (?P<where>.+?) -->\n```console\n(?P<text>.*?)```", re.DOTALL)


class Block(NamedTuple):
    """A block of commands; `where` is what the comment above it says."""

    page: str
    where: str
    commands: tuple[str, ...]


def blocks() -> list[Block]:
    """All blocks of all pages, in their order."""
    return [
        Block(path.name, match["where"], tuple(_commands(match["text"])))
        for path in sorted(DOCS.glob("*.md"))
        for match in _BLOCK.finditer(path.read_text(encoding="utf-8"))
    ]


def commands(page: str, where: str) -> list[str]:
    """The commands of a page that are to be run in one place."""
    return [command for block in blocks() if (block.page, block.where) == (page, where) for command in block.commands]


def unmarked() -> list[str]:
    """Pages with a console block that no comment says where to run."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
    return [name for name, text in texts.items() if text.count("```console") != len(_BLOCK.findall(text))]


def _commands(text: str) -> list[str]:
    return [line.removeprefix("$ ").split("     #")[0].strip() for line in text.splitlines() if line.startswith("$ ")]
