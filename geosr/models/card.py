"""The card of a model: all that a reader, a tiler and a blender must know about a net."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from geosr.errors import UsageError, WeightsError
from geosr.raster import markup

if TYPE_CHECKING:
    from torch import Tensor, nn

ANY = "*"  # a band of any name: the net takes one band at a time
SHIFTS = 0  # key of the frames' shifts, beside the GSDs of the inputs
FIXED = -1  # key of what a net finds without its weights, where it is known already
PLACES = -2  # key of where output pixels lie in the input, of nets of any scale
CLEAR = -3  # key of where an input was sensed, of unpaired training
LEFT_OUT = -4  # key of where the frame looks that is left out, of self-supervised training
ANY_SCALE = 0  # key, among the scales of a design, of every scale that is not listed
MOST_SCALE = 64.0  # of a net of any scale
PAIRS: dict[str, tuple[str, ...]] = {
    "dsen2": ("dsen2-20", "dsen2-60"),
    "vdsen2": ("vdsen2-20", "vdsen2-60"),
    "dsen2-ps": ("dsen2-ps-20", "dsen2-ps-60"),
    "aesr": ("aesr-20", "aesr-60"),
    "bicubic": ("bicubic-20", "bicubic-60"),
}
DEFAULT = PAIRS["dsen2-ps"]  # what sharpens Sentinel-2 where nobody says otherwise
FINER = "dsen2-ps-10"  # what makes Sentinel-2's 10 m bands finer
BY_GUIDE = ("regress",)  # what sharpens any raster by a finer one
ESTIMATES = "estimates, not measurements: made by a net that a discriminator taught"
_FRAMES, _BANDS, _REACH = 1024, 100_000, 8192  # more than any net has
BEYOND = "finer than any band was sensed: learnt one scale down, without a truth at this scale"
ESTIMATED_BANDS = "estimates, not measurements: told from other bands of the scene"
_UNIT = 10000.0  # inputs per unit of a single- or multi-image net, as reflectance is scaled


@dataclass(frozen=True)
class Input:
    """Bands of one GSD that a net reads (or writes), bound by name and order."""

    gsd: int
    bands: tuple[str, ...]
    frames: int = 1


@dataclass(frozen=True)
class ModelCard:
    """What a net reads, what it gives, and where its weights come from.

    Attributes:
        arch: key of the architecture that builds the net.
        inputs: one per GSD, finest first. Nets for any raster count GSD in output pixels: their
            one input has the GSD `scale`, the output 1.
        output: the super-resolved bands and their new GSD.
        scale: how many times finer the output is than those bands' own grid.
        margin: receptive radius in pixels of the output grid: how far the outputs of one whole
            coarse pixel see beyond it, measured by gradient support on the native inputs,
            upsampling included; tiles read it around their core. Nets that blend read this much,
            though they see further.
        task: "guided", "sisr" (one image), "misr" (several images of one place), "fits" (one image,
            on which the net learns first), "spectral" (other bands than its input's, on its
            grid) or "change" (what two images differ by).
        blend: half the ramp between neighbouring tiles in coarsest input pixels; 0 for nets
            whose margin holds all that they see.
        options: keyword arguments of the architecture.
        file: weights file, or "" for nets without any.
        quantification: count that means 1.0, where the training was told one; 0 is the rule.
        shifts: the net must be told the shifts of its frames.
        fewer: it takes fewer frames than `frames` too; else some are given again.
        adversarial: a discriminator had a say in its training: fine detail in its output is
            likely, not measured.
        tile: side of a tile's core at most, in coarsest input pixels, where the user says none: of
            nets whose work grows faster than a tile's pixels; 0 is no limit.
        continuous: the scale of a net that takes any, 2.5 for example; `scale` is it, rounded up.
            0 is a net of the one scale.
        video: its frames are those of a video, the one that comes out first, then those around it,
            the nearest in time first; it takes no others.
        between: of those, it gives frames between too, and is told when frames were taken.
        fitted: a guided net that learns on the scene first, as those of task "fits" do.
    """

    name: str
    arch: str
    sensor: str
    inputs: tuple[Input, ...]
    output: Input
    scale: int
    margin: int
    options: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    sha256: str = ""
    license: str = "Apache-2.0"
    source: str = ""
    task: str = "guided"
    blend: int = 0
    quantification: float = 0.0
    shifts: bool = False
    fewer: bool = False
    adversarial: bool = False
    tile: int = 0
    continuous: float = 0.0
    video: bool = False
    fitted: bool = False
    between: bool = False

    @property
    def makes_between(self) -> bool:
        """Whether it can give a frame in the middle between two.

        Nets that are told where any number of frames lie lay them down midway.
        """
        return self.between or (self.shifts and self.fewer)

    @property
    def learns(self) -> bool:
        """Whether the net learns on the scene before it makes it finer."""
        return self.task == "fits" or self.fitted

    @property
    def factor(self) -> float:
        """How many output pixels lie along an input pixel: `scale`, but of nets of any scale."""
        return self.continuous or self.scale

    def at(self, factor: float) -> ModelCard:
        """The card of the same net of any scale at another one.

        Raises:
            UsageError: the net has one scale and this is another, or no net takes that one.
        """
        if factor == self.factor:
            return self
        if not self.continuous:
            raise UsageError(
                f"'{self.name}' is at scale {self.scale}, not {factor:g}. Leave --scale out, or "
                "take a net of any scale (liif)."
            )
        if not 1 < factor <= MOST_SCALE:
            raise UsageError(
                f"'{self.name}' takes scales above 1 and up to {MOST_SCALE:g}, not {factor:g}. "
                "Choose one of those."
            )
        scale = math.ceil(factor)
        inputs = tuple(replace(item, gsd=scale) for item in self.inputs)
        margin = self.margin // self.scale * scale
        return replace(self, inputs=inputs, scale=scale, margin=margin, continuous=float(factor))

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that come out super-resolved."""
        return self.output.bands

    @property
    def native_gsd(self) -> int:
        """GSD on which those bands were sensed."""
        return self.output.gsd * self.scale

    @property
    def unit(self) -> float:
        """Counts per unit of a loss, as inside the net."""
        return 2000.0 if self.task == "guided" else _UNIT

    @property
    def scenes(self) -> str:
        """What the net takes for a scene, as `geosr.sensors.OpenOptions.kind` calls it."""
        if self.task == "guided":
            return "sentinel2" if self.sensor == "sentinel2" else "pair"
        kinds = {
            "sisr": "image", "fits": "image", "misr": "series", "spectral": "sentinel2",
            "change": "image",
        }  # fmt: skip
        return kinds[self.task]

    @property
    def frames(self) -> int:
        """Images of one place that the net was made for; 1 but for multi-image nets."""
        return max(item.frames for item in self.inputs)

    def _repr_html_(self) -> str:
        """What it reads, gives and needs, as a notebook shows it."""
        rows = [
            ("architecture", f"{self.arch}, for {self.sensor} ({self.task})"),
            *(("reads", _told(item)) for item in self.inputs),
            ("gives", f"{_told(self.output)}, {self.factor:g} × finer"),
            ("tiles", f"blended over {self.blend} px" if self.blend
             else f"exact, with a margin of {self.margin} px"),
            ("weights", f"{Path(self.file).name} ({self.license})" if self.file else "none"),
            ("source", self.source),
        ]  # fmt: skip
        return markup.table(self.name, rows)

    def to_json(self) -> str:
        """The card as one JSON object, as a checkpoint carries it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card that `to_json` wrote.

        Raises:
            WeightsError: the text is no card, or one that no net can keep.
        """
        try:
            data = json.loads(text)
            data["inputs"] = tuple(_input(item) for item in data["inputs"])
            data["output"] = _input(data["output"])
            card = cls(**data)
            _check(card)
            return card
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise WeightsError(
                f"not a model card ({error}). Train or convert the file again."
            ) from error


