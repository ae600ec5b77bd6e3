"""Train the small encoder whose features geosr's `perceptual` loss compares.

    python examples/encoder.py encoder.safetensors MINUTES FOLDER...

It learns without labels, on one band of a window at a time. Every window is also given shifted,
blurred, noisy, ringing and coded in blocks, all five at the same mean squared error, and once
weaker. Three things are asked of the features: which of the five it was must be told from how they
differ; windows must be told from each other whatever was done to them; and distances must grow with
the strength and from shift over blur to the other three. Folders hold Sentinel-2 scenes or images.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.errors import GeosrError
from geosr.raster.window import Window
from geosr.scene.radiometry import reflectance
from geosr.sensors import OpenOptions, find_scenes, open_scene
from geosr.training.losses.perceptual import Perceptual, _random_pyramid, encoder_levels

KINDS = ("shift", "blur", "noise", "ringing", "blocks")
SIDE, CUT = 56, 8  # pixels of a window, and what is cut off on every side once it is degraded
BATCH, MARGIN = 16, 0.3
ORDER = ((0, 1), (1, 2), (1, 3), (1, 4))  # of KINDS: the first is to be nearer at equal error


def bands(folder: Path) -> list[np.ndarray]:
    """Every band of every scene in a folder, unit values; NaN where nothing was sensed."""
    found = []
    for path in find_scenes(folder, kind=None):
        try:
            scene = open_scene(path, OpenOptions(kind="image" if path.is_file() else None))
            with scene.open() as reader:
                for band in scene.bands:
                    window = Window(0, 0, *scene.grids[band.gsd].shape)
                    if min(window[2:]) < SIDE:
                        continue
                    pixels = reader.read([band.name], band.gsd, window)
                    values = reflectance(scene, [band.name], pixels.values) / 10000
                    found.append(np.where(pixels.usable, values, np.nan)[0].astype(np.float16))
        except GeosrError as error:
            print(error, file=sys.stderr)
    return found


def windows(images: list[np.ndarray], rng: np.random.Generator, count: int) -> Tensor:
    """(count, 1, SIDE, SIDE) of random bands, turned; 1 in 20 pixels may be missing at most."""
    share = np.sqrt([image.size for image in images])
    found = []
    while len(found) < count:
        image = images[rng.choice(len(images), p=share / share.sum())]
        row, col = (int(rng.integers(n - SIDE + 1)) for n in image.shape)
        part = image[row : row + SIDE, col : col + SIDE].astype(np.float32)
        missing = np.isnan(part)
        if missing.mean() > 0.05 or np.nanstd(part) < 1e-3:
            continue
        part = np.where(missing, np.nanmean(part), part)
        found.append(np.rot90(part, rng.integers(4)).copy())
    return torch.from_numpy(np.stack(found))[:, None]


def degraded(x: Tensor, rng: np.random.Generator) -> Tensor:
    """(kinds, batch, 1, rows, cols): differences to x, all of the error of a shift below 0.6 px."""
    count, kind = len(x), torch.float32
    down = torch.fft.fftfreq(SIDE)[:, None] * 2 * torch.pi
    across = torch.fft.rfftfreq(SIDE)[None] * 2 * torch.pi
    square = (down**2 + across**2).expand(count, 1, -1, -1)

    def drawn(low: float, high: float) -> Tensor:
        return torch.tensor(rng.uniform(low, high, (count, 1, 1, 1)), dtype=kind)

    size, angle = drawn(0.1, 0.6), drawn(0, 2 * np.pi)
    shift = torch.exp(1j * size * (down * angle.cos() + across * angle.sin())) - 1
    blur = torch.exp(-square * drawn(0.4, 1.4) ** 2 / 2) - 1
    ringing = 1 - torch.exp(-square * drawn(0.6, 1.6) ** 2 / 2)
    spectrum = torch.fft.rfft2(x)
    made = [torch.fft.irfft2(spectrum * h, s=x.shape[-2:]) for h in (shift, blur, ringing)]
    noise = torch.from_numpy(rng.standard_normal(x.shape, np.float32))
    noise = noise + drawn(0, 0.5) * F.avg_pool2d(noise, 3, 1, 1) * 3  # some of it in grains
    cut = torch.stack([made[0], made[1], noise, made[2], blocks(x, drawn(0.2, 1.5)) - x])
    cut = cut[..., CUT:-CUT, CUT:-CUT]
    size_of = cut.square().mean((2, 3, 4), keepdim=True).sqrt()
    return cut * (size_of[:1] / size_of.clamp(min=1e-9)).clamp(max=1e3)


def blocks(x: Tensor, step: Tensor) -> Tensor:
    """8 × 8 blocks whose cosine coefficients are rounded, as JPEG's are."""
    at = torch.arange(8.0)
    basis = torch.cos(torch.pi * (at[None] + 0.5) * at[:, None] / 8) / 2
    basis[0] /= 2**0.5
    parts = x.unfold(2, 8, 8).unfold(3, 8, 8)  # (batch, 1, rows, cols, 8, 8)
    coefficients = basis @ parts @ basis.T
    contrast = x.std((1, 2, 3)).view(-1, 1, 1, 1, 1, 1)
    steps = step[..., None, None] * contrast * (1 + at[:, None] + at)
    rounded = basis.T @ ((coefficients / steps).round() * steps) @ basis
    return rounded.transpose(3, 4).reshape(x.shape)


