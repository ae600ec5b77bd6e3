"""Input files against the checksums that came with them.

A SAFE product lists its files' in manifest.safe (MD5, later SHA3-256); for any other file
FILE.sha256 or FILE.md5 beside it holds them, as sha256sum and md5sum write it.
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geosr.errors import SceneError
from geosr.scene.scene import Scene
from geosr.sensors.sentinel2 import head_of, parse

log = logging.getLogger("geosr")
_MANIFEST = "manifest.safe"
_BESIDE = ("sha256", "md5")
_KNOWN = {"md5", "sha256", "sha512", "sha3_256", "sha3_512"}
_PART = 2**20  # bytes
_LONGEST = 2**12  # characters of a file with one checksum that are read


@dataclass(frozen=True)
class _Known:
    """A file and what it should hash to."""

    file: Path | zipfile.Path
    algorithm: str
    digest: str
    told: str  # by what


def require(scene: Scene) -> None:
    """Compare every file of a scene whose checksum is known; warns where none is.

    Raises:
        SceneError: one differs, is missing or cannot be read.
    """
    known = [*_of_product(scene), *_beside(scene)]
    for each in known:
        found = _digest(each)
        if found != each.digest.lower():
            raise SceneError(
                f"{each.file} is damaged: its {each.algorithm} is {found}, {each.told} says "
                f"{each.digest.lower()}. Download it again."
            )
    if not known:
        log.warning("%s: no checksums came with it (%s, FILE.sha256, FILE.md5); nothing compared",
                    scene.path, _MANIFEST)  # fmt: skip


def _of_product(scene: Scene) -> Iterator[_Known]:
    """What a SAFE product's manifest says of the images that are read."""
    root, wanted = _root(Path(scene.path)), {Path(name).name for name in scene.files}
    manifest = root / _MANIFEST if root is not None else None
    if root is None or manifest is None or not manifest.is_file():
        return
    for stream in parse(lambda: head_of(manifest), str(manifest)).iter("byteStream"):
        place, told = stream.find("fileLocation"), stream.find("checksum")
        if place is None or told is None or not told.text:
            continue
        href = place.get("href", "").removeprefix("./")
        algorithm = told.get("checksumName", "").lower().replace("-", "_")
        inside = ".." not in href.split("/") and not href.startswith("/")
        asked = href.rpartition("/")[2] in wanted
        if inside and asked and algorithm in _KNOWN:
            yield _Known(root / href, algorithm, told.text.strip(), str(manifest))


def _root(path: Path) -> Path | zipfile.Path | None:
    """Where a product's manifest lies: a folder, or the one in a zip."""
    if path.is_dir():
        return path
    if not zipfile.is_zipfile(path):
        return None
    top = zipfile.Path(path)
    folders = [each for each in top.iterdir() if (each / _MANIFEST).is_file()]
    return folders[0] if folders else top


def _beside(scene: Scene) -> Iterator[_Known]:
    """What files beside the images, or beside the one file that is the scene, say."""
    whole = Path(scene.path)
    for file in [whole] if whole.is_file() else [Path(name) for name in scene.files]:
        for algorithm in _BESIDE:
            said = file.with_name(f"{file.name}.{algorithm}")
            if said.is_file():
                with said.open(errors="replace") as text:
                    words = text.read(_LONGEST).split()
                yield _Known(file, algorithm, words[0] if words else "nothing", str(said))


def _digest(known: _Known) -> str:
    try:
        found = hashlib.new(known.algorithm, usedforsecurity=False)
        with known.file.open("rb") as file:
            while part := file.read(_PART):
                found.update(part)
        return found.hexdigest()
    except (OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise SceneError(
            f"cannot read {known.file} ({error}), which {known.told} lists. Download it again."
        ) from error
