"""Which output every scene goes to, and whether it may go there; nothing is created but folders."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
import uuid
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from geosr.batch import records
from geosr.errors import UsageError, without_secrets
from geosr.raster import publish
from geosr.sensors import find_scenes, is_remote

_LONGEST = 200  # bytes of an output's name without its suffix


def targets(
    src: Path, dst: Path, *, pattern: str | None = None, kind: str = "sentinel2",
    suffix: str = ".tif", tmp_dir: Path | None = None,
) -> dict[Path, Path]:  # fmt: skip
    """The output of every scene of `src`; nothing is created.

    Args:
        kind: of the scenes, as in OpenOptions.
        suffix: of outputs in a folder; ".png" where they are PNGs.
        tmp_dir: where unfinished outputs are to lie.

    Raises:
        UsageError: `src` is missing, `dst` names a file of another format, or outputs would lie in
            the input, finished or not.
    """
    scenes = _each_once(find_scenes(src, pattern=pattern, kind=kind))
    if is_file_name(dst):
        _check_name(dst, png=suffix == ".png")
        if len(scenes) > 1:
            raise UsageError(
                f"{dst} is one file, but {src} holds {len(scenes)} scenes. Give a folder."
            )
        outputs = dict.fromkeys(scenes, dst)
    else:
        outputs = {scene: dst / f"{output_name(scene)}{suffix}" for scene in scenes}
    _check_outside(src, outputs)
    if tmp_dir:
        _check_outside(src, {scene: tmp_dir / output.name for scene, output in outputs.items()})
    return outputs


def shard(outputs: Mapping[Path, Path], part: int, parts: int) -> dict[Path, Path]:
    """The scenes of one part of several (1 … `parts`): told by the output's name alone.

    The parts together are all scenes, none twice, whatever else lies in the folder.
    """
    return {
        scene: output
        for scene, output in outputs.items()
        if int(hashlib.sha256(os.fsencode(output.name)).hexdigest(), 16) % parts == part - 1
    }


def is_file_name(dst: Path) -> bool:
    """DST ending in .tif, .tiff or .png is a file, anything else a folder."""
    return dst.suffix.lower() in records.SUFFIXES


def output_name(scene: Path) -> str:
    """A scene's name as a file name: no extension, nothing a shell or a path could trip over."""
    if is_remote(str(scene)):
        url = unquote(scene.name).removeprefix("vsicurl?url=")
        path = Path(without_secrets(url).partition("?")[0])
    else:
        path = Path(os.path.realpath(scene))  # follows no link to itself
    name = path.name if path.is_dir() else path.stem
    name = re.sub(r"\.SAFE$|_LR\*$", "", name, flags=re.IGNORECASE)
    return _fitting(re.sub(r"[^\w.+-]", "_", name).lstrip(".-") or "scene")


def _fitting(name: str) -> str:
    """A name that leaves room for what is added to it; a long one ends in a hash of the whole."""
    if len(os.fsencode(name)) <= _LONGEST:
        return name
    told = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    return f"{publish.shortened(name, _LONGEST - 9)}-{told}"


def _check_name(dst: Path, *, png: bool) -> None:
    if dst.is_dir():
        raise UsageError(f"{dst} is a folder where a file must go. Choose another DST.")
    if (dst.suffix.lower() == ".png") != png:
        raise UsageError(
            f"{dst} would hold {'a PNG' if png else 'no PNG'} by --format. Choose "
            + ("a name that ends in .png." if png else "--format PNG, or a name that ends in .tif.")
        )
    size = len(os.fsencode(dst.stem))
    if size > _LONGEST:
        raise UsageError(
            f"the name of {dst} takes {size} bytes, more than {_LONGEST}. Choose a shorter one."
        )


def _each_once(scenes: Sequence[Path]) -> list[Path]:
    """Without links to scenes that are listed themselves."""
    real = {os.path.realpath(scene): scene for scene in scenes}
    real |= {os.path.realpath(scene): scene for scene in scenes if not scene.is_symlink()}
    return sorted(real.values())


def clashes(outputs: Mapping[Path, Path]) -> dict[Path, Path]:
    """Scenes whose output another scene would overwrite, with one such scene.

    Names that differ in case or in accents' spelling alone are the same to some disks: theirs is
    asked, where the folder is there.
    """
    alike: dict[str, list[Path]] = {}
    for scene, output in outputs.items():
        alike.setdefault(unicodedata.normalize("NFC", str(output)).casefold(), []).append(scene)
    found: dict[Path, Path] = {}
    for scenes in alike.values():
        for one in scenes if len(scenes) > 1 else ():
            others = (other for other in scenes if other != one)
            same = (other for other in others if _same_file(outputs[one], outputs[other]))
            found.update((one, other) for other in islice(same, 1))
    return found


def _same_file(one: Path, other: Path) -> bool:
    """Whether two names are one file's to their disk."""
    if one == other:
        return True
    mark = f".{uuid.uuid4().hex[:8]}."
    probe = one.with_name(mark + one.name)
    try:
        probe.touch(exist_ok=False)
    except OSError:  # writing it will tell
        return False
    try:
        return other.with_name(mark + other.name).exists()
    finally:
        publish.discard(probe)


def _check_outside(src: Path, outputs: Mapping[Path, Path]) -> None:
    source = Path(os.path.realpath(src))
    for scene, output in outputs.items():
        if lies_in(output, scene) or lies_in(output, source):
            raise UsageError(
                f"output {output} lies in the input {src}, which is never written to. "
                "Choose another DST."
            )


def lies_in(output: Path, src: Path) -> bool:
    """Whether an output would be the input, or in its folder."""
    source, place = (Path(os.path.realpath(path)) for path in (src, output))
    return place == source or (source.is_dir() and place.is_relative_to(source))


def check_writable(folder: Path) -> None:
    """Create `folder` and try a file in it.

    Raises:
        UsageError: it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        publish.probe_folder(folder)
    except OSError as error:
        raise UsageError(
            f"not writable: {folder} ({error.strerror}). Choose another DST."
        ) from error
