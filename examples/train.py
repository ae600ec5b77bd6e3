"""Train a net on a folder of images, then enlarge one of them with it.

python examples/train.py images/ runs/espcn
"""

import sys
from pathlib import Path

from geosr.inference.superres import superres
from geosr.models import registry, weights
from geosr.sensors import OpenOptions, find_scenes, open_scene
from geosr.training.train import TrainConfig, train


def main(images: Path, out: Path, steps: int = 2000) -> None:
    recipe = registry.design("espcn").recipe
    config = TrainConfig("espcn", scale=2, recipe=recipe, steps=steps, val_every=steps)
    result = train(images, out, config=config, progress=tell)
    first = open_scene(find_scenes(images, kind="image")[0], OpenOptions(kind="image"))
    superres(first, out / f"{first.name}-x2.tif", weights.load(str(result.best)))


def tell(now) -> None:
    if now.check:
        psnr = now.check.psnr
        print(f"step {now.step}: {psnr['model']:.2f} dB, bicubic {psnr['bicubic']:.2f} dB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
