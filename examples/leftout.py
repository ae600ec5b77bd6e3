"""Which method tells best what one image of a place shows, from the others? Without a truth.

    python examples/leftout.py PLACE [--model NAME_OR_FILE …]

PLACE is a folder of images of one place, or an imgset. Each image is left out in turn; a method
makes the place finer from the clearest others, and the result, seen as the one that was left out
sees it, is compared with that one where it is clear: PSNR in dB, 1.0 is the peak, means set equal.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import geosr
from geosr.models.card import SHIFTS, Model
from geosr.models.nets.multi.fusion import Sampling
from geosr.scene.frames import FrameOptions
from geosr.training.datasets.revisits import frames_of

SCALE = 3
COUNTS = (2, 4, 9, 13)
EDGE = 4  # pixels that are not compared


def score(model: Model, frames: torch.Tensor, shifts: torch.Tensor, out: int, count: int) -> float:
    """PSNR of image `out` of (frames, bands + 1, rows, cols), told from `count` of the others."""
    others = [i for i in range(len(frames)) if i != out][:count]
    with torch.inference_mode():
        image = model({SCALE: frames[None, others], SHIFTS: shifts[None, others]})
        sampling = Sampling((frames.shape[-2], frames.shape[-1]), SCALE, shifts[None, [out]])
        seen = sampling.see(image)[0, 0]
    error = ((seen - frames[out, :-1]) / 1e4)[:, EDGE:-EDGE, EDGE:-EDGE]
    error = error[:, frames[out, -1, EDGE:-EDGE, EDGE:-EDGE] > 0]
    return float(-10 * torch.log10((error - error.mean(1, keepdim=True)).square().mean()))


def table(model: Model, place: Path) -> NDArray[np.float64]:
    """PSNR by image left out and number of others; the last column takes all of them."""
    scene = geosr.open_scene(place, kind="series")
    taken = FrameOptions(count=scene.frames)
    arrays = frames_of(scene, model.card, scene.frames, taken)
    frames, shifts = map(torch.from_numpy, arrays)
    known = frames[:, -1].flatten(1).any(1)
    frames, shifts = frames[known], shifts[known]
    counts = [n for n in COUNTS if n < len(frames) - 1] + [len(frames) - 1]
    return np.array([[score(model, frames, shifts, out, n) for n in counts]
                     for out in range(len(frames))])  # fmt: skip


def main() -> None:
    """Read the command line, leave each image out, print the means."""
    parser = argparse.ArgumentParser(description="PSNR of images told from the others of a place")
    parser.add_argument("place", type=Path)
    parser.add_argument("--model", action="append", default=[])
    said = parser.parse_args()
    for model in said.model or ["mean", "ibp", "map", "map-robust"]:
        (net,) = geosr.load_model(model, scale=SCALE)
        found = table(net, said.place)
        cells = "".join(f"{value:>9.3f}" for value in found.mean(0))
        print(f"{Path(model).stem:16}{cells}   {len(found)} images")


if __name__ == "__main__":
    main()
