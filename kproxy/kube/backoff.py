"""How long to wait after a failure, as data: no clock, no random source of its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackOffPolicy:
    """The first delay, the factor from one to the next, and the longest; in seconds."""

    first_s: float
    longest_s: float
    factor: float = 2.0


@dataclass(slots=True)
class BackOff:
    """The delays of one series of failures. `failures` counts them since the last `reset`."""

    policy: BackOffPolicy
    failures: int = 0
    last_s: float = 0.0

    def next_s(self, chance: float) -> float:
        """Return the delay after one more failure: between half of the step and all of it, by `chance` (0 to 1)."""
        policy = self.policy
        step = min(policy.longest_s, policy.first_s * policy.factor ** min(self.failures, 100))
        self.failures += 1
        self.last_s = step * (0.5 + 0.5 * chance)
        return self.last_s

    def reset(self) -> None:
        """Begin a new series."""
        self.failures = 0
        self.last_s = 0.0
