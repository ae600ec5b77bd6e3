"""Options shared by commands: one name each on the command line, in the environment, in `.env`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.groups import (
    FIT,
    INPUTS,
    MAIN,
    OUTPUT,
    PAIRS,
    SEVERAL,
    SPEED,
    F,
    GroupedOption,
    option_group,
)

PATH: click.Path = click.Path(path_type=Path)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

if TYPE_CHECKING:
    from geosr.inference.fitoptions import FitOptions
    from geosr.scene.frames import FrameOptions
    from geosr.sensors import OpenOptions

    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic from click 8.4 on only


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """A click option that is also read from GEOSR_<NAME>, which its help shows.

    Further environment names can be given as `aliases`.
    """
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    env = "GEOSR_" + long.removeprefix("--").upper().replace("-", "_")
    settings.setdefault("envvar", [env, *settings.pop("aliases", ())])
    settings.setdefault("show_envvar", True)
    settings.setdefault("show_default", True)
    return click.option(*names, cls=_Option, **settings)


class _Option(GroupedOption):
    """Lists in the environment may be split at commas as well as at spaces."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """The variable's text, with commas of lists as spaces."""
        text = super().resolve_envvar_value(ctx)
        several = self.multiple or self.nargs != 1
        return text.replace(",", " ") if text and several else text


class NameList(ParamType):
    """Names separated by commas or spaces: B5,B11."""

    name = "NAME,NAME,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Split."""
        if isinstance(value, tuple):
            return value
        return tuple(str(value).replace(",", " ").split())


def sentinel2_bands(names: tuple[str, ...] | None, said: str) -> tuple[str, ...] | None:
    """Names as ESA writes them: B05 and red are B5 and B4.

    Raises:
        UsageError: no such band; `said` is the option.
    """
    from geosr.sensors.sentinel2 import band_name

    if names is None:
        return None
    bands = [band_name(name) for name in names]
    for name, band in zip(names, bands, strict=True):
        if band is None:
            raise click.UsageError(f"{said}: '{name}' is no Sentinel-2 band; B1 … B12 and B8A are.")
    return tuple(band for band in bands if band)


class Auto(ParamType):
    """A number, or "auto" for None."""

    def __init__(self, kind: type[int] | type[float], least: float | None = None) -> None:
        self.kind, self.least = kind, least
        self.name = f"auto|{'INTEGER' if kind is int else 'NUMBER'}"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        """None for "auto"."""
        if value is None or str(value).strip().lower() == "auto":
            return None
        try:
            number = self.kind(str(value))
        except ValueError:
            self.fail(f"'{value}' is neither 'auto' nor a number.", param, ctx)
        if not math.isfinite(number):
            self.fail(f"'{value}' is no finite number.", param, ctx)
        if self.least is not None and number < self.least:
            self.fail(f"{value} is less than {self.least:g}.", param, ctx)
        return number


class Scale(ParamType):
    """A number above 1: an int where it is whole."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """2 or 2.5."""
        try:
            number = float(value)
        except ValueError:
            self.fail(f"'{value}' is no number.", param, ctx)
        if not 1 < number < math.inf:
            self.fail(f"{value} is not above 1, and nothing would become finer.", param, ctx)
        return int(number) if number == int(number) else number


SCALE = Scale()


def _device(ctx: click.Context, param: click.Parameter, value: str) -> str:
    value = value.strip().lower()
    kind, _, index = value.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and (kind != "cuda" or not index.isdigit())):
        raise click.BadParameter(f"'{value}' is none of auto, cpu, cuda, cuda:N.", ctx, param)
    return value


class Duration(ParamType):
    """Seconds, or a number with s, m, h or d."""

    name = "8h|30m|SECONDS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """In seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value).strip())
        if not match or float(match[1]) <= 0:
            self.fail(f"'{value}' is no duration; 8h, 30m or a number of seconds is.", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


device_options = option_group(  # where and how nets run
    SPEED,
    option("--device", default="auto", metavar="auto|cpu|cuda[:N]",
           callback=_device, help="Where the nets run."),
    option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto",
           help="Of the residual; skip connections are always added in fp32."),
    option("--threads", type=click.IntRange(1), help="CPU threads; default all."),
)  # fmt: skip


compile_option = option_group(  # whether nets are compiled
    SPEED,
    option("--compile", is_flag=True,
           help="torch.compile the nets: minutes at first, for long runs on a GPU."),
)  # fmt: skip

input_options = option_group(  # what a user may say of a product that its files do not say
    INPUTS,
    option("--dn-offset", type=Auto(float), default="auto",
           help="Added to counts for reflectance; auto reads it from the product (−1000 "
           "from baseline 04.00 on)."),
    option("--quantification", type=Auto(float, 1e-6), default="auto",
           help="Count of reflectance 1.0; auto is 10000, or 1 for float reflectance."),
    option("--bands-in", type=NameList(), help="Bands of a stack, in the file's order."),
    option("--allow-vrt", is_flag=True, help="Open VRT files, which read any file."),
    option("--allow-remote", is_flag=True,
           help="Open GeoTIFFs at https://…, s3://…."),
)  # fmt: skip


def open_options(params: dict[str, Any]) -> OpenOptions:
    """Take the values of `input_options` out of a command's parameters."""
    from geosr.sensors import OpenOptions

    return OpenOptions(
        dn_offset=params.pop("dn_offset"),
        bands_in=sentinel2_bands(params.pop("bands_in"), "--bands-in"),
        quantification=params.pop("quantification"),
        vrt=params.pop("allow_vrt"),
        remote=params.pop("allow_remote"),
        align=params.pop("align", False),
        guide=params.pop("guide", None),
        register=params.get("register") != "none",
        window=params.pop("window", None) or 0,
        kind="between" if params.pop("between", False) else "sentinel2",
    )


