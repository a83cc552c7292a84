"""Builds an image as layers of an overlay file system: debootstrap's Debian below, a layer for each step above.

A layer is kept outside the repository under a key made of the steps up to it and the content of what they copy, so a
changed source file builds again only what comes after. Mounts are made in mount namespaces of their own.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.packaging.dockerfile import Step
from tests.uml.machine import inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.packaging.dockerfile import Image

ROOT = Path(__file__).parents[2]
SUITES = {"debian:bookworm-slim": "bookworm"}
TIMEOUT_S = 900
#: How this machine reaches package registries; lent to a step, and gone with it.
RESOLVER, AUTHORITIES, LENT_AUTHORITIES = (
    "/etc/resolv.conf",
    "/etc/ssl/certs/ca-certificates.crt",
    "/run/authorities.crt",
)
PIP = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "http_proxy", "https_proxy")


class BuildFailed(RuntimeError):
    """A step did not succeed; the text is its output."""


def cache() -> Path:
    """The folder of layers: below the user's cache directory."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "kproxy", "layers")


def build(image: Image) -> list[Path]:
    """Return the layers of the last stage, the lowest first. Raises BuildFailed."""
    built: dict[str, list[Path]] = {}
    for stage in image.stages:
        layers = [debian(SUITES[stage.base])]
        key = layers[0].name
        for step in stage.steps:
            if step.name == "ENV":
                continue
            key = _key(key, step, built)
            layers.append(_layer(key, step, layers, built))
        built[stage.name] = layers
    return built[image.stages[-1].name]


def require() -> None:
    """For fixtures: skip the test where the tools are missing, and fail it in CI, where everything runs."""
    if inside():
        pytest.skip("NOT RUN: debootstrap needs device nodes and a network, and User-Mode Linux has neither")
    missing = " and ".join(tool for tool in ("debootstrap", "systemd-nspawn") if not shutil.which(tool))
    if missing and os.environ.get("CI", "") not in ("", "false"):
        pytest.fail(f"in CI every test runs: {missing} must be installed", pytrace=False)
    if missing:
        pytest.skip(f"NOT RUN: {missing} must be installed")


def copy(*sources: str, to: str, below: Sequence[Path]) -> Path:
    """Return a layer with files of the repository, or the content of one directory of it."""
    step = Step("COPY", " ".join((*sources, to)), (*sources, to))
    return _layer(_key(below[-1].name, step, {}), step, below, {})


def layer(name: str, command: str, below: Sequence[Path]) -> Path:
    """Return one more layer: what a shell command makes of those below."""
    step = Step("RUN", command)
    return _layer(f"{name}-{_key(below[-1].name, step, {})}", step, below, {})


def overlay(layers: Sequence[Path], upper: Path, work: Path) -> str:
    """The mount options that stack layers (the lowest first) below a directory that takes the changes."""
    return f"lowerdir={':'.join(str(layer) for layer in reversed(layers))},upperdir={upper},workdir={work}"


def _key(before: str, step: Step, built: dict[str, list[Path]]) -> str:
    digest = hashlib.sha256(f"{before}\n{step.name} {step.text}\n".encode())
    if step.source:
        digest.update(built[step.source][-1].name.encode())
    elif step.name == "COPY":
        for path in (path for word in step.words[:-1] for path in _files(ROOT / word)):
            digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:24]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts)


def debian(suite: str) -> Path:
    """Return the lowest layer: Debian's smallest system."""
    path = cache() / f"debian-{suite}"
    if not path.exists():
        with _making(path) as making:
            _run(["debootstrap", "--variant=minbase", suite, str(making), _mirror(suite)])
    return path


def _mirror(suite: str) -> str:
    """The mirror that this machine installs Debian's packages from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {suite}"]
    addresses = _run(command).split()
    if not addresses:
        raise BuildFailed(f"apt names no mirror of {suite}")
    return addresses[0]


def _layer(key: str, step: Step, below: Sequence[Path], built: dict[str, list[Path]]) -> Path:
    path = cache() / key
    if not path.exists():
        with _making(path) as making:
            if step.name == "RUN":
                _run_step(step, below, making)
            elif step.source:
                _copy_from_stage(step, built[step.source], making)
            else:
                _copy_from_source(step, making)
    return path


def _run_step(step: Step, below: Sequence[Path], making: Path) -> None:
    """In a chroot of the layers, with the network and the package clients' settings of this machine."""
    work = making.with_name(f"{making.name}.work")
    work.mkdir()
    settings = [f"{name}={shlex.quote(os.environ[name])}" for name in PIP if name in os.environ]
    index = _run(["sh", "-c", "pip config get global.index-url 2>/dev/null || true"]).strip()
    if index and "PIP_INDEX_URL" not in os.environ:
        settings.append(f"PIP_INDEX_URL={shlex.quote(index)}")
    settings += [f"{name}={LENT_AUTHORITIES}" for name in ("PIP_CERT", "SSL_CERT_FILE")]
    environment = " ".join(
        ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", *settings]
    )
    script = [
        "root=$(mktemp -d)",
        f'mount -t overlay overlay -o {shlex.quote(overlay(below, making, work))} "$root"',
        'mount -t proc proc "$root/proc"; mount --bind /dev "$root/dev"',
        f'mount --bind -o ro {RESOLVER} "$root{RESOLVER}"',
        f'touch "$root{LENT_AUTHORITIES}"; mount --bind -o ro {AUTHORITIES} "$root{LENT_AUTHORITIES}"',
        f'status=0; env -i {environment} chroot "$root" /bin/sh -c {shlex.quote(step.text)} || status=$?',
        'umount -l "$root"; rmdir "$root"; exit $status',
    ]
    try:
        _private("\n".join(["set -e", *script]))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _copy_from_stage(step: Step, layers: Sequence[Path], making: Path) -> None:
    source, target = step.words
    there = making / target.lstrip("/")
    there.parent.mkdir(parents=True, exist_ok=True)
    script = [
        "set -e",
        "root=$(mktemp -d)",
        f'mount -t overlay overlay -o lowerdir={":".join(str(layer) for layer in reversed(layers))} "$root"',
        f'cp -a "$root{source}" {shlex.quote(str(there))}; umount "$root"; rmdir "$root"',
    ]
    _private("\n".join(script))


def _copy_from_source(step: Step, making: Path) -> None:
    *sources, target = step.words
    there = making / target.lstrip("/")
    for source in (ROOT / word for word in sources):
        if source.is_dir():
            shutil.copytree(source, there, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            there.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, there)


@contextmanager
def _making(path: Path) -> Iterator[Path]:
    """A directory beside `path` that becomes it in one step, when nothing went wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(f".{path.name}.{os.getpid()}")
    making.mkdir()
    try:
        yield making
        making.rename(path)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _private(script: str) -> None:
    """Run a shell script in a mount namespace of its own."""
    _run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script])


def _run(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode:
        raise BuildFailed(f"{' '.join(argv)[:200]}: {(done.stdout + done.stderr)[-3000:]}")
    return done.stdout
