"""How much does another image help? cPSNR of several methods against the number of images.

    python examples/frames.py IMAGES [--model NAME_OR_FILE …] [--plot frames.png]

IMAGES is a folder of fine rasters; series are simulated from them, ×3 coarser, the same places
for every method and number. Plotting needs matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from geosr.evaluation.evaluate import evaluate
from geosr.evaluation.protocols import Data
from geosr.models import weights
from geosr.scene.frames import FrameOptions

COUNTS = (1, 2, 4, 9, 16)
CLASSICAL = ("mean", "median", "shift-and-add", "ibp")


def curve(images: Path, pattern: str, model: str) -> dict[int, float]:
    """Mean cPSNR in dB by number of images; nets for a fixed number have one."""
    (net,) = weights.load(model, scale=3)
    counts = COUNTS if net.card.fewer else (net.card.frames,)
    found = {}
    for count in counts:
        data = Data(images, "series", pattern, frames=FrameOptions(count=count))
        value = evaluate(data, {model: [net]}).mean(model, "x3", "cpsnr")
        if value is not None:
            found[count] = value
    return found


def plot(curves: dict[str, dict[int, float]], path: Path) -> None:
    """The curves as a picture."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for name, found in curves.items():
        axes.plot(list(found), list(found.values()), marker="o", label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(COUNTS, map(str, COUNTS))
    axes.set_xlabel("images")
    axes.set_ylabel("cPSNR, dB")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Read the command line, score, print a table."""
    parser = argparse.ArgumentParser(description="cPSNR against the number of images")
    parser.add_argument("images", type=Path)
    parser.add_argument("--pattern", default="*")
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--plot", type=Path)
    said = parser.parse_args()
    curves = {}
    print(f"{'':16}" + "".join(f"{count:>9}" for count in COUNTS))
    for model in (*CLASSICAL, *said.model):
        name = Path(model).stem
        curves[name] = curve(said.images, said.pattern, model)
        cells = (curves[name].get(count) for count in COUNTS)
        print(f"{name:16}" + "".join(f"{'–' if v is None else f'{v:.3f}':>9}" for v in cells))
    if said.plot:
        plot(curves, said.plot)


if __name__ == "__main__":
    main()
