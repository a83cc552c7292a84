"""`python -m tests.docs` writes docs/configuration.md again."""

from __future__ import annotations

from tests.docs.reference import PAGE, page

if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE.name)
