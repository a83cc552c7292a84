"""The whole agent on a directory of manifests: start to first sync, memory, and one change from file to kernel."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from bench.figures import Figure
from bench.workload import NODE, POD_CIDR, as_json, as_yaml, endpoint_ips, endpoint_slice
from tests.lab import Namespace, Run
from tests.lab.agent import eventually

CHANGES = 8
FLAGS = (
    *("--hostname-override", NODE, "--cluster-cidr", POD_CIDR, "--conntrack-max-per-core", "0"),
    *("--conntrack-tcp-timeout-established", "0", "--conntrack-tcp-timeout-close-wait", "0"),
)


def figures(services: int, runs: int, variant: str, form: str, directory: Path) -> list[Figure]:
    """Measure; `form` is yaml or json, one file with everything."""
    text = as_yaml(services) if form == "yaml" else as_json(services)
    starts: list[float] = []
    rss: list[float] = []
    peak: list[float] = []
    changes: list[float] = []
    for _ in range(runs):
        for old in directory.iterdir():
            old.unlink()
        directory.joinpath(f"all.{form}").write_text(text, encoding="utf-8")
        with Run() as lab:
            namespace = Namespace(lab, "node")
            namespace.run("ip", "link", "set", "lo", "up")
            started, process = _start(namespace, variant, directory)
            try:
                starts.append(started)
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
                rss.append(_mib(status, "VmRSS"))
                peak.append(_mib(status, "VmHWM"))
                changes += [_change(namespace, variant, process, directory, number) for number in range(CHANGES)]
            finally:
                process.terminate()
                process.wait()
    where = f"{variant}, {form}"
    return [
        Figure(f"{where}: process start to first sync", starts),
        Figure(f"{where}: one changed EndpointSlice, file to kernel", [value * 1000 for value in changes], "ms"),
        Figure(f"{where}: memory after the first sync", rss, "MiB"),
        Figure(f"{where}: its peak", peak, "MiB"),
    ]


def _start(namespace: Namespace, variant: str, directory: Path) -> tuple[float, subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "kproxy", "run", "--manifests", str(directory), "--iptables-variant", variant, *FLAGS]
    start = time.perf_counter()
    process = subprocess.Popen(namespace.command(argv), stderr=subprocess.PIPE, text=True)
    eventually(lambda: namespace.call(_healthy), "the first sync", timeout_s=900)
    return time.perf_counter() - start, process


def _healthy() -> bool:
    try:
        with urllib.request.urlopen("http://127.0.0.1:10256/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _change(namespace: Namespace, variant: str, process: subprocess.Popen[str], directory: Path, number: int) -> float:
    """Write one new EndpointSlice; the agent logs its sync when the tool has returned, so the rule is in the kernel."""
    slice_ = endpoint_slice(number, generation=1)
    slice_["metadata"]["name"] += "-new"
    temporary = directory / f".change-{number}"
    temporary.write_text(json.dumps(slice_), encoding="utf-8")
    assert process.stderr is not None
    start = time.perf_counter()
    temporary.rename(directory / f"change-{number}.json")
    for line in process.stderr:
        if "IPv4: partial sync" in line:
            break
    seconds = time.perf_counter() - start
    rules = namespace.run(f"iptables-{variant}-save", "-t", "nat")
    assert f"--to-destination {endpoint_ips(number, generation=1)[0]}:" in rules
    return seconds


def _mib(status: str, field: str) -> float:
    line = next(line for line in status.splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) / 1024