class Task(nn.Module):
    """The encoder's levels and the heads that are thrown away afterwards."""

    def __init__(self) -> None:
        super().__init__()
        levels = encoder_levels()
        for level in levels:
            nn.init.kaiming_normal_(level[0].weight, nonlinearity="relu")
        self.levels = nn.ModuleList(levels)
        widths = [level[0].out_channels for level in levels]
        self.told = nn.Sequential(nn.Linear(sum(widths), 64), nn.ReLU(), nn.Linear(64, len(KINDS)))
        self.known = nn.Linear(widths[-1], 64)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for level in self.levels:
            x = level(x)
            found.append(x)
        return found


def losses(task: Task, x: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
    """What the three things that are asked cost."""
    change = degraded(x, rng)
    x = x[..., CUT:-CUT, CUT:-CUT]
    weaker = torch.from_numpy(rng.uniform(0.3, 0.8, (len(x), 1, 1, 1)).astype(np.float32))
    which = int(rng.integers(len(KINDS)))
    all_x = torch.cat([x, *(x + change), x + change[which] * weaker])
    features = [f.unflatten(0, (len(KINDS) + 2, len(x))) for f in task(all_x)]
    apart = [(f[1:] - f[:1]).abs() for f in features]
    distance = torch.stack([a.mean((2, 3, 4)) for a in apart]).sum(0).clamp(min=1e-9).log()
    order = [distance[a] - distance[b] for a, b in ORDER]
    growth = distance[-1] - distance[which] + weaker.flatten().log().abs() / 2
    spectrum = torch.cat([a[:-1].mean((3, 4)) for a in apart], 2)  # (kinds, batch, features)
    spectrum = spectrum / spectrum.sum(2, keepdim=True).clamp(min=1e-9) * spectrum.shape[2]
    kinds = torch.arange(len(KINDS)).repeat_interleave(len(x))
    pooled = F.normalize(task.known(F.normalize(features[-1].mean((3, 4)), dim=-1)), dim=-1)
    other = pooled[1 + int(rng.integers(len(KINDS)))]
    return {
        "order": F.softplus((torch.cat(order) + MARGIN) * 8).mean() / 8
        + F.softplus(growth * 8).mean() / 8,
        "kind": F.cross_entropy(task.told(spectrum.flatten(0, 1)), kinds),
        "window": F.cross_entropy(pooled[0] @ other.T / 0.1, torch.arange(len(x))),
        "right": torch.stack([o < 0 for o in order]).float().mean(),
    }


def scaled(task: Task, x: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
    """The weights, such that distances are as large as those of random features on the average."""
    y = x[..., CUT:-CUT, CUT:-CUT] + degraded(x, rng)[1]
    x = x[..., CUT:-CUT, CUT:-CUT]
    every = torch.ones_like(x, dtype=torch.bool)
    wanted, _ = _random_pyramid()(x, y, every)
    found, _ = Perceptual(list(task.levels))(x, y, every)
    first = task.levels[0][0].weight
    first.data *= float(wanted / found)
    return {name: tensor.detach().half() for name, tensor in task.levels.state_dict().items()}


def main(out: Path, minutes: float, folders: list[Path]) -> None:
    images = [image for folder in folders for image in bands(folder)]
    print(f"{len(images)} bands, {sum(image.size for image in images) / 1e6:.0f} million pixels")
    torch.manual_seed(0)
    rng, task = np.random.default_rng(0), Task()
    print(f"{sum(p.numel() for p in task.levels.parameters()):,} numbers")
    optimizer = torch.optim.AdamW(task.parameters(), 2e-3, weight_decay=1e-4)
    began, step, told = time.monotonic(), 0, dict[str, float]()
    while (done := (time.monotonic() - began) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min((step + 1) / 50, 0.5 + 0.5 * np.cos(np.pi * done))
        found = losses(task, windows(images, rng, BATCH), rng)
        optimizer.zero_grad()
        (found["order"] + 0.2 * found["kind"] + 0.1 * found["window"]).backward()
        nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
        step += 1
        now = {name: float(value.detach()) for name, value in found.items()}
        told = {k: 0.98 * told.get(k, v) + 0.02 * v for k, v in now.items()}
        if step % 100 == 0 or step == 1:
            print(step, ", ".join(f"{k} {v:.3f}" for k, v in told.items()), flush=True)
    with torch.no_grad():
        save_file(scaled(task, windows(images, rng, 256), rng), out)
    print(f"{step} steps")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
