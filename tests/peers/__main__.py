"""`python -m tests.peers [program...]` builds what is missing and prints the paths."""

from __future__ import annotations

import sys

from tests.peers.programs import PROGRAMS, Missing, peer


def main() -> int:
    try:
        for program in sys.argv[1:] or PROGRAMS:
            print(peer(program))
    except Missing as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
