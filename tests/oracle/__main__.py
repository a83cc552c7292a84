"""`python -m tests.oracle [nft|legacy]`: every row of the table, and whether the real kube-proxy does what it says."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from tests.flows.configs import CONFIGS
from tests.oracle.cases import cases_of
from tests.oracle.known import reason
from tests.oracle.kube_proxy import KubeProxy, OracleStage

if TYPE_CHECKING:
    from tests.flows.stage import Case


def main() -> int:
    mode = KubeProxy(sys.argv[1] if len(sys.argv) > 1 else "nft")
    stage = OracleStage(mode)
    verdicts: Counter[str] = Counter()
    stage.open()
    try:
        for config, group in groupby(cases_of(mode), key=lambda case: case.config):
            together = list(group)
            stage.play(CONFIGS[config], together)
            for case in together:
                verdict = _verdict(case, stage.failures[case.id])
                verdicts[verdict] += 1
                print(f"{verdict:10} {case.id}", flush=True)
                if verdict == "DIFFERS":
                    print(textwrap.indent(stage.failures[case.id], " " * 11), flush=True)
    finally:
        stage.close()
    print(", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items())))
    return 1 if verdicts["DIFFERS"] or verdicts["STALE"] else 0


def _verdict(case: Case, failure: str) -> str:
    """STALE: listed as a known difference, and there is none."""
    if reason(case):
        return "known" if failure else "STALE"
    return "DIFFERS" if failure else "equal"


if __name__ == "__main__":
    sys.exit(main())
