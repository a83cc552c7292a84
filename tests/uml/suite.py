"""The tests that belong inside: `python -m tests.uml.suite`, the last step of `make test`.

As root these are the tests marked `uml`: the whole flow table, and what the host's kernel may be unable to run. An
ordinary user, who can't make network namespaces outside, gets the tests marked `root` as well.
"""

from __future__ import annotations

import os
import sys
import time

from tests.uml.kernel import Missing, kernel
from tests.uml.machine import run

IN_CI = os.environ.get("CI", "") not in ("", "false")
TIMEOUT_S = 3600


def main(arguments: list[str]) -> int:
    try:
        kernel()
    except Missing as error:
        return _not_run(error)
    root = os.geteuid() == 0
    which = "uml" if root else "uml or root"
    told = (
        "the flow table, and what needs IPVS"
        if root
        else "all tests that need root, but for those with a real API server"
    )
    print(f"in User-Mode Linux: {told}", flush=True)
    start = time.monotonic()
    # The tests with a real API server would take longer there than all the others together.
    left_out = [] if root else [f"--ignore=tests/{folder}" for folder in ("oracle", "controlplane", "rollout")]
    wishes = {name: value for name, value in os.environ.items() if name.startswith("KPROXY_ORACLE")}
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", which, *left_out, *arguments]
    status = run(pytest, timeout_s=TIMEOUT_S, environment=wishes)
    print(f"in User-Mode Linux: {(time.monotonic() - start) / 60:.1f} minutes", flush=True)
    return status


def _not_run(error: Missing) -> int:
    """Without a kernel: a failure in CI, where every test runs, and elsewhere words that can't be overlooked."""
    line = "!" * 20
    print(f"{line} IPVS, SCTP AND USER-MODE LINUX WERE NOT TESTED {line}\n{error}", file=sys.stderr, flush=True)
    return 1 if IN_CI else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
