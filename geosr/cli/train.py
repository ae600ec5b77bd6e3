"""`geosr train`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.console import Bar, say, set_up_log
from geosr.cli.groups import (
    JUDGED,
    LEARNING,
    MAIN,
    PAIRS,
    SPEED,
    VALIDATION,
    GroupedCommand,
    option_group,
)
from geosr.cli.options import (
    PATH,
    Auto,
    Duration,
    device_options,
    log_options,
    option,
    pair_options,
)

if TYPE_CHECKING:
    from geosr.inference.engine import Engine
    from geosr.training.config import TrainConfig
    from geosr.training.distributed import Ranks
    from geosr.training.train import Progress

_RECIPE = ("loss", "batch_size", "optimizer", "lr", "weight_decay", "schedule", "period", "gamma",
           "warmup", "clip", "ema", "jitter")  # fmt: skip
_PLAIN = ("scale", "bands", "seed", "val_share", "val_every", "val_windows", "patience",
          "compile", "pattern", "quantification")  # fmt: skip
_ADVERSARIAL = {
    "adversarial": "kind", "discriminator": "discriminator", "discriminator_lr": "lr",
    "discriminator_updates": "updates", "adversarial_after": "after", "adversarial_ramp": "ramp",
}  # fmt: skip
_PRESETS = ("default", "paper", "srgan", "esrgan", "satlas", "sr4rs", "eegan", "sg-fbgan",
            "rs-esrgan", "gan-hsi", "rrsgan")  # fmt: skip


@click.command("train", cls=GroupedCommand)
@option_group(
    MAIN,
    option(
        "--model", "-m", required=True, metavar="NAME", help="The net; geosr models lists them."
    ),
    option("--data", type=PATH, required=True, help="Folder of scenes, images or pairs."),
    option("--out", type=PATH, required=True, help="Folder for checkpoints, log and pictures."),
    option(
        "--preset",
        type=click.Choice(_PRESETS),
        default="default",
        help="What the next options default to: sized for a workstation, as published with the "
        "net, or a published adversarial training.",
    ),
    option("--steps", type=click.IntRange(1), help="Steps of the optimiser."),
    option("--epochs", type=float, help="Times that as many windows as fill the images are seen."),
    option("--time", "seconds", type=Duration(), help="End after this long, with a validation."),
    option("--resume", is_flag=True, help="Go on where --out stopped."),
    option(
        "--overwrite",
        is_flag=True,
        envvar=["GEOSR_TRAIN_OVERWRITE"],  # a setting for outputs must not cost a training
        help="Begin anew in an --out that holds a training, and remove its files.",
    ),
    option(
        "--init", type=PATH, help="Weights of the same net to begin with, to train them further."
    ),
    option(
        "--net-option",
        "net_options",
        multiple=True,
        metavar="NAME=VALUE",
        help="Option of the architecture (fusion=mean, blocks=8); may be given again.",
    ),
)
@option_group(
    PAIRS,
    pair_options,
    option(
        "--data-fine",
        type=PATH,
        help="Fine images of other ground than --data, the coarse ones: unpaired training.",
    ),
    option(
        "--unpaired",
        type=click.Choice(["cyclecnn", "cincgan"]),
        help="How to learn from these: cycles alone, or with discriminators.",
    ),
    option(
        "--self-supervised",
        is_flag=True,
        help="Learn from series alone: one image is left out, which the others must tell.",
    ),
    option("--patch", type=click.IntRange(1), help="Side of a window of truth, pixels."),
    option("--jitter", type=float, help="Radiometric augmentation, σ of the log-gain."),
)
@option_group(
    LEARNING,
    option(
        "--loss",
        metavar="NAME[+W*NAME…]",
        help="l1, mse, charbonnier, dssim, ms-ssim, gradient, tv, spectral-tv, sam, frequency, "
        "low-l1, high-frequency, psnr, perceptual[:encoder|:FILE], registered, laplace-nll, "
        "dual-edsr, enhanced, adversarial.",
    ),
    option(
        "--perceptual-net",
        type=PATH,
        help="Weights of a geosr net, whose features the loss's perceptual terms compare.",
    ),
    option("--batch-size", type=click.IntRange(1), help="Windows in a step, of all processes."),
    option("--optimizer", type=click.Choice(["adam", "adamw", "nadam", "muon"]), help="Optimiser."),
    option("--lr", type=float, help="Peak learning rate."),
    option("--weight-decay", type=float, help="Of the optimiser."),
    option(
        "--schedule",
        type=click.Choice(["cosine", "step", "plateau", "constant"]),
        help="What the rate does after the warm-up.",
    ),
    option(
        "--period",
        type=click.IntRange(1),
        help="Steps (step) or validations without a gain (plateau) until × gamma.",
    ),
    option("--gamma", type=float, help="Factor of step and plateau."),
    option("--warmup", type=click.IntRange(0), help="Steps to reach the peak rate."),
    option("--clip", type=float, help="Largest norm of the gradient; 0 is no limit."),
    option("--ema", type=float, help="Decay of the averaged weights; 0 keeps the last ones."),
    option("--seed", type=int, default=0, help="Of everything random."),
)
@option_group(
    JUDGED,
    option(
        "--adversarial",
        type=click.Choice(["gan", "lsgan", "hinge", "relativistic"]),
        help="How the loss's adversarial term is made.  [default: gan]",
    ),
    option(
        "--discriminator",
        metavar="NAME",
        help="vgg, unet, patch, or conditional, which sees the net's input too.",
    ),
    option(
        "--discriminator-option",
        "discriminator_options",
        multiple=True,
        metavar="NAME=VALUE",
        help="features=32, given=true for one that sees the input, high=true for one of the finest "
        "detail alone; may be given again.",
    ),
    option("--discriminator-lr", type=float, help="Its learning rate; default is the net's."),
    option("--discriminator-updates", type=click.IntRange(1), help="Its steps in one of the net."),
    option(
        "--adversarial-after",
        type=click.IntRange(0),
        help="Steps by the other terms alone, to warm up.",
    ),
    option(
        "--adversarial-ramp",
        type=click.IntRange(0),
        help="Steps until the term has its whole weight.",
    ),
)
@option_group(
    VALIDATION,
    option(
        "--val-share",
        type=click.FloatRange(0.01, 0.9),
        default=0.1,
        help="Share of images held out, whole places at a time.",
    ),
    option("--val-every", type=click.IntRange(1), default=500, help="Steps between validations."),
    option("--val-windows", type=click.IntRange(1), default=32, help="Windows in a validation."),
    option(
        "--patience",
        type=click.IntRange(0),
        default=0,
        help="Validations without a gain until the training ends; 0 is never.",
    ),
)
@option_group(
    SPEED,
    device_options,
    option(
        "--workers",
        type=Auto(int, 0),
        default="auto",
        help="Processes that make batches; auto is 0 (a thread) on a CPU, up to 8 for a GPU.",
    ),
    option("--compile", is_flag=True, help="torch.compile the net."),
)
@log_options
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:  # fmt: skip
    """Train a net on pairs made of scenes or images.

    \b
    geosr train --model dsen2-20 --data scenes/ --out runs/dsen2-20
    geosr train --model lapsr --data images/ --out runs/lapsr --time 8h
    torchrun --nproc-per-node 4 -m geosr train --model edsr --data images/ --out runs/edsr
    geosr superres images/ out/ --model runs/lapsr/best.safetensors

    Windows are read and degraded on the way; masked pixels do not count in the loss. OUT gets
    best.safetensors and last.safetensors (they carry their card), the state to --resume from,
    log.csv with interpolation beside the net on held-out images, and pictures LR | SR | HR.
    SIGTERM and Ctrl-C save and stop; the same command with --resume goes on exactly there.
    """
    from geosr.cli.gdal import prepare_gdal

    ranks = _ranks()
    quiet = params["quiet"] or not ranks.first
    set_up_log(quiet=quiet, verbose=params["verbose"])
    prepare_gdal(1)
    import torch

    from geosr.cli.cache import trials_file
    from geosr.inference.predict import engine
    from geosr.training.train import train

    if params["threads"]:
        torch.set_num_threads(params["threads"])
    where = engine(_device(params["device"], ranks), params["precision"], known=trials_file())
    config = _config(params, where)
    stop = _Stop()
    with Bar(quiet=quiet, unit="step", verbose=params["verbose"]) as bar:
        result = train(
            params["data"], params["out"], config=config, device=where.device,
            resume=params["resume"], overwrite=params["overwrite"], ranks=ranks, stop=stop,
            progress=_teller(bar, config, quiet=quiet),
        )  # fmt: skip
    for name, reason in result.broken.items():
        say(f"geosr: left out {name}: {reason}")
    if result.skipped:
        say(f"geosr: {result.skipped} steps skipped, their loss was no number")
    if result.stopped:
        say(f"stopped at step {result.step}; go on with --resume", quiet=quiet)
        ctx.exit(128 + (stop.signal or signal.SIGTERM))  # another process had the signal
    say(f"best weights: {result.best}", quiet=quiet)
    ctx.exit(0)


class _Stop:
    """Asked after every step: has a signal come? The second one leaves at once."""

    def __init__(self) -> None:
        self.signal = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def __call__(self) -> bool:
        return bool(self.signal)

    def _note(self, number: int, _frame: object) -> None:
        if self.signal:
            raise SystemExit(128 + number)
        self.signal = number


def _config(params: dict[str, Any], where: Engine) -> TrainConfig:
    """The design's recipe or paper, with what the user said instead."""
    from geosr.training.config import config_of

    plain: dict[str, Any] = {key: params[key] for key in _PLAIN}
    chosen: dict[str, Any] = {key: None if params[key] == "auto" else params[key] for key in
              ("data_kind", "degradation")}  # fmt: skip
    config = config_of(
        params["model"], where, preset=params["preset"], steps=params["steps"],
        epochs=params["epochs"], seconds=params["seconds"], workers=params["workers"],
        recipe={key: params[key] for key in _RECIPE}, perceptual_net=params["perceptual_net"],
        adversarial={name: params[key] for key, name in _ADVERSARIAL.items()}
        | {"options": _named(params["discriminator_options"], "--discriminator-option")},
    )  # fmt: skip
    if params["self_supervised"]:
        from geosr.training.datasets import leftout

        chosen["data_kind"] = leftout.chosen_kind(chosen["data_kind"])
    return replace(
        config, **plain, **chosen, net_options=_named(params["net_options"], "--net-option"),
        patch=params["patch"] or 0, init=str(params["init"]) if params["init"] else None,
        fine=str(params["data_fine"]) if params["data_fine"] else None, unpaired=params["unpaired"],
    )  # fmt: skip


