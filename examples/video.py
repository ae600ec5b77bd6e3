"""How much do the frames around a frame help? PSNR of a panning camera's, by windows of several.

    python examples/video.py IMAGE [--model NAME_OR_FILE …] [--scale 3] [--frames 7] [--noise 2]
                             [--between]

IMAGE is a fine raster of one band. The camera pans over it by parts of a coarse pixel;
every frame is seen through a Gaussian point spread, with noise. The truth of each is the image.
With --between a camera twice as fast tells the truth of the frames in the middle between those
that are given; beside them stands the mean of the two bicubic frames, as they lie.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

import geosr
from geosr.models.card import ModelCard
from geosr.scene import degrade

PAN = (0.57, -0.77)  # coarse pixels from a frame to the next, rows and columns
BLUR = 0.375  # σ of the point spread, coarse pixels
EDGE = 4  # coarse pixels that are not scored
SIDE = 480  # fine pixels of a frame at most

Image = NDArray[np.float32]


def write(path: Path, image: Image) -> None:
    """One band, 1.0 is white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = image.shape
    with rasterio.open(path, "w", driver="GTiff", height=height, width=width, count=1,
                       dtype="float32", transform=Affine.scale(15, -15)) as file:  # fmt: skip
        file.write(image, 1)


def read(path: Path) -> Image:
    """The first band; 1.0 is white."""
    with rasterio.open(path) as file:
        full = np.iinfo(file.dtypes[0]).max if file.dtypes[0].startswith("uint") else 1
        return np.asarray(file.read(1) / np.float32(full), np.float32)


def pan(
    image: Image, folder: Path, scale: int, frames: int, noise: float, *, between: bool = False
) -> dict[str, Image]:
    """Write the frames that the camera takes; returns the truth of each by its file's name.

    Args:
        between: give the truth of what lies between each two as well.
    """
    rng, sigma = np.random.default_rng(0), BLUR * scale
    pad, taps = int(np.ceil(4 * sigma)) + scale, degrade.point_spread(scale, BLUR * scale)
    away = [int(np.ceil(abs(by) * scale * frames / 2)) + scale for by in PAN]
    size = [
        min(SIDE, n - 2 * (pad + a)) // scale * scale
        for n, a in zip(image.shape, away, strict=True)
    ]
    truth, last = {}, np.zeros(2, int)
    for t in range(frames):
        way = np.array(PAN) * scale * (t - (frames - 1) / 2) + rng.uniform(-0.5, 0.5, 2)
        place = np.rint(way / 2).astype(int) * 2 if between else np.rint(way).astype(int)
        if between and t:
            middle = cut(image, (place + last) // 2, pad, away, size)
            truth[f"frame{t - 1:03}_between.tif"] = middle[pad:-pad, pad:-pad]
        wide = cut(image, place, pad, away, size)
        seen = degrade.shrink(wide[None], scale, taps, taps, pad=pad)[0]
        name, last = f"frame{t:03}.tif", place
        write(folder / name, np.float32(seen + rng.normal(0, noise / 255, seen.shape)))
        truth[name] = wide[pad:-pad, pad:-pad]
    return truth


def cut(
    image: Image, place: NDArray[np.int_], pad: int, away: list[int], size: list[int]
) -> Image:  # fmt: skip
    """What the camera sees that far from the middle of its way, `pad` more on every side."""
    row, col = (a + int(by) for a, by in zip(away, place, strict=True))
    return image[row : row + size[0] + 2 * pad, col : col + size[1] + 2 * pad]


def psnr(folder: Path, truth: dict[str, Image], scale: int) -> float:
    """Of all frames together, dB, 1.0 being white."""
    at = (slice(EDGE * scale, -EDGE * scale),) * 2
    errors = [((read(folder / name) - image)[at] ** 2).mean() for name, image in truth.items()]
    return float(-10 * np.log10(np.mean(errors)))


def windows_of(card: ModelCard) -> tuple[int, ...]:
    """Those that a net is tried with; of the plain mean, which the others stand beside, one."""
    if card.name == "mean":
        return (1,)
    return (1, 3, 5, 7) if card.fewer else (card.frames,)


def average(folder: Path, frames: list[str]) -> None:
    """Write the mean of each two frames that follow each other, as they lie."""
    for name, after in pairwise(frames):
        middle = (read(folder / name) + read(folder / after)) / 2
        write(folder / name.replace(".tif", "_between.tif"), middle)


def main() -> None:
    """Read the command line, simulate, score, print a table."""
    parser = argparse.ArgumentParser(description="PSNR of video, one by one and by windows")
    parser.add_argument("image", type=Path)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--scale", type=int, default=3)
    parser.add_argument("--frames", type=int, default=7)
    parser.add_argument("--noise", type=float, default=2, help="standard deviation, of 255")
    parser.add_argument("--between", action="store_true", help="frames in the middle too")
    said = parser.parse_args()
    print(f"{'model':24}{'window':>8}{'dB':>9}{'between':>9}" if said.between else
          f"{'model':24}{'window':>8}{'dB':>9}")  # fmt: skip
    with TemporaryDirectory() as name:
        folder = Path(name)
        truth = pan(read(said.image), folder / "frames", said.scale, said.frames, said.noise,
                    between=said.between)  # fmt: skip
        middles = {name: image for name, image in truth.items() if "_between" in name}
        itself = {name: image for name, image in truth.items() if name not in middles}
        mean = ("mean",) if said.between else ()
        for number, model in enumerate(("bicubic", *mean, "ibp", *said.model)):
            (net,) = geosr.load_model(model, scale=said.scale)
            several = net.card.task == "misr"
            for window in windows_of(net.card):
                out, around = folder / f"{number}-{window}", window if several else None
                between = said.between and net.card.makes_between
                geosr.superres(folder / "frames", out, model=net, window=around, between=between)
                if said.between and model == "bicubic":
                    average(out, sorted(itself))
                line = f"{Path(model).parent.name or model:24}{window:>8}"
                line += f"{psnr(out, itself, said.scale):>9.3f}"
                known = (out / next(iter(middles), "")).is_file()
                print(line + (f"{psnr(out, middles, said.scale):>9.3f}" if known else ""))


if __name__ == "__main__":
    main()
