"""Real Kubernetes programs for the tests, built once from Go modules and kept in a cache folder by version.

`python -m tests.peers` builds all of them (a few minutes each the first time) and prints where they are. Tests ask
for one with `peer("kube-apiserver")`, and skip with `why_not(...)` where it can be neither found nor built.
"""

from __future__ import annotations

from tests.peers.programs import PROGRAMS, VERSION, Missing, peer, require, why_not

__all__ = ["PROGRAMS", "VERSION", "Missing", "peer", "require", "why_not"]
