"""Score the bundled nets beside bicubic on a folder of scenes.

python examples/evaluate.py examples/scenes
"""

import sys
from pathlib import Path

from geosr.evaluation.evaluate import evaluate
from geosr.evaluation.protocols import Data
from geosr.models import weights


def main(scenes: Path) -> None:
    models = {name: weights.load(name) for name in ("dsen2", "bicubic")}
    found = evaluate(Data(scenes), models)
    for group in found.groups:
        for model in found.models:
            rmse, ratio = found.mean(model, group, "rmse"), found.ratio(model, group, "bicubic")
            print(f"{group} m bands, {model}: RMSE {rmse:.2f} DN, {ratio:.3f} of bicubic's")
    for pair in found.paired("dsen2", "bicubic"):
        print(f"{pair.group} m bands: better on {pair.wins:.0%} of {pair.scenes} scenes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
