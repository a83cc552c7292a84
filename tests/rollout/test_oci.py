"""Layers as the image format has them."""

from __future__ import annotations

import json
import stat
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.rollout.oci import Image, write_archive

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    made = tmp_path / "lower"
    (made / "etc" / "old").mkdir(parents=True)
    (made / "etc" / "old" / "file").write_text("old")
    (made / "etc" / "gone").write_text("gone")
    (made / "program").write_text("#!/bin/sh\n")
    (made / "program").chmod(0o4755)
    return made


@pytest.fixture
def upper(tmp_path: Path, lower: Path) -> Path:
    """What overlayfs makes of a deleted file, a directory that was replaced, and a link."""
    for name in ("upper", "work", "root"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={lower},upperdir={tmp_path / 'upper'},workdir={tmp_path / 'work'}"
    changes = "rm etc/gone; rm -r etc/old; mkdir etc/old; echo new > etc/old/other; ln -s program link"
    script = f"mount -t overlay overlay -o {options} {tmp_path / 'root'}; cd {tmp_path / 'root'}; {changes}"
    subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-ec", script], check=True)
    return tmp_path / "upper"


def test_what_overlayfs_deleted_is_deleted_in_the_image(lower: Path, upper: Path, tmp_path: Path) -> None:
    write_archive([Image("test:1", (lower, upper), ["/program"])], tmp_path / "images.tar")
    below, above = layers(tmp_path / "images.tar", "docker.io/library/test:1")
    assert sorted(below) == ["etc", "etc/gone", "etc/old", "etc/old/file", "program"]
    assert stat.S_IMODE(below["program"].mode) == 0o4755
    assert sorted(above) == ["etc", "etc/.wh.gone", "etc/old", "etc/old/.wh..wh..opq", "etc/old/other", "link"]
    assert above["link"].linkname == "program"


def test_a_layer_of_several_images_is_there_once(lower: Path, upper: Path, tmp_path: Path) -> None:
    images = [Image("test:1", (lower,), ["/a"]), Image("registry.example/test:2", (lower, upper), ["/b"])]
    write_archive(images, tmp_path / "images.tar")
    with tarfile.open(tmp_path / "images.tar") as archive:
        names = archive.getnames()
    # Two layers, two configurations, two manifests.
    assert len([name for name in names if name.startswith("blobs/")]) == len(set(names)) - 2 == 6
    assert len(layers(tmp_path / "images.tar", "registry.example/test:2")) == 2


def layers(path: Path, image: str) -> list[dict[str, tarfile.TarInfo]]:
    """The members of each layer of an image by name, found as a reader of the format finds them."""
    with tarfile.open(path) as archive:

        def blob(descriptor: dict[str, Any]) -> Any:
            file = archive.extractfile(f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}")
            assert file
            return file

        index = archive.extractfile("index.json")
        assert index
        [found] = [
            one for one in json.load(index)["manifests"] if one["annotations"]["io.containerd.image.name"] == image
        ]
        members = []
        for descriptor in json.load(blob(found))["layers"]:
            with tarfile.open(fileobj=blob(descriptor)) as layer:
                members.append({member.name: member for member in layer.getmembers()})
        return members
