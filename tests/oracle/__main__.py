"""`python -m tests.oracle [MODE...]`: every row, what kube-proxy makes of it, and whether kproxy does the same."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from typing import TYPE_CHECKING

from tests.flows.stages import Stages
from tests.oracle.cases import cases_of
from tests.oracle.contest import PAIRINGS, Contest, Pairing
from tests.oracle.known import beside_the_table, reason

if TYPE_CHECKING:
    from tests.flows.stage import Case


def main() -> int:
    playable = [pairing for pairing in PAIRINGS if not pairing.why_not()]
    named = [pairing for pairing in playable if pairing.kproxy.name in (sys.argv[1:] or [pairing.kproxy.name])]
    verdicts = sum((_play(pairing) for pairing in named), Counter[str]())
    print(", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items())))
    return 1 if verdicts["DIFFERS"] or verdicts["STALE"] or verdicts["TABLE"] else 0


def _play(pairing: Pairing) -> Counter[str]:
    cases = cases_of(pairing.kube_proxy)
    contests = Stages(cases, lambda _: Contest(pairing))
    verdicts: Counter[str] = Counter()
    try:
        for case in cases:
            verdict, told = _verdict(contests.played(case), case)
            verdicts[verdict] += 1
            print(f"{verdict:8} {case.id}", flush=True)
            if told:
                print(textwrap.indent(told, " " * 9), flush=True)
    finally:
        contests.close()
    return verdicts


def _verdict(contest: Contest, case: Case) -> tuple[str, str]:
    """TABLE: kube-proxy does not do what the table says. STALE: a known difference is none."""
    theirs, ours = (contest.turns[who].failures[case.id] for who in ("kube-proxy", "kproxy"))
    known, beside = reason(case), beside_the_table(case)
    if (known or beside) and not theirs:
        return "STALE", known or beside
    if known:
        return ("DIFFERS", ours) if ours and not beside else ("known", "")
    if theirs and not beside:
        return "TABLE", theirs
    difference = contest.difference(case)
    return ("DIFFERS" if difference else "equal"), difference


if __name__ == "__main__":
    sys.exit(main())
