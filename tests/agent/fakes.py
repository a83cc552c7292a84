"""A mode that keeps nothing, and fails when told to: for tests of what is around the modes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.dataplane.mode import Synced

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kproxy.errors import KernelError, ObjectError
    from kproxy.plan.intent import PortIntent
    from kproxy.state.addresses import Family
    from kproxy.state.node import NodeInfo


class FakeProxier:
    """`fail_next` is raised by the next sync, `written` is what each says. `syncs` and `looks` count what was asked."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.refused: Mapping[str, ObjectError] = {}
        self.unsupported: Mapping[str, str] = {}
        self.fail_next: KernelError | None = None
        self.syncs = self.looks = 0
        self.written = ""
        self._in_step = False

    def configure(self, node: NodeInfo, addresses: tuple[str, ...], service_cidrs: tuple[str, ...] = ()) -> None: ...

    def set_service(self, key: str, intents: Iterable[PortIntent], health_check_node_port: int) -> None: ...

    def sync(self, *, full: bool = False) -> Synced:
        self.syncs += 1
        full = full or not self._in_step
        error, self.fail_next = self.fail_next, None
        self._in_step = error is None
        if error is not None:
            raise error
        return Synced(full, self.written, 0, {})

    def intact(self) -> bool:
        self.looks += 1
        return True

    def count_rules(self) -> Mapping[str, int]:
        return {}