def overwrite_option(what: str, group: str = OUTPUT) -> Callable[[F], F]:
    """--overwrite: without it geosr replaces only what it made for the same purpose."""
    return option_group(group, option("--overwrite", is_flag=True, help=f"Replace {what}."))


_DATA_KINDS = ["auto", "wald", "folder", "pairs", "npz", "dual", "series", "kelvins",
               "revisits", "spectral", "self-supervised", "change", "references"]  # fmt: skip


class Degradation(ParamType):
    """One of some ways of degrading, or the file of a pool of them."""

    name = "degradation"

    def __init__(self, choices: Sequence[str]) -> None:
        self.choices = tuple(choices)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """All that can be said."""
        return f"[{'|'.join(self.choices)}|POOL.json]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The choice, or the absolute path of the file."""
        text = str(value)
        if text in self.choices:
            return text
        if not text.lower().endswith(".json"):
            self.fail(f"'{text}' is none of {', '.join(self.choices)}, and no POOL.json.", param,
                      ctx)  # fmt: skip
        return str(Path(text).absolute())


_DEGRADATIONS = ["auto", "sensor", "gaussian", "mixed", "bicubic", "box", "blur-noise", "crap"]
_net_options = option_group(  # which of the nets of a name
    MAIN,
    option("--scale", type=SCALE,
           help="Of nets that come in several; of nets of any scale the largest that is learnt."),
    option("--bands", type=click.IntRange(1), default=1,
           help="Bands that the net takes at once; 1 treats every band as a sample."),
)  # fmt: skip
pair_options = option_group(  # what training pairs are made of, and how
    PAIRS,
    _net_options,
    option("--data-kind", type=click.Choice(_DATA_KINDS), default="auto",
           help="How pairs are made; auto tells by net and folder."),
    option("--pattern", metavar="GLOB", help="Only files whose name matches."),
    option("--degradation", type=Degradation(_DEGRADATIONS), default="auto",
           help="How inputs are made of the truth: auto is sensor for scenes, the bands' own "
           "point spread, and bicubic for images; gaussian is as published for DSen2; "
           "mixed is gaussian for a quarter, else sensor; crap is blur, haze, noise, stripes and "
           "JPEG by chance; POOL.json is what geosr data degradation found."),
    option("--quantification", type=Auto(float, 1e-6), default="auto",
           help="Value of 1.0 in images; auto is 255 for 8 bits, 65535 for PNG of 16 bits, "
           "10000 for other integers, 1 for floats."),
)  # fmt: skip

frame_options = option_group(  # how several images of a place are prepared, and a guide
    SEVERAL,
    option("--guide", metavar="FINE", type=str,
           help="A finer raster to whose grid SRC is sharpened, or a folder of such."),
    option("--frames", type=Auto(int, 1), default="auto",
           help="Images of a place to take at most; auto is what the net was made for."),
    option("--clearance", type=click.FloatRange(0, 1), default=0.85,
           help="Share of clear pixels an image needs."),
    option("--reference", metavar="NAME",
           help="Image to move the others onto, by name; or sharpest."),
    option("--register", type=click.Choice(["auto", "none", "integer", "subpixel"]),
           default="auto", help="How images are moved onto the first one; auto: as nets take it."),
    option("--brightness/--no-brightness", default=True,
           help="Bring images to the reference's or their median mean and contrast."),
    option("--align", is_flag=True,
           help="Warp images on other grids onto the first one's, a guide into SRC's CRS."),
)  # fmt: skip


def frames_of(params: dict[str, Any]) -> FrameOptions:
    """Take the values of `frame_options` out of a command's parameters."""
    from geosr.scene.frames import FrameOptions

    return FrameOptions(params.pop("frames"), params.pop("clearance"), params.pop("register"),
                        params.pop("brightness"), reference=params.pop("reference"))  # fmt: skip


fit_options = option_group(  # how nets that learn on the scene do so
    FIT,
    option("--fit-steps", type=click.IntRange(1),
           help="Steps at most; 200 of zssr, 400 of mmsr, 2000 of dip, 10000 of mip."),
    option("--fit-time", type=Duration(),
           help="End learning after this long."),
    option("--fit-seed", type=click.IntRange(0), default=0,
           help="Of what is drawn at random."),
    option("--fit-kernel", type=click.Choice(["auto", "bicubic"]), default="auto",
           help="What blurred the scene: auto is what its spectrum tells."),
    option("--fit-reference", type=PATH, metavar="FILE",
           help="Raster from which mip learns."),
)  # fmt: skip


REFINE = option(
    "--refine",
    type=click.Choice(["tv-tv"]),
    help="Make the output degrade exactly to the input with least variation.",
)


def fit_of(params: dict[str, Any]) -> FitOptions:
    """Take the values of `fit_options` out of a command's parameters."""
    from geosr.inference.fitoptions import FitOptions

    return FitOptions(params.pop("fit_steps"), params.pop("fit_time"), params.pop("fit_seed"),
                      params.pop("fit_kernel"), params.pop("fit_reference"),
                      params.pop("save_fit", None))  # fmt: skip


log_options = option_group(  # how much is said on stderr
    OUTPUT,
    option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors."),
    option("-v", "--verbose", count=True, help="Say more; twice for tracebacks."),
)  # fmt: skip


def creation_options(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """NAME=VALUE pairs as a dictionary."""
    for value in values:
        if not value.partition("=")[0] or "=" not in value:
            raise click.BadParameter(f"'{value}' is not NAME=VALUE.", ctx, param)
    return {name.upper(): v for name, _, v in (value.partition("=") for value in values)}
