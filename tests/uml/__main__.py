"""`python -m tests.uml [COMMAND...]`: run a command inside, or without one just see to it that there is a kernel."""

from __future__ import annotations

import sys

from tests.uml.kernel import Missing, kernel
from tests.uml.machine import run


def main() -> int:
    try:
        if len(sys.argv) > 1:
            return run(sys.argv[1:])
        print(kernel())
    except (Missing, RuntimeError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
