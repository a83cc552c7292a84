"""Container images out of layers that are directories: an OCI image layout in a tar, as `ctr images import` takes it.

https://github.com/opencontainers/image-spec: image-layout.md, manifest.md, config.md, layer.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Json = dict[str, Any]
MEDIA = "application/vnd.oci.image"
INDEX, MANIFEST, CONFIG, LAYER = (
    f"{MEDIA}.{kind}" for kind in ("index.v1+json", "manifest.v1+json", "config.v1+json", "layer.v1.tar")
)
#: What a name without a registry stands for.
REGISTRY = "docker.io/library"
#: How an overlay directory says that it hides all that is below it, and how the image format says so.
OPAQUE_MARK = "trusted.overlay.opaque"
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"


class Image(NamedTuple):
    """A name with its tag, the directories of its layers (the lowest first), and what a container of it runs."""

    name: str
    layers: tuple[Path, ...]
    entrypoint: Sequence[str]
    command: Sequence[str] = ()
    environment: Sequence[str] = ()


def write_archive(images: Sequence[Image], path: Path) -> None:
    """Write all images to one tar; a layer that several have is in it once."""
    work = path.with_suffix(".blobs")
    work.mkdir()
    with tarfile.open(path, "w") as archive:
        layers = {}
        for directory in dict.fromkeys(layer for image in images for layer in image.layers):
            blob = work / "layer"
            layers[directory] = _layer(directory, blob)
            archive.add(blob, f"blobs/sha256/{layers[directory]['digest'].removeprefix('sha256:')}")
            blob.unlink()
        manifests = [_manifest(image, [layers[one] for one in image.layers], archive) for image in images]
        _add(archive, "index.json", {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
        _add(archive, "oci-layout", {"imageLayoutVersion": "1.0.0"})
    work.rmdir()


def _manifest(image: Image, layers: Sequence[Json], archive: tarfile.TarFile) -> Json:
    """Add an image's manifest and configuration; return the manifest's descriptor under the image's name."""
    runs = {"Entrypoint": list(image.entrypoint), "Cmd": list(image.command), "Env": list(image.environment)}
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": runs,
        # Of layers that are not compressed the digest is that of the tar, too.
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _blob(archive, CONFIG, config),
        "layers": list(layers),
    }
    names = {"io.containerd.image.name": image.name if "/" in image.name else f"{REGISTRY}/{image.name}"}
    return {**_blob(archive, MANIFEST, manifest), "annotations": names}


def _layer(directory: Path, target: Path) -> Json:
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        _add_directory(tar, directory, "")
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"mediaType": LAYER, "digest": f"sha256:{digest}", "size": target.stat().st_size}


def _add_directory(tar: tarfile.TarFile, directory: Path, inside: str) -> None:
    """Add what an overlay directory holds; its marks of what is deleted become those of the image format."""
    if OPAQUE_MARK in os.listxattr(directory):
        tar.addfile(tarfile.TarInfo(f"{inside}{OPAQUE}"))
    for path in sorted(directory.iterdir()):
        status = path.lstat()
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            tar.addfile(tarfile.TarInfo(f"{inside}{WHITEOUT}{path.name}"))
            continue
        tar.add(path, f"{inside}{path.name}", recursive=False)
        if stat.S_ISDIR(status.st_mode):
            _add_directory(tar, path, f"{inside}{path.name}/")


def _blob(archive: tarfile.TarFile, media_type: str, content: Json) -> Json:
    data = json.dumps(content).encode()
    digest = hashlib.sha256(data).hexdigest()
    _add(archive, f"blobs/sha256/{digest}", content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _add(archive: tarfile.TarFile, name: str, content: Json) -> None:
    data = json.dumps(content).encode()
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