def _check(card: ModelCard) -> None:
    """Raise ValueError where the parts of a card are not what they should be, or do not fit."""
    _check_types(card)
    if card.task not in ("guided", "sisr", "misr", "spectral", "fits", "change"):
        raise ValueError(f"no such task: {card.task!r}")
    if not card.inputs or not all(item.bands for item in (*card.inputs, card.output)):
        raise ValueError("no inputs, or one without bands")
    if not all(1 <= item.frames <= _FRAMES for item in (*card.inputs, card.output)):
        raise ValueError(f"a number of frames that is not from 1 to {_FRAMES}")
    gsds = [item.gsd for item in card.inputs]
    if min(*gsds, card.output.gsd) < 1 or gsds != sorted(set(gsds)):
        raise ValueError(f"GSDs {gsds[:9]}, which are not above 0 and finest first")
    if not all(0 <= reach <= _REACH for reach in (card.margin, card.blend, card.tile)):
        raise ValueError(
            f"margin {card.margin}, blend {card.blend} or tile {card.tile} not from 0 to {_REACH}"
        )
    if card.task != "guided" and len(gsds) > 1:
        raise ValueError(f"{len(gsds)} inputs, where {card.task} has one")
    if card.between and not (card.video and card.shifts):
        raise ValueError("frames between, of a net that is not told when and where frames lie")
    several = card.shifts or card.fewer or card.video or card.frames > 1
    if card.task != "misr" and several:
        raise ValueError(f"frames or shifts, which {card.task} has none of")
    scale = gsds[-1] / card.output.gsd if card.task == "guided" else gsds[0]
    if card.scale != scale:
        raise ValueError(f"scale {card.scale}, but {scale:g} by the GSDs of inputs and output")
    if card.continuous and (card.task != "sisr" or math.ceil(card.continuous) != scale):
        raise ValueError(f"any scale, of a net for {card.task}, as {card.continuous} and {scale:g}")


