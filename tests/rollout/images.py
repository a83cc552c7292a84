"""The images that the node has: kproxy's from the Dockerfile, a newer one, and kube-proxy's with the real program."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from kproxy import __version__
from tests.packaging import layers
from tests.packaging.dockerfile import read_dockerfile
from tests.peers import VERSION, peer
from tests.rollout.oci import Image

if TYPE_CHECKING:
    from pathlib import Path

#: Tags of kproxy's image.
OLD, NEW, BROKEN = __version__, f"{__version__}-next", f"{__version__}-broken"
#: As kubeadm names it.
REGISTRY = "registry.example"
KUBE_PROXY = f"{REGISTRY}/kube-proxy:v{VERSION}"
INIT = "/opt/kproxy/lib/python3*/site-packages/kproxy/__init__.py"


def build(scratch: Path) -> list[Image]:
    """Build them, with what is not kept in an empty directory `scratch`; return what is to be imported."""
    dockerfile = read_dockerfile((layers.ROOT / "Dockerfile").read_text())
    built = layers.build(dockerfile)
    newer = layers.layer("newer", f"sed -i 's/{OLD}/{NEW}/' {INIT}", built)
    environment = [f"{name}={value}" for name, value in dockerfile.environment.items()]

    def kproxy(tag: str, content: list[Path]) -> Image:
        return Image(f"kproxy:{tag}", tuple(content), dockerfile.entrypoint, dockerfile.command, environment)

    program = scratch / "usr" / "local" / "bin"
    program.mkdir(parents=True)
    shutil.copy(peer("kube-proxy"), program)
    debian_and_tools = built[:2]
    return [
        kproxy(OLD, built),
        kproxy(NEW, [*built, newer]),
        Image(f"kproxy:{BROKEN}", tuple(built), ["/bin/false"]),
        Image(KUBE_PROXY, (*debian_and_tools, scratch), ["/usr/local/bin/kube-proxy"]),
    ]