def _named(texts: tuple[str, ...], option: str) -> dict[str, Any]:
    """NAME=VALUE as numbers, truth values or words."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{option} '{text}' is not NAME=VALUE.")
        found[name] = _value(value)
    return found


def _value(text: str) -> int | float | bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _ranks() -> Ranks:
    """This process among those that torchrun started."""
    from geosr.training.distributed import Ranks

    numbers = (os.environ.get(key) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    rank, world, local = (int(n) if n else d for n, d in zip(numbers, (0, 1, 0), strict=True))
    return Ranks(rank, world, local)


def _device(asked: str, ranks: Ranks) -> str:
    """With several processes on a machine, each has the GPU of its number."""
    if ranks.world == 1 or asked == "cpu" or ":" in asked:
        return asked
    import torch

    return f"cuda:{ranks.local}" if torch.cuda.is_available() else "cpu"


def _teller(bar: Bar, config: TrainConfig, *, quiet: bool) -> Callable[[Progress], None]:
    from geosr.models import registry

    last, task = "", registry.design(config.model).task

    def tell(now: Progress) -> None:
        nonlocal last
        if now.check is not None:
            last = f", PSNR {now.check.psnr['model']:.2f}"
        note = f"loss {now.loss:.4f}{last}, {now.images_per_second:.1f} img/s"
        bar.advance(config.model, 1, now.steps, note=note)
        if now.check is None:
            return
        check, other = now.check, now.check.interpolation
        figures = f"PSNR {check.psnr['model']:.2f} dB, {other} {check.psnr[other]:.2f}"
        if task == "guided":
            figures = f"RMSE {check.rmse['model']:.1f} DN, {other} {check.rmse[other]:.1f}"
        end = f"/{now.steps}" if now.steps < 10**9 else ""
        say(
            f"step {now.step}{end}: loss {now.loss:.4f}, held-out {figures}; "
            f"{now.images_per_second:.1f} images/s, {now.waiting:.0%} waiting for data",
            quiet=quiet,
        )

    return tell
