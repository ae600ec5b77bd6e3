"""What a published data set offers, whatever its folders are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from geosr.errors import SceneError, UsageError
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, open_scene
from geosr.sensors.sentinel2 import ESA_ORDER, band_name
from geosr.training.datasets import places

RGBN = ("B4", "B3", "B2", "B8")  # of Sentinel-2, in the order of most fine images
_SHOWN = 6  # of what is missing


@dataclass(frozen=True)
class Pair:
    """Files of one place: the truth, and coarse images of it.

    Attributes:
        index: of the image in files that hold several.
    """

    name: str
    fine: Path
    coarse: tuple[Path, ...]
    index: int = 0


Pairs = Callable[[Path, str, int, str | None], Sequence[Pair]]
Opener = Callable[[Pair, int, OpenOptions], tuple[Scene, tuple[Scene, ...]]]


def plain(pair: Pair, scale: int, options: OpenOptions) -> tuple[Scene, tuple[Scene, ...]]:
    """Truth and coarse images as any rasters are opened."""
    return open_scene(pair.fine, options), tuple(open_scene(p, options) for p in pair.coarse)


def none(data: Path, part: str, scale: int, pattern: str | None) -> Sequence[Pair]:
    """No pairs: of data sets without a truth."""
    return ()


@dataclass(frozen=True)
class Layout:
    """A published data set.

    Attributes:
        name: as its authors call it.
        licence: of its pixels, as far as it is stated.
        is_in: whether a folder holds it, whole or in part.
        pairs: those of the part "train" or "test" for a scale, whose names match a pattern. Raises
            UsageError that lists what is missing.
        opened: the truth and the coarse images of a pair, on grids that nest.
        kind: the way of making pairs that serves it, one of `geosr.training.datasets.KINDS`.
        scale: by which its coarse images are coarser, of several the usual one.
        images: of data sets without a truth.
        place: by a pair's name, where it has no georeference.
    """

    name: str
    licence: str
    is_in: Callable[[Path], bool]
    pairs: Pairs = none
    opened: Opener = plain
    kind: str = "pairs"
    scale: int = 2
    images: Callable[[Path], Sequence[Path]] | None = None
    place: Callable[[str], str] = places.of_image


def wanted(name: str, pattern: str | None) -> bool:
    """Whether a name matches, or no pattern is given."""
    return fnmatch(name, pattern or "*")


def require_whole(name: str, data: Path, missing: Sequence[str]) -> None:
    """Refuse a data set that is there in part.

    Raises:
        UsageError: something is missing; the first of it is listed.
    """
    if not missing:
        return
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    some = not all(each.endswith("/") for each in missing)  # not whole folders, that all need
    choice = ", or choose what is whole: --pattern 'NAME*'" if some else ""
    raise UsageError(
        f"{data} holds {name} in part; missing: {', '.join(missing[:_SHOWN])}{more}. Get what is "
        f"missing{choice}."
    )


def with_alpha(scene: Scene) -> Scene:
    """The scene with its fourth band, which libraries mark as alpha in files of 8 bits."""
    alpha = scene.bands[0].quality
    if len(scene.bands) != 3 or alpha is None or alpha.path != scene.path:
        return scene
    bands = [replace(band, quality=None) for band in scene.bands]
    return replace(scene, bands=(*bands, replace(bands[-1], name="4", index=alpha.index)))


def rgbn(scene: Scene) -> Scene:
    """The red, green, blue and near infrared bands of an image, called as Sentinel-2's.

    They are found by name, among all 12 or 13 bands of Sentinel-2 by place, and are the bands of an
    image of four.

    Raises:
        SceneError: none of these holds.
    """
    scene = with_alpha(scene)
    count = len(scene.bands)
    names = [band_name(band.name) for band in scene.bands]
    if not set(RGBN) <= set(names):
        orders = {4: RGBN, 13: ESA_ORDER, 12: tuple(n for n in ESA_ORDER if n != "B10")}
        if count not in orders:
            raise SceneError(
                f"{scene.path} has {count} bands without names; 4 (red, green, blue, near "
                "infrared) or all 12 or 13 of Sentinel-2 are needed. Leave it out."
            )
        names = list(orders[count])
    bands = tuple(replace(scene.bands[names.index(name)], name=name) for name in RGBN)
    return replace(scene, bands=bands)
