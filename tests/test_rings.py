"""Who may import whom. A module imports from its own ring and from those further in, never outwards.

The table is the architecture: pure code decides, codecs and state machines translate, shells do the I/O, and the
wiring puts them together. A new module that stands in no ring fails the first test.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

RINGS = {
    # Objects in, desired kernel objects out: no I/O, no clock, no threads.
    "pure": """
        kproxy.errors kproxy.schedule
        kproxy.kube.wire kproxy.kube.decode kproxy.kube.resources kproxy.state kproxy.plan kproxy.settings
        kproxy.sources.changes kproxy.sources.base kproxy.sources.manifests kproxy.sources.documents
        kproxy.sources.reading kproxy.sources.recall
        kproxy.sources.own_node kproxy.sources.troubles
        kproxy.sources.yaml_lines kproxy.sources.yaml_reader kproxy.sources.yaml_scalars
        kproxy.dns.codes kproxy.dns.names kproxy.dns.records kproxy.dns.zone_config kproxy.dns.services kproxy.dns.pods
        kproxy.dns.slices kproxy.dns.special kproxy.dns.holdings kproxy.dns.service_answers kproxy.dns.reverse
        kproxy.dns.address_index kproxy.dns.problems kproxy.dns.change_log kproxy.dns.zonal
        kproxy.dns.zone kproxy.dns.proc_net
    """,
    # Bytes in, events out.
    "sans-IO": """
        kproxy.events.event kproxy.events.series kproxy.events.outbox
        kproxy.kube.backoff kproxy.kube.holding kproxy.kube.recovery kproxy.kube.reflector kproxy.kube.remedies
        kproxy.kube.position kproxy.kube.requests kproxy.kube.stream kproxy.kube.waits
        kproxy.netlink.errors kproxy.netlink.message kproxy.netlink.nfnetlink kproxy.netlink.exchange
        kproxy.netlink.conntrack kproxy.netlink.route kproxy.netlink.genetlink
        kproxy.netlink.ipvs kproxy.netlink.ipvs_listing kproxy.netlink.ipset
        kproxy.netlink.nftables
        kproxy.health.answer kproxy.health.bind kproxy.health.proxier kproxy.health.service
        kproxy.dns.query kproxy.dns.reply kproxy.dns.upstream kproxy.dns.forward kproxy.dns.responder
        kproxy.dns.resolv_conf kproxy.dns.cache kproxy.dns.feed kproxy.dns.kept kproxy.dns.programming
        kproxy.dns.exchange kproxy.dns.resolver kproxy.dns.stream kproxy.dns.tally kproxy.dns.transfer
    """,
    # Sockets, processes, files, time.
    "shell": """
        kproxy.config kproxy.config_values kproxy.config_watch kproxy.memory kproxy.logs kproxy.rulebook kproxy.notices
        kproxy.supervisor kproxy.threads
        kproxy.events.log kproxy.events.sender
        kproxy.kube.client kproxy.kube.connection kproxy.kube.credentials kproxy.kube.kubeconfig
        kproxy.kube.login kproxy.kube.plugins
        kproxy.sources.directory kproxy.sources.files kproxy.sources.folder kproxy.sources.watch
        kproxy.sources.kubernetes
        kproxy.netlink.socket kproxy.dataplane
        kproxy.health.accept kproxy.health.http kproxy.health.listen kproxy.health.request kproxy.health.server
        kproxy.health.service_listeners kproxy.health.shared
        kproxy.metrics
        kproxy.dns.server
    """,
    # What a user starts.
    "wiring": """
        kproxy.agent kproxy.health_checks kproxy.localhost_ports kproxy.modes kproxy.repairs kproxy.start
        kproxy.syncer kproxy.cli kproxy.__main__
    """,
}

#: Packages with modules of several rings: their `__init__` runs with each of them, so it imports nothing.
PACKAGES = {"kproxy", "kproxy.kube", "kproxy.sources", "kproxy.netlink", "kproxy.health", "kproxy.dns", "kproxy.events"}

#: All that the two inner rings may import besides each other. No asyncio, socket, subprocess, threading, time, os ...
INNER_LIBRARIES = {
    *("__future__", "base64", "bisect", "collections", "contextlib", "dataclasses", "datetime", "enum", "errno"),
    *(
        "functools",
        "hashlib",
        "heapq",
        "http",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "shlex",
        "struct",
    ),
    *("sys", "typing", "msgspec", "yaml"),
}
#: Functions that do I/O, look at the clock, or get at modules past the import statement.
FORBIDDEN_CALLS = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}
FORBIDDEN_METHODS = {"now", "utcnow", "today"}

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "kproxy").rglob("*.py"))
}
INNER = ("pure", "sans-IO")


def ring_of(module: str) -> str | None:
    """The ring of a module, or of the package around it; None: it stands in none."""
    if module in PACKAGES:
        return "pure"
    name = module
    while name and name not in PACKAGES:
        for ring, members in RINGS.items():
            if name in members.split():
                return ring
        name = name.rpartition(".")[0]
    return None


def imports_of(module: str) -> list[tuple[int, str]]:
    """(line, module) for everything a module imports, in functions and for types too."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            base = node.module or ""
            found += [
                (node.lineno, f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base)
                for alias in node.names
            ]
    return sorted(set(found))


