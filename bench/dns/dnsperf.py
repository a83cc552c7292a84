"""Runs dnsperf, and reads what it found."""

from __future__ import annotations

import re
import statistics
from typing import TYPE_CHECKING, NamedTuple

from bench.dns.servers import CLIENT_CORE, FIRST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab import Namespace


class Outcome(NamedTuple):
    """One run: answers a second, queries without one, and latencies in milliseconds (none unless asked for)."""

    rate: float
    lost: int
    median_ms: float = 0.0
    p99_ms: float = 0.0


def knee(namespace: Namespace, address: str, questions: Path, seconds: int) -> Outcome:
    """As fast as it goes, with 200 queries under way from 16 ports."""
    text = _run(namespace, address, questions, seconds, "-q", "200")
    return Outcome(_number(text, r"Queries per second:\s+([\d.]+)"), int(_number(text, r"Queries lost:\s+(\d+)")))


def at_rate(namespace: Namespace, address: str, questions: Path, seconds: int, rate: int) -> Outcome:
    """At a fixed rate, with the latency of every query."""
    text = _run(namespace, address, questions, seconds, "-Q", str(rate), "-q", "1000", "-v")
    # > NXDOMAIN name A 0.000123
    latencies = sorted(float(found) * 1000 for found in re.findall(r"^> .* (\d+\.\d+)$", text, re.MULTILINE))
    answered = _number(text, r"Queries per second:\s+([\d.]+)")
    lost = int(_number(text, r"Queries lost:\s+(\d+)"))
    return Outcome(answered, lost, statistics.median(latencies), latencies[int(len(latencies) * 0.99)])


def _run(namespace: Namespace, address: str, questions: Path, seconds: int, *more: str) -> str:
    # Into a file: whoever had to read a pipe in time would be measured, too.
    output = questions.with_suffix(".out")
    with output.open("wb") as file:
        process = namespace.popen(
            [
                *(*FIRST, "taskset", "-c", CLIENT_CORE, "dnsperf", "-s", address, "-d", str(questions)),
                *("-l", str(seconds), "-c", "16", "-T", "1", "-e", *more),
            ],
            stdout=file,
            stderr=file,
        )
        process.wait(seconds + 60)
    return output.read_text(encoding="ascii", errors="replace")


def _number(text: str, pattern: str) -> float:
    match = re.search(pattern, text)
    assert match, text[-2000:]
    return float(match[1])
