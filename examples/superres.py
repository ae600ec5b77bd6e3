"""What `geosr superres SCENE OUTPUT.tif` does, in Python."""

from __future__ import annotations

import sys
from pathlib import Path

from geosr.inference.predict import engine, place
from geosr.inference.superres import superres
from geosr.models import registry, weights
from geosr.sensors import open_scene


def main(source: str, target: str) -> None:
    """Super-resolve one scene with the bundled nets."""
    where = engine("auto", "auto")
    nets = [place(net, where) for name in registry.DEFAULT for net in weights.load(name)]
    result = superres(open_scene(source), Path(target), nets, engine=where)
    print(f"{result.output}: {result.tiles} tiles in {result.seconds:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
