"""The files of generated scenes, made once in a process and copied from there: many tests ask."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import make_scene

_LARGEST = 1200  # pixels a side that are kept for the next test
_TEMPORARY = TemporaryDirectory(prefix="geosr-scenes-")
_KEPT: dict[str, tuple[Path, Path]] = {}


def write_folder(folder: str | Path, **options: Any) -> Path:
    """As `make_scene.write_folder`."""
    return _copied(make_scene.write_folder, Path(folder), options)


def write_safe(folder: str | Path, **options: Any) -> Path:
    """As `make_scene.write_safe`."""
    return _copied(make_scene.write_safe, Path(folder), options)


def write_stack(path: str | Path, **options: Any) -> Path:
    """As `make_scene.write_stack`."""
    return _copied(make_scene.write_stack, Path(path), options)


def _copied(write: Callable[..., Path], target: Path, options: dict[str, Any]) -> Path:
    """What a writer makes at `target`, with the times of now, as if just written."""
    if options.get("size", 240) > _LARGEST:
        return write(target, **options)
    key = f"{write.__name__} {sorted(options.items())}"
    if key not in _KEPT:
        folder = Path(_TEMPORARY.name) / str(len(_KEPT))
        name = "stack.tif" if write is make_scene.write_stack else "folder"
        _KEPT[key] = folder / name, write(folder / name, **options)
    kept, made = _KEPT[key]
    if kept.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, target)
    else:
        shutil.copytree(kept, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
    return target / made.relative_to(kept)
