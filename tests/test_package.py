"""An installed wheel is complete: it carries the rule book and runs without the repository."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(target),
        str(REPOSITORY),
    ]
    subprocess.run(command, check=True)
    (found,) = target.glob("kproxy-*.whl")
    return found


def test_wheel_carries_the_rule_book_and_nothing_of_the_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    rules = {path.relative_to(REPOSITORY / "rules").as_posix() for path in (REPOSITORY / "rules").rglob("*.rules")}
    assert {name.removeprefix("kproxy/_rules/") for name in names if name.endswith(".rules")} == rules
    assert not [name for name in names if name.startswith(("tests/", "rules/", "examples/", "bench/"))]


def test_unpacked_wheel_renders(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    manifests.joinpath("web.yaml").write_text(MANIFEST, encoding="utf-8")
    program = f"import sys; sys.path.insert(0, {str(site)!r}); from kproxy.cli import main; main()"
    command = [sys.executable, "-I", "-c", program, "render", "--manifests", str(manifests), "--hostname-override", "a"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert '"default/web has no endpoints" -m tcp -p tcp -d 10.96.0.10 --dport 80' in done.stdout
