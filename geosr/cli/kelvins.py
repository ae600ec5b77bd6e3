"""`geosr kelvins`."""

from __future__ import annotations

from pathlib import Path

import click

from geosr.cli.console import say
from geosr.cli.options import PATH, option, overwrite_option


@click.group("kelvins")
def command() -> None:
    """What the Proba-V super-resolution challenge wants.

    \b
    geosr kelvins submit out/ -o submission.zip

    Super-resolve its folders by geosr superres, score them by geosr eval.
    """


@command.command("submit")
@click.argument("folder", type=PATH)
@option("--output", "-o", type=PATH, required=True, help="The zip.")
@overwrite_option("any file at --output, whoever made it")
def submit(folder: Path, output: Path, *, overwrite: bool) -> None:
    """Pack the outputs in FOLDER as a submission.

    \b
    geosr superres probav/test/RED out/ --model map-net
    geosr superres probav/test/NIR out/ --model map-net
    geosr kelvins submit out/ -o submission.zip

    FOLDER holds imgsetNNNN.tif or .png as geosr superres writes them; the zip gets 16-bit PNGs
    of those names. Images of the test set that are missing are named; the zip is written anyway.
    """
    from geosr.cli.gdal import prepare_gdal

    prepare_gdal(None)
    from geosr.evaluation.submission import submit as pack

    made = pack(folder, output, overwrite=overwrite)
    say(f"{made.path}: {made.images} images")
    if made.missing:
        named = ", ".join(made.missing[:3]) + (" …" if len(made.missing) > 3 else "")
        count = len(made.missing)
        say(f"warning: {count} of the challenge's 290 test images are missing ({named})")
