"""Train a net on a folder of images, then enlarge them with it.

python examples/train.py images/ runs/espcn
"""

import sys
from pathlib import Path

import geosr


def main(images: Path, out: Path, steps: int = 2000) -> None:
    result = geosr.train(images, out, model="espcn", scale=2, steps=steps, val_every=steps,
                         progress=tell)  # fmt: skip
    geosr.superres(images, out / "x2", model=result.best)


def tell(now) -> None:
    if now.check:
        psnr = now.check.psnr
        print(f"step {now.step}: {psnr['model']:.2f} dB, bicubic {psnr['bicubic']:.2f} dB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