def _check_types(card: ModelCard) -> None:
    kinds: dict[str, Any] = {"str": str, "int": int, "bool": bool, "float": (int, float)}
    for item in fields(card):
        value, kind = getattr(card, item.name), kinds.get(str(item.type))
        if kind and (not isinstance(value, kind) or isinstance(value, bool) != (kind is bool)):
            raise ValueError(f"{item.name} is {str(value)[:40]!r}, no {item.type}")
    if not isinstance(card.options, Mapping):
        raise ValueError("options are no mapping")
    if not 0 <= card.quantification < math.inf:
        raise ValueError(f"quantification {card.quantification}, which is no number above 0")
    bands = [band for item in (*card.inputs, card.output) for band in item.bands]
    if not all(isinstance(band, str) for band in bands) or len(bands) > _BANDS:
        raise ValueError(f"names of bands that are no texts, or more than {_BANDS}")


def _told(item: Input) -> str:
    """An input or the output for people."""
    bands = (
        "each band by itself" if item.bands == (ANY,) else f"{' '.join(item.bands)} at {item.gsd}"
    )
    return f"{item.frames} images, {bands}" if item.frames > 1 else bands


def _input(data: Mapping[str, Any]) -> Input:
    return Input(int(data["gsd"]), tuple(data["bands"]), int(data["frames"]))


class Uncertain(NamedTuple):
    """What a net with an uncertainty gives while it is trained: mean and log of Laplace's scale."""

    mean: Tensor
    log_scale: Tensor


def image(out: Tensor | list[Tensor] | Uncertain) -> Tensor:
    """The finished image among what a net gives."""
    if isinstance(out, Uncertain):
        return out.mean
    return out[-1] if isinstance(out, list) else out


@dataclass
class Model:
    """A card and its net. Calling it maps {gsd: counts} to the output bands' counts.

    Inputs are float32 tensors of reflectance × 10000, one per GSD: (batch, bands, rows, cols), or
    (batch, frames, bands + 1, rows, cols) for multi-image nets, whose last band is the quality
    mask (1 is clear). `inputs[SHIFTS]`, (batch, frames, 2), holds the frames' shifts: pixel (r, c)
    of one sees the ground at (r + down, c + across) of the grid. For nets that give frames between,
    a third number may follow: when it was taken, in frames after what comes out. Upsampling happens
    inside the net.

    Guided nets take the dictionary and normalise by themselves. The others are plain modules
    from unit values to unit values: `net(image)`, `net(frames, clear)` and, where the card says
    so, `net(frames, clear, shifts)`; of nets of any scale `net(image, places)`. `inputs[PLACES]`,
    (batch, 2, 3), tells those which output pixels are wanted: for rows and columns where the
    first one's centre lies, in input pixels from the centre of the first, the step to the next
    one, and how many. Without it all that lie over the input are.
    """

    card: ModelCard
    net: nn.Module

    def __call__(self, inputs: Mapping[int, Tensor]) -> Tensor:
        return image(self.outputs(inputs))

    def outputs(self, inputs: Mapping[int, Tensor]) -> Tensor | list[Tensor] | Uncertain:
        """As calling it; in training mode some nets give more than the one image.

        A list holds the levels of a pyramid, coarsest first.
        """
        if self.card.task == "guided":
            return self.net(inputs)
        x = inputs[self.card.inputs[0].gsd]
        if self.card.task == "misr":
            where = (inputs[SHIFTS],) if self.card.shifts else ()
            out = self.net(x[:, :, :-1] / _UNIT, x[:, :, -1:], *where)
        elif self.card.continuous:
            from geosr.models.nets.continuous.places import Places

            out = self.net(x / _UNIT, Places.of(inputs.get(PLACES), x, self.card.factor))
        else:
            out = self.net(x / _UNIT)
        if isinstance(out, Uncertain):
            return Uncertain(out.mean * _UNIT, out.log_scale)
        return [level * _UNIT for level in out] if isinstance(out, list) else out * _UNIT

    def at(self, factor: float) -> Model:
        """The same net at another scale, where it takes any; weights are shared.

        Raises:
            UsageError: as of the card.
        """
        return self if factor == self.card.factor else Model(self.card.at(factor), self.net)

    @property
    def tells_uncertainty(self) -> bool:
        """Whether `with_uncertainty` can be called."""
        return hasattr(self.net, "uncertain")

    def with_uncertainty(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """As calling it, then as many bands again: Laplace's scale, the error to be expected."""
        import torch

        x = inputs[self.card.inputs[0].gsd]
        out: Uncertain = self.net.uncertain(x[:, :, :-1] / _UNIT, x[:, :, -1:])  # type: ignore[operator]
        return torch.cat([out.mean, out.log_scale.float().exp()], 1) * _UNIT

    def to(self, device: str) -> Model:
        """The same, moved to a device and laid out for its convolutions."""
        import torch

        flat = all(p.dim() != 5 for p in self.net.parameters())  # no 3-D convolutions
        layout = torch.channels_last if flat else torch.preserve_format
        self.net.to(device, memory_format=layout)  # type: ignore[call-overload]
        return self

    @property
    def parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.net.parameters())
