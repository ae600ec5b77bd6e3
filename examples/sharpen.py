"""Sharpen numpy arrays, as DSen2_20(d10, d20) and DSen2_60(d10, d20, d60) do.

python examples/sharpen.py examples/scenes/farmland sharp.npy
"""

import sys
from pathlib import Path

import numpy as np
import rasterio

import geosr


def main(folder: Path, target: Path) -> None:
    """Read a folder of 10m.tif, 20m.tif and 60m.tif, and save its coarse bands at 10 m."""
    d10, d20, d60 = (rasterio.open(folder / f"{gsd}m.tif").read() for gsd in (10, 20, 60))
    sharp = geosr.sharpen(d10, d20, d60)
    np.save(target, sharp)
    print(f"{target}: {sharp.shape} {sharp.dtype}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
