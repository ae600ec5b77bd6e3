"""`geosr train`."""

from __future__ import annotations

from typing import Any

import click

from geosr.cli.console import Bar, say, set_up_log
from geosr.cli.options import PATH, device_options, log_options, option


@click.command("train")
@option("--model", "-m", required=True, metavar="NAME", help="The net: dsen2-20, dsen2-60, …")
@option("--data", type=PATH, required=True, help="Folder of scenes.")
@option("--out", type=PATH, required=True, help="Folder for checkpoints and the log.")
@option("--steps", type=click.IntRange(1), default=10000, help="Steps of the optimiser.")
@option("--batch-size", type=click.IntRange(1), default=8, help="Windows in a step.")
@option("--patch", type=click.IntRange(6), default=48, help="Side of a window of truth, pixels.")
@option("--lr", type=float, default=5e-4, help="Peak learning rate; a cosine brings it to zero.")
@option("--warmup", type=click.IntRange(0), default=300, help="Steps to reach it.")
@option("--jitter", type=float, default=0.1, help="Radiometric augmentation, σ of the log-gain.")
@option("--seed", type=int, default=0, help="Of everything random.")
@option("--val-share", type=float, default=0.1, help="Share of scenes held out, by place.")
@option("--val-every", type=click.IntRange(1), default=500, help="Steps between validations.")
@option("--resume", is_flag=True, help="Go on where --out stopped.")
@device_options
@log_options
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Train a net on scenes degraded by Wald's protocol.

    \b
    geosr train --model dsen2-20 --data scenes/ --out runs/dsen2-20
    geosr superres scenes/ out/ --model runs/dsen2-20/best.safetensors

    Windows are read from the scenes and degraded on the way; masked pixels do not count in the
    loss. --out gets best.safetensors and last.safetensors (they carry their card), the state to
    --resume from, and log.csv with bicubic's error beside the net's, on held-out places.
    """
    from geosr.cli.main import prepare_gdal

    quiet = params["quiet"]
    set_up_log(quiet=quiet, verbose=params["verbose"])
    prepare_gdal(1)
    import torch

    from geosr.predict import engine
    from geosr.train import Progress, TrainConfig, train

    if params["threads"]:
        torch.set_num_threads(params["threads"])
    where = engine(params["device"], params["precision"])
    keys = ("model", "steps", "batch_size", "patch", "lr", "warmup", "jitter", "seed",
            "val_share", "val_every")  # fmt: skip
    config = TrainConfig(**{key: params[key] for key in keys}, precision=where.precision)
    with Bar(quiet=quiet, unit="step") as bar:

        def progress(now: Progress) -> None:
            bar.advance(config.model, 1, now.steps)
            if now.rmse is not None:
                say(f"step {now.step}/{now.steps}: loss {now.loss:.4f}, held-out RMSE "
                    f"{now.rmse:.1f} DN, bicubic {now.bicubic:.1f}", quiet=quiet)  # fmt: skip

        best = train(
            params["data"], params["out"], config=config, device=where.device,
            resume=params["resume"], progress=progress,
        )  # fmt: skip
    say(f"best weights: {best}", quiet=quiet)
    ctx.exit(0)