def forbidden_calls(module: str) -> list[tuple[int, str]]:
    """(line, function) for calls that only a shell may make."""
    calls = [
        node for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    plain = [(call.lineno, call.func.id) for call in calls if isinstance(call.func, ast.Name)]
    methods = [(call.lineno, call.func.attr) for call in calls if isinstance(call.func, ast.Attribute)]
    return [one for one in plain if one[1] in FORBIDDEN_CALLS] + [one for one in methods if one[1] in FORBIDDEN_METHODS]


@pytest.mark.parametrize("module", list(MODULES))
def test_every_module_stands_in_a_ring(module: str) -> None:
    assert ring_of(module) is not None, f"{module} is in no ring: put it into the table in {Path(__file__).name}"


def test_the_table_names_only_what_there_is() -> None:
    named = {name for members in RINGS.values() for name in members.split()} | PACKAGES
    assert named <= MODULES.keys()


@pytest.mark.parametrize("module", list(MODULES))
def test_imports_go_inwards(module: str) -> None:
    """Transitively as well: what is imported obeys the same rule."""
    order = list(RINGS)
    mine = order.index(ring_of(module) or "wiring")
    wrong = [
        f"{MODULES[module].relative_to(ROOT)}:{line}: {module} ({order[mine]}) imports {name} ({ring_of(name)})"
        for line, name in imports_of(module)
        if name.split(".")[0] == "kproxy" and order.index(ring_of(name) or "wiring") > mine
    ]
    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize("module", [module for module in MODULES if ring_of(module) in INNER])
def test_inner_rings_do_no_io(module: str) -> None:
    path = MODULES[module].relative_to(ROOT)
    wrong = [
        f"{path}:{line}: {module} ({ring_of(module)}) imports {name}"
        for line, name in imports_of(module)
        if name.split(".")[0] not in INNER_LIBRARIES | {"kproxy"}
    ]
    wrong += [f"{path}:{line}: {module} ({ring_of(module)}) calls {call}()" for line, call in forbidden_calls(module)]
    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_packages_of_several_rings_import_nothing(package: str) -> None:
    assert [name for _, name in imports_of(package) if name != "__future__"] == []


def test_the_pure_ring_loads_no_event_loop_and_no_sockets() -> None:
    """The same seen from outside: what a fresh interpreter has loaded after importing all of it."""
    pure = [module for module in MODULES if ring_of(module) == "pure"]
    code = f"""
import importlib, sys
for module in {pure!r}:
    importlib.import_module(module)
outer = {[module for module in MODULES if ring_of(module) not in INNER]!r}
print(sorted(sys.modules.keys() & {{"asyncio", "socket", "subprocess", "selectors", "click", "pyroute2", *outer}}))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
