"""Score the bundled nets beside bicubic on a folder of scenes.

python examples/evaluate.py examples/scenes
"""

import sys

import geosr


def main(scenes: str) -> None:
    found = geosr.evaluate("dsen2", scenes)
    for group in found.groups:
        for model in found.models:
            rmse, ratio = found.mean(model, group, "rmse"), found.ratio(model, group, "bicubic")
            print(f"{group} m bands, {model}: RMSE {rmse:.2f} DN, {ratio:.3f} of bicubic's")
    for pair in found.paired("dsen2", "bicubic"):
        print(f"{pair.group} m bands: better on {pair.wins:.0%} of {pair.scenes} scenes")


if __name__ == "__main__":
    main(sys.argv[1])
