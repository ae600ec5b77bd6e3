"""Which output every scene goes to, and whether it may go there; nothing is created but folders."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from geosr.batch import records
from geosr.errors import UsageError, without_secrets
from geosr.raster import publish
from geosr.sensors import find_scenes, is_remote


def targets(
    src: Path, dst: Path, *, pattern: str | None = None, kind: str = "sentinel2",
    suffix: str = ".tif", tmp_dir: Path | None = None,
) -> dict[Path, Path]:  # fmt: skip
    """The output of every scene of `src`; nothing is created.

    Args:
        kind: of the scenes, as in OpenOptions.
        suffix: of outputs in a folder.
        tmp_dir: where unfinished outputs are to lie.

    Raises:
        UsageError: `src` is missing, outputs would collide or lie in the input, finished or not.
    """
    scenes = find_scenes(src, pattern=pattern, kind=kind)
    if is_file_name(dst):
        if len(scenes) > 1:
            raise UsageError(
                f"{dst} is one file, but {src} holds {len(scenes)} scenes. Give a folder."
            )
        outputs = dict.fromkeys(scenes, dst)
    else:
        outputs = {scene: dst / f"{output_name(scene)}{suffix}" for scene in scenes}
    _check_distinct(outputs)
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
    return re.sub(r"[^\w.+-]", "_", name).lstrip(".-") or "scene"


def _check_distinct(outputs: Mapping[Path, Path]) -> None:
    seen: dict[Path, Path] = {}
    for scene, output in outputs.items():
        if output.is_dir():
            raise UsageError(f"{output} is a folder where a file must go. Choose another DST.")
        if output in seen:
            raise UsageError(
                f"{seen[output]} and {scene} would both be written to {output}. Rename one."
            )
        seen[output] = scene


def _check_outside(src: Path, outputs: Mapping[Path, Path]) -> None:
    source = src.resolve()
    for scene, output in outputs.items():
        resolved = output.resolve()
        inside = source.is_dir() and resolved.is_relative_to(source)
        if resolved in (source, Path(os.path.realpath(scene))) or inside:
            raise UsageError(
                f"output {output} lies in the input {src}, which is never written to. "
                "Choose another DST."
            )


def check_writable(folder: Path) -> None:
    """Create `folder` and try a file in it.

    Raises:
        UsageError: it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = publish.part_path(folder / "probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"not writable: {folder} ({error.strerror}). Choose another DST."
        ) from error
