"""Loads a server with dnsperf, and finds how fast it is and how long answers take."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import dns.message

from bench.dns import probe
from bench.dns.servers import CLIENT_CORE, FIRST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab import Namespace

BEGIN_S = 0.5
"""The load runs for so long before answers are timed."""


class Outcome(NamedTuple):
    """One run: answers a second, queries without one, and latencies in milliseconds (0 where only speed counts)."""

    rate: float
    lost: int
    median_ms: float = 0.0
    p99_ms: float = 0.0


def knee(namespace: Namespace, address: str, questions: Path, seconds: int) -> Outcome:
    """As fast as it goes, with 200 queries under way from 16 ports."""
    return _read(_start(namespace, address, questions, seconds), questions, seconds)


def at_rate(namespace: Namespace, address: str, questions: Path, seconds: int, rate: int) -> Outcome:
    """At a fixed rate; the latencies are those of a probe beside it."""
    process = _start(namespace, address, questions, seconds + 1, "-Q", str(rate))
    time.sleep(BEGIN_S)
    argv = [sys.executable, probe.__file__, address, str(_queries(questions)), str(seconds), CLIENT_CORE]
    timed = namespace.popen(argv, stdout=subprocess.PIPE)
    lost, found = json.loads(timed.communicate(timeout=seconds + 60)[0])
    load = _read(process, questions, seconds)
    latencies = sorted(1000 * one for one in found)
    return Outcome(load.rate, load.lost + lost, statistics.median(latencies), percentile(latencies, 99))


def percentile(values: list[float], share: int) -> float:
    """So many per cent of the values are no greater."""
    return sorted(values)[min(len(values) - 1, len(values) * share // 100)]


def _start(namespace: Namespace, address: str, questions: Path, seconds: int, *more: str) -> subprocess.Popen[bytes]:
    # Into a file: whoever had to read a pipe in time would be measured, too.
    with questions.with_suffix(".out").open("wb") as file:
        return namespace.popen(
            [
                *(*FIRST, "taskset", "-c", CLIENT_CORE, "dnsperf", "-s", address, "-d", str(questions)),
                *("-l", str(seconds), "-c", "16", "-T", "1", "-q", "200", "-e", *more),
            ],
            stdout=file,
            stderr=file,
        )


def _read(process: subprocess.Popen[bytes], questions: Path, seconds: int) -> Outcome:
    process.wait(seconds + 60)
    text = questions.with_suffix(".out").read_text(encoding="ascii", errors="replace")
    return Outcome(_number(text, r"Queries per second:\s+([\d.]+)"), int(_number(text, r"Queries lost:\s+(\d+)")))


def _number(text: str, pattern: str) -> float:
    match = re.search(pattern, text)
    assert match, text[-2000:]
    return float(match[1])


def _queries(questions: Path) -> Path:
    """The first of the questions as messages, for the probe."""
    path = questions.with_suffix(".queries")
    if not path.exists():
        lines = [line.split() for line in questions.read_text(encoding="ascii").splitlines()[:5000]]
        messages = [dns.message.make_query(name, qtype, use_edns=0, payload=1232) for name, qtype in lines]
        path.write_text("".join(f"{message.to_wire().hex()}\n" for message in messages), encoding="ascii")
    return path
