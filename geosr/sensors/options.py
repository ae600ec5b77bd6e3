"""What a user may say about a product that its files do not say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_OF_THE_DISK = ("lost+found", "System Volume Information")  # closed folders that are nobody's


@dataclass(frozen=True)
class OpenOptions:
    """How to read a scene.

    Attributes:
        dn_offset: to add to every count; None reads it from the product.
        bands_in: names of a stacked file's bands, in file order; None reads descriptions.
        quantification: count of reflectance 1.0; None decides by the data.
        vrt: open VRT files, which may read any other file.
        remote: open paths on the network.
        kind: "sentinel2"; "image" takes any raster as a scene, "series" a folder of them, "pair" a
            coarse raster and a finer one of the same ground, "video" every frame of a folder of
            ordered ones, with the frames around it; "between" those, and what lies in the middle
            between each two.
        pattern: names of the rasters that count in a folder of them.
        align: bring the rasters of a series that lie on other grids onto the grid of the first
            by name, bilinear; the finer raster of a pair into the CRS of the coarse one.
        guide: the finer raster of a pair, or a folder of such by the coarse ones' names; None is
            what lies beside it.
        register: move the finer raster of a pair to where its content fits the coarse one's.
        max_pixels: of the finest grid, for those who read scenes whole; None is no limit.
        window: frames of a video that a frame is seen with, itself included. 0 is no video.
    """

    dn_offset: float | None = None
    bands_in: tuple[str, ...] | None = None
    quantification: float | None = None
    vrt: bool = False
    remote: bool = False
    kind: str = "sentinel2"
    pattern: str | None = None
    align: bool = False
    max_pixels: int | None = 4_000_000_000
    guide: str | None = None
    register: bool = True
    window: int = 0


def may_be(test: Callable[[Path], bool], path: Path) -> bool:
    """Whether something is listed as a scene: the test holds, or may not be made.

    What cannot be looked into then fails by itself, with its own name.
    """
    try:
        return test(path)
    except OSError:
        return path.name not in _OF_THE_DISK
