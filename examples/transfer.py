"""How does a coarse image see? Its transfer, told from a truth of its place, by frequency.

    python examples/transfer.py IMGSET [--image N …]

IMGSET is an imgset of the Kelvins challenge with its HR.png. The spectrum of an image is compared
with the truth's below the coarse Nyquist frequency, moved to where the two fit best; each side of
the place tells by itself too. Below stand the transfers that geosr knows: anti-aliased cubic
convolution and a Gaussian of σ 0.375 coarse pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr.scene import degrade
from geosr.scene.correlation import displacement
from geosr.sensors import probav

SCALE = 3
EDGES = np.arange(0.01, 0.5, 0.05)  # cycles a coarse pixel
MIDDLES = EDGES + 0.025

Array = NDArray[np.float64]


def spectrum(image: Array) -> Array:
    """Of an image that fades towards its edges."""
    taper = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])[None]
    return np.fft.fft2((image - image.mean()) * taper) / image.size


def transfer(image: Array, truth: Array) -> Array:
    """By frequency, 1 at the lowest."""
    rows, cols = image.shape
    blocks = truth.reshape(rows, SCALE, cols, SCALE).mean((1, 3))
    down, across, _ = displacement(blocks, image)
    lower = np.ix_(*(np.fft.fftfreq(n, 1 / n).astype(int) for n in image.shape))
    fine, coarse = spectrum(truth)[lower], spectrum(image)
    y, x = np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(cols)[None]
    middle = (SCALE - 1) / 2 / SCALE  # of the first coarse pixel, from that of the first fine one
    phase = y * (down + middle) + x * (across + middle)
    cross = coarse * np.conj(fine) * np.exp(-2j * np.pi * phase)
    far = np.hypot(y, x)
    rings = [(far >= edge) & (far < edge + 0.05) for edge in EDGES]
    found = [cross[ring].real.sum() / (np.abs(fine[ring]) ** 2).sum() for ring in rings]
    return np.asarray(found) / found[0]


def known() -> dict[str, Array]:
    """The transfers of point spreads, by name: means over all directions."""
    fine, turns = 30, np.linspace(0, np.pi / 2, 91)  # steps a coarse pixel; directions
    taps = {"cubic": degrade.bicubic(fine), "gaussian": degrade.point_spread(fine, 0.375 * fine)}
    found = {}
    for name, weights in taps.items():
        at = (np.arange(len(weights)) - (len(weights) - 1) / 2) / fine
        down, across = (
            np.cos(2 * np.pi * MIDDLES[:, None, None] * part[:, None] * at) @ weights
            for part in (np.sin(turns), np.cos(turns))
        )
        found[name] = (down * across).mean(1)
    return found


def main() -> None:
    """Read the command line, print a table."""
    parser = argparse.ArgumentParser(description="transfer of coarse images, by frequency")
    parser.add_argument("imgset", type=Path)
    parser.add_argument("--image", type=int, action="append", default=[])
    said = parser.parse_args()
    imgset = probav.read_imgset(said.imgset)
    if imgset.truth is None:
        raise SystemExit(f"{said.imgset}: without HR.png nothing tells how its images see.")
    truth = imgset.truth.astype(float)
    print(f"{'':16}" + "".join(f"{f:>7.3f}" for f in MIDDLES))
    for number in said.image or range(len(imgset.frames)):
        image = imgset.frames[number].astype(float)
        half = image.shape[1] // 2
        for side, part in (("", slice(None)), ("left", slice(half)), ("right", slice(-half, None))):
            fine = slice(*(n and n * SCALE for n in (part.start, part.stop)))
            row = transfer(image[:, part], truth[:, fine])
            print(f"LR{number:03} {side:10}" + "".join(f"{value:>7.3f}" for value in row))
    for name, row in known().items():
        print(f"{name:16}" + "".join(f"{value:>7.3f}" for value in row))


if __name__ == "__main__":
    main()
