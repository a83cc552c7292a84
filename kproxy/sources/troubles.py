"""What hinders a source at present, said once: when it begins, and when it is over. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


MAX_TOLD: Final = 20
"""So many different reasons are told of one trouble: some servers put a number of its own into every error."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that hinders. `resource` is "" where it hinders all of them alike: that is said only once."""

    resource: str
    why: str


class Troubles:
    """Compares with what was said before."""

    def __init__(self) -> None:
        # what is hindered -> all that was said of it since it began: it may alternate
        self._told: dict[str, set[str]] = {}

    def news(self, now: Iterable[Trouble]) -> tuple[list[Trouble], list[str]]:
        """Return the troubles to speak of, and the resources ("": all of them) that nothing hinders any more."""
        begun: list[Trouble] = []
        hindered = set()
        for trouble in now:
            hindered.add(trouble.resource)
            told = self._told.setdefault(trouble.resource, set())
            if trouble.why not in told and len(told) < MAX_TOLD:
                told.add(trouble.why)
                begun.append(trouble)
        over = [resource for resource in self._told if resource not in hindered]
        for resource in over:
            del self._told[resource]
        return begun, over
