"""`geosr weights`. What holds for one file is said on the command line only, not by GEOSR_…."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from geosr.cli.console import Bar, say, set_up_log, tell
from geosr.cli.options import PATH, NameList, option

NETS = ("dsen2-20", "dsen2-60", "vdsen2-20", "vdsen2-60", "aesr-20", "aesr-60")
_as_json = option("--json", "as_json", is_flag=True, help="A list as JSON on stdout.")


@click.group("weights")
def command() -> None:
    """List, check, fetch, mix and convert weights.

    \b
    geosr weights list
    geosr weights verify
    geosr weights fetch --all
    geosr weights convert L2A20M.pt out.safetensors --allow-pickle-format

    Convert takes DSen2, VDSen2 and AESR from Keras (HDF5), TorchScript, PyTorch state dicts and
    safetensors; the result is used as --model out.safetensors. Only fetch uses the network.
    """


@command.command("list")
@_as_json
def list_(as_json: bool) -> None:
    """List weights and whether they are intact.

    \b
    geosr weights list --json
    """
    rows = _rows()
    tell(json.dumps(rows) if as_json else _table(rows))


@command.command("verify")
@_as_json
def verify(as_json: bool) -> None:
    """Check the sha256 of every file.

    \b
    geosr weights verify

    The exit code is 6 where one is damaged or missing; those yet to be fetched are not.
    """
    from geosr.errors import WeightsError
    from geosr.models import weights

    rows = _rows()
    tell(json.dumps(rows) if as_json else _table(rows))
    broken = [row["name"] for row in rows if row["state"] in (weights.DAMAGED, weights.MISSING)]
    if broken or not rows:
        said = f"damaged or missing: {', '.join(broken)}" if broken else "no weights are listed"
        raise WeightsError(f"{said} (looked in {weights.folder()}). Install geosr again.")


@command.command("fetch")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that have an address.")
@click.option("--dst", type=PATH, metavar="DIR", help="Folder for them instead of geosr's own.")
@option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
def fetch(names: tuple[str, ...], every: bool, dst: Path | None, quiet: bool) -> None:
    """Download weights by NAME.

    \b
    geosr weights fetch --all
    geosr weights fetch vdsen2-20 --dst nets/

    Those that `geosr weights list` shows as not fetched, over https, checked by sha256; what is
    there already is left alone.
    """
    set_up_log(quiet=quiet, verbose=0)
    from geosr.models import weights
    from geosr.models.fetch import fetch as get

    if every == bool(names):
        raise click.UsageError("Give names, or --all.")
    listed = weights.manifest()
    for name in names:
        if name not in listed:
            raise click.UsageError(f"no weights '{name}' are listed ({', '.join(listed)} are).")
    chosen = [listed[name] for name in names] or [e for e in listed.values() if "url" in e]
    if not chosen:
        say("nothing to fetch: all weights come with geosr", quiet=quiet)
    folder = dst or weights.folder()
    with Bar(quiet=quiet, unit="B") as bar:
        for entry in chosen:
            new = get(entry, folder, progress=bar.advance)
            bar.close()
            path = folder / weights.file_name(entry)
            say(f"{path}: {'fetched' if new else 'there already, intact'}", quiet=quiet)


@command.command("mix")
@click.argument("first", metavar="A", type=PATH)
@click.argument("second", metavar="B", type=PATH)
@click.argument("target", metavar="OUT", type=PATH)
@click.option("--share", type=click.FloatRange(0, 1), default=0.5, show_default=True,
              help="How much of B, 0 to 1; the rest is A.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
def mix_(first: Path, second: Path, target: Path, share: float, overwrite: bool) -> None:
    """Write a net between two of one kind as OUT.

    \b
    geosr weights mix l1/best.safetensors gan/best.safetensors mixed.safetensors --share 0.3
    geosr superres images/ out/ --model mixed.safetensors

    A is a net trained by an error, B the same trained on adversarially: between them lie all
    degrees from faithful to sharp (ESRGAN's network interpolation). The card says what was mixed.
    """
    from geosr.errors import UsageError
    from geosr.models import weights
    from geosr.models.mix import mix

    if target.suffix != ".safetensors":
        raise UsageError(f"{target} is no .safetensors file. Give it that ending.")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists. Pass --overwrite, or another name.")
    card, tensors = mix(first, second, share)
    weights.save(target, card, tensors)
    say(f"{target}: {card.source}")


@command.command("convert")
@click.argument("source", metavar="IN", type=PATH)
@click.argument("target", metavar="OUT", type=PATH)
@click.option("--net", type=click.Choice(NETS), help="Default: told by the tensors' shapes.")
@click.option("--bands10", type=NameList(), help="Order of 10 m bands that the weights expect.  "
              "[default: B4,B3,B2,B8, or B2,B3,B4,B8 for tensors with geosr's names]")  # fmt: skip
@click.option("--license", metavar="TEXT", default="unknown (converted)", show_default=True,
              help="What the card says of the licence.")  # fmt: skip
@click.option("--allow-pickle-format", is_flag=True,
              help="Open .pt and .pth, which can hold code: of people you trust only.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
def convert(source: Path, target: Path, **params: Any) -> None:
    """Write the weights in IN as OUT.safetensors, with a card.

    \b
    geosr weights convert s2_032_lr_1e-04.hdf5 dsen2-20.safetensors
    geosr weights convert L2A60M.pt dsen2-60.safetensors --allow-pickle-format
    geosr superres SCENES OUT --model dsen2-20.safetensors --model dsen2-60.safetensors

    IN is Keras HDF5 (needs geosr[convert]), TorchScript, a PyTorch state dict or safetensors
    without a card. TorchScript and PyTorch files are opened in a process of their own. TorchScript
    is run on a test pattern, and refused where geosr's net with its tensors makes another.
    """
    from geosr.models.convert import convert as make

    done = make(source, target, allow_pickle=params.pop("allow_pickle_format"), **params)
    say(f"{target}: {done.card.name} from {source} ({done.kind}), 10 m bands "
        f"{' '.join(done.bands10)}, licence {done.card.license}")  # fmt: skip


def _rows() -> list[dict[str, Any]]:
    """What the manifest says, and the state of each file."""
    from geosr.models import weights

    return [
        {
            "name": name,
            "net": entry.get("architecture", ""),
            "file": weights.file_name(entry),
            "parameters": entry.get("parameters"),
            "bytes": entry.get("bytes"),
            "sha256": entry["sha256"],
            "license": entry.get("license", ""),
            "url": entry.get("url"),
            "state": weights.state(entry),
        }
        for name, entry in weights.manifest().items()
    ]


def _table(rows: list[dict[str, Any]]) -> str:
    heads = ("name", "parameters", "bytes", "sha256", "license", "state", "net")
    cells = [list(heads), *([_cell(head, row[head]) for head in heads] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if head in ("parameters", "bytes") else text.ljust(width)
            for head, text, width in zip(heads, line, widths, strict=True)
        ).rstrip()
        for line in cells
    )


def _cell(head: str, value: Any) -> str:
    if value is None:
        return "–"
    if head == "sha256":
        return f"{value[:12]}…"
    return f"{value:,}" if isinstance(value, int) else str(value)
