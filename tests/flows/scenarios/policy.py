"""Rows 99 and 100: node ports where the policy of FORWARD is DROP."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.flows.expect import DROPPED, KEPT, MASQUERADED, answered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.flows.scene import Scene


def marked_is_accepted(scene: Scene) -> None:
    with _forward_drops(scene):
        scene.check("EXT", "NA:NP", answered("a1 b1", MASQUERADED))


def nothing_is_opened(scene: Scene) -> None:
    with _forward_drops(scene):
        scene.check("EXT", "NA:NP", DROPPED)


def unmarked_needs_cni(scene: Scene) -> None:
    with _forward_drops(scene):
        scene.check("EXT", "NA:NP", DROPPED)
        scene.mode.forward_policy(
            scene.cluster.node, scene.family, "DROP", (scene.cluster.address("a1", scene.family),)
        )
        scene.check("EXT", "NA:NP", answered("a1", KEPT))


@contextlib.contextmanager
def _forward_drops(scene: Scene) -> Iterator[None]:
    scene.mode.forward_policy(scene.cluster.node, scene.family, "DROP")
    try:
        yield
    finally:
        scene.mode.forward_policy(scene.cluster.node, scene.family, "ACCEPT")
