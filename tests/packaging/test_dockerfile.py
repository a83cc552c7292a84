from __future__ import annotations

import pytest

from tests.packaging.dockerfile import Step, read_dockerfile

TEXT = """\
# a comment
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN one && \\
    two
FROM ${BASE}
COPY --from=build /a /b
COPY x y /src/
ENV A=1 B="2 3"
ENTRYPOINT ["/p"]
CMD ["run", "-v"]
"""


def test_what_is_read() -> None:
    image = read_dockerfile(TEXT)
    assert [(stage.base, stage.name) for stage in image.stages] == [
        ("debian:bookworm-slim", "build"),
        ("debian:bookworm-slim", ""),
    ]
    assert [step.text.split() for step in image.stages[0].steps] == [["one", "&&", "two"]]
    assert image.stages[1].steps[:2] == (
        Step("COPY", "--from=build /a /b", ("/a", "/b"), "build"),
        Step("COPY", "x y /src/", ("x", "y", "/src/")),
    )
    assert (image.environment, image.entrypoint, image.command) == ({"A": "1", "B": "2 3"}, ("/p",), ("run", "-v"))


def test_what_is_not_known() -> None:
    with pytest.raises(ValueError, match="ONBUILD"):
        read_dockerfile("FROM x\nONBUILD RUN y\n")
