"""Which iptables to use: there are two, they do not see each other's rules, and the node's kubelet uses one of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kproxy.errors import FeatureMissing, KernelError
from kproxy.state.addresses import Family

VARIANTS = ("nft", "legacy")
_HINTS = re.compile(r"^:(KUBE-IPTABLES-HINT|KUBE-KUBELET-CANARY) ", re.MULTILINE)
_SBIN = "/usr/sbin:/sbin:/usr/local/sbin"


@dataclass(frozen=True, slots=True)
class Binaries:
    """Full paths of the tools of one family and variant."""

    family: Family
    variant: str
    iptables: str
    restore: str
    save: str


def find_binaries(family: Family, variant: str) -> Binaries | None:
    """Return the tools of one family and variant ("nft" or "legacy"), or None if they are not installed.

    Raises `KernelError` where one of them can't be started.
    """
    prefix = "iptables" if family is Family.IPV4 else "ip6tables"
    for stem in (f"{prefix}-{variant}", prefix):
        found = [_which(stem), _which(f"{stem}-restore"), _which(f"{stem}-save")]
        if all(found) and (stem != prefix or _variant_of(found[1]) == variant):
            return Binaries(family, variant, *found)
    return None


def detect_variant(wanted: str = "auto") -> str:
    """Return "nft" or "legacy".

    `auto` takes the one in which the kubelet left its marks (KEP-3178: KUBE-IPTABLES-HINT, before it
    KUBE-KUBELET-CANARY), then the one that holds more rules, then the system's default. Raises `FeatureMissing` when no
    iptables is installed, or not the wanted one, and `KernelError` as `find_binaries`.
    """
    installed = [variant for variant in VARIANTS if find_binaries(Family.IPV4, variant)]
    if not installed:
        raise FeatureMissing("iptables-restore is not installed", remedy="install the package iptables")
    if wanted != "auto":
        if wanted not in installed:
            raise FeatureMissing(
                f"--iptables-variant: iptables-{wanted}-restore is not installed",
                remedy=f"use {' or '.join(installed)}",
            )
        return wanted
    if len(installed) == 1:
        return installed[0]
    return choose_variant(_saved("nft"), _saved("legacy"), _variant_of(_which("iptables-restore")) or "nft")


def choose_variant(nft_save: str, legacy_save: str, default: str) -> str:
    """Decide from what both variants print: the kubelet's marks, then the number of rules, then `default`."""
    for variant, text in (("nft", nft_save), ("legacy", legacy_save)):
        if _HINTS.search(text):
            return variant
    nft, legacy = nft_save.count("\n-A "), legacy_save.count("\n-A ")
    if nft == legacy:
        return default
    return "nft" if nft > legacy else "legacy"


def _saved(variant: str) -> str:
    """Return the rules of one variant. Legacy tables are only looked at if they exist: looking would make them."""
    if variant == "legacy" and not legacy_tables(Family.IPV4):
        return ""
    binaries = find_binaries(Family.IPV4, variant)
    if binaries is None:
        return ""
    return "\n" + _output(binaries.save)


def legacy_tables(family: Family) -> list[str]:
    """Return the legacy tables that exist in this network namespace."""
    name = "ip_tables_names" if family is Family.IPV4 else "ip6_tables_names"
    try:
        return Path("/proc/net", name).read_text(encoding="utf-8").split()
    except OSError:
        return []


def _which(name: str) -> str:
    return shutil.which(name) or shutil.which(name, path=_SBIN + os.pathsep + os.environ.get("PATH", "")) or ""


def _variant_of(restore: str) -> str:
    """Ask a plain `iptables-restore` which of the two it is."""
    if not restore:
        return ""
    return "nft" if "nf_tables" in _output(restore, "--version") else "legacy"


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False)
    except OSError as error:
        raise KernelError(f"{command[0]} can't be started: {error.strerror}") from None
    return done.stdout
