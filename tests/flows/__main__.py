"""`python -m tests.flows` prints the table: every row, what is expected, and for which mode it is given."""

from __future__ import annotations

from tests.flows.line import MODES, Elsewhere
from tests.flows.table import LINES


def main() -> None:
    for line in LINES:
        modes = ", ".join(MODES[letter] for letter in line.modes)
        expected = f"not here: {line.reason}" if isinstance(line, Elsewhere) else line.expected
        print(f"{line.row:>4}  {line.label}\n      {expected} [{modes}]" + (f" ({line.note})" if line.note else ""))


if __name__ == "__main__":
    main()
