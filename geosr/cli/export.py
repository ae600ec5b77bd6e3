"""`geosr export`."""

from __future__ import annotations

from pathlib import Path

import click

from geosr.cli.console import say
from geosr.cli.options import PATH, option
from geosr.errors import UsageError


@click.command("export")
@click.argument("name", metavar="MODEL")
@option("-o", "--output", "target", type=PATH, required=True, metavar="FILE",
              help="The file to write, .onnx.")  # fmt: skip
@option("--scale", type=click.IntRange(2), help="Of nets that come in several.")
@option("--opset", type=click.IntRange(17), default=18, show_default=True,
              help="Of ONNX's operators.")  # fmt: skip
@option("--overwrite", is_flag=True, help="Replace FILE.")
def command(name: str, target: Path, scale: int | None, opset: int, overwrite: bool) -> None:
    """Write the net MODEL as an ONNX file, with its card.

    \b
    geosr export dsen2-20 -o dsen2-20.onnx
    geosr export runs/lapsr/best.safetensors -o lapsr.onnx
    geosr superres SCENES OUT --model dsen2-20.onnx

    MODEL is one net with bundled weights, or a weights file. Counts (reflectance × 10000, float32)
    go in and come out; batch, rows and columns are free. Inputs are named by GSD (gsd10, gsd20),
    image, or frames, clear and shifts. The file is run by onnxruntime and compared with torch
    before it appears; a net that ONNX cannot hold is refused. Needs geosr[onnx].

    superres, eval and bench take .onnx files of others too, as --model x.onnx with a card beside
    it, x.yaml: {bands: [B2, B3, B4, B8], factor: 2, margin: 32}, where bands may be a number, for
    any raster; also name, license, source, gsd, and quantification, the value of reflectance 1.0
    that the net wants (10000 where it is left out).
    """
    from geosr.models import registry, weights
    from geosr.models.onnx.export import export

    if registry.known(name) and len(registry.cards(name, scale=scale)) > 1:
        raise UsageError(
            f"'{name}' is a pair of nets. "
            f"Export {' and '.join(registry.PAIRS[name])} one after the other."
        )
    (model,) = weights.load(name, scale=scale)
    if model.card.learns:
        raise UsageError(
            f"'{name}' learns on each scene and has nothing to export before. Export what "
            "geosr superres --save-fit kept."
        )
    done = export(model, target, opset=opset, overwrite=overwrite)
    say(f"{target}: {done.card.name} with inputs {', '.join(done.inputs)}, opset {done.opset}; "
        f"onnxruntime and torch differ by up to {done.difference:.2g} counts")  # fmt: skip
