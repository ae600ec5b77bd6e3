"""Nets as ONNX files, for geosr and for any other program that runs such files.

Counts go in and come out (reflectance × 10000, float32); what the net divides by or takes off is
inside. Batch, rows and columns are free, and the number of frames where the net takes fewer.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geosr import __version__
from geosr.errors import UsageError, WeightsError, cause
from geosr.models.card import SHIFTS, Model, ModelCard, image
from geosr.models.onnx.card import ARCH, SUFFIX
from geosr.models.onnx.graph import library
from geosr.models.onnx.net import CARD, PARAMETERS, OnnxNet, load, roles
from geosr.raster.marks import require_replaceable
from geosr.raster.publish import write_bytes

OPSET = 18
TOLERANCE = 2e-5  # of the largest value, 10000 at least: 0.2 counts of reflectance up to 1.0
_TRACED = (2, 8, 10)  # batch, rows, cols in the coarsest pixel: no two alike
_TRIED = ((2, 5, 7), (1, 12, 9))
_LOGGERS = ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        inputs: names in the file.
        difference: the largest between onnxruntime and torch on random inputs, in counts.
    """

    path: Path
    card: ModelCard
    opset: int
    inputs: tuple[str, ...]
    difference: float


def export(model: Model, target: Path, *, opset: int = OPSET, overwrite: bool = False) -> Exported:
    """Write a net with its card to `target`, whole or not at all.

    Inputs are named by GSD (`gsd10`, `gsd20`), `image`, or `frames`, `clear` and `shifts`; the one
    output is `output`. Before `target` appears, onnxruntime runs the file on random inputs of two
    sizes, and it must agree with torch within `TOLERANCE`.

    Args:
        target: .onnx.
        opset: of ONNX's operators.
        overwrite: replace `target`.

    Raises:
        UsageError: `target` is no place for it, the extra `onnx` is not installed, or the net
            cannot be written as ONNX.
        StoppedError: `target` cannot be written.
    """
    _check_target(target, overwrite)
    for name in _PACKAGES:
        library(name, target)
    if isinstance(model.net, OnnxNet) or model.card.arch == ARCH:
        raise UsageError(f"'{model.card.name}' is an ONNX file already. Copy it.")
    if not getattr(model.net, "exportable", True):
        raise UsageError(
            f"'{model.card.name}' walks through trees, which make no ONNX file of any use. "
            "Use it as it is."
        )
    if model.card.continuous:
        raise UsageError(
            f"'{model.card.name}' takes any scale, which its ONNX file could not. Use it as it is, "
            "or export a net of one scale."
        )
    names = roles(model.card)
    try:
        with _quiet():
            data = _with_card(_traced(model, names, opset), model)
            difference = _compared(model, data, target)
    except UsageError:
        raise
    except Exception as error:  # what cannot be traced fails in any way
        raise UsageError(
            f"'{model.card.name}' cannot be written as ONNX for any size "
            f"({type(error).__name__}: {_short(error)}). Use it as it is."
        ) from error
    write_bytes(target, data)
    return Exported(target, model.card, opset, names, difference)


def _check_target(target: Path, overwrite: bool) -> None:
    if target.suffix != SUFFIX:
        raise UsageError(f"{target}: give it the ending {SUFFIX}.")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: no such folder. Make it first.")
    require_replaceable(target, overwrite=overwrite)


def _short(error: Exception) -> str:
    said = cause(error)
    return said if len(said) <= 160 else f"{said[:160]}…"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters tell of their own workings from the terminal."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


# tracing


class _Counts(nn.Module):
    """A net from counts to counts, one argument for each input."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.card, self.net = model.card, model.net

    def forward(self, *given: Tensor) -> Tensor:
        if self.card.task == "guided":
            gsds = (item.gsd for item in self.card.inputs)
            return image(self.net(dict(zip(gsds, given, strict=True))))
        return image(self.net(given[0] / self.card.unit, *given[1:])) * self.card.unit


def _traced(model: Model, names: tuple[str, ...], opset: int) -> Any:
    """The net as ONNX's protobuf."""
    inputs = _inputs(model.card, *_TRACED)
    # deferred: interpolation asks whether 2.0 times a free size is a whole number, and is refused
    captured = torch.export.export(
        _Counts(model).eval(), _arguments(model.card, names, inputs),
        dynamic_shapes=(_free(model.card, names),), strict=False,
        prefer_deferred_runtime_asserts_over_guards=True,
    )  # fmt: skip
    program = torch.onnx.export(
        captured, dynamo=True, opset_version=opset, verbose=False, input_names=list(names),
        output_names=["output"],
    )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    found = {item.domain: item.version for item in proto.opset_import}
    if found != {"": opset}:
        raise UsageError(
            f"'{model.card.name}' cannot be written with opset {opset} (it came out with "
            f"{found.get('', 'none')}). Leave --opset out, or give another."
        )
    return proto


def _free(card: ModelCard, names: tuple[str, ...]) -> tuple[dict[int, Any], ...]:
    """Which axes of the inputs may have any length; finer inputs have so many times more pixels."""
    batch, rows, cols = (torch.export.Dim(name) for name in ("batch", "rows", "cols"))
    if card.task == "guided":
        times = [card.native_gsd // item.gsd for item in card.inputs]
        return tuple(
            {0: batch, 2: k * rows if k > 1 else rows, 3: k * cols if k > 1 else cols}
            for k in times
        )
    if card.task in ("sisr", "spectral"):
        return ({0: batch, 2: rows, 3: cols},)
    first = {0: batch}
    if card.fewer:
        first[1] = torch.export.Dim("frames", min=1, max=card.frames)
    return tuple(first if name == "shifts" else {**first, 3: rows, 4: cols} for name in names)


# inputs to try


def _inputs(
    card: ModelCard, batch: int, rows: int, cols: int, frames: int | None = None
) -> dict[int, Tensor]:
    """Random inputs of so many of the coarsest pixels, as a model takes them."""
    chance = torch.Generator().manual_seed(0)

    def counts(*shape: int) -> Tensor:
        return 200 + 8000 * torch.rand(shape, generator=chance)

    coarsest = card.inputs[-1].gsd
    inputs = {
        item.gsd: counts(batch, len(item.bands), rows * k, cols * k)
        for item in card.inputs
        for k in [coarsest // item.gsd]
    }
    if card.task == "misr":
        frames = frames or card.frames
        clear = (torch.rand((batch, frames, 1, rows, cols), generator=chance) > 0.2).float()
        seen = counts(batch, frames, len(card.bands), rows, cols)
        inputs[coarsest] = torch.cat([seen, clear], 2)
    if card.shifts:
        inputs[SHIFTS] = torch.rand((batch, inputs[coarsest].shape[1], 2), generator=chance) - 0.5
    return inputs


def _arguments(
    card: ModelCard, names: tuple[str, ...], inputs: Mapping[int, Tensor]
) -> tuple[Tensor, ...]:
    """The same as the graph takes it."""
    if card.task == "guided":
        return tuple(inputs[item.gsd] for item in card.inputs)
    x = inputs[card.inputs[0].gsd]
    if card.task in ("sisr", "spectral"):
        return (x,)
    parts = {"frames": x[:, :, :-1], "clear": x[:, :, -1:], "shifts": inputs.get(SHIFTS, x)}
    return tuple(parts[name].contiguous() for name in names)


# finishing


def _with_card(proto: Any, model: Model) -> bytes:
    """The file's bytes: with what a reader must know, without the exporter's notes.

    Those hold paths of this machine.
    """
    card = replace(model.card, file="", sha256="", source=_source(model.card))
    _strip(proto.graph)
    proto.producer_name, proto.producer_version = "geosr", __version__
    del proto.metadata_props[:]
    for key, value in _metadata(card, model.parameters).items():
        proto.metadata_props.add(key=key, value=value)
    return bytes(proto.SerializeToString())


def _source(card: ModelCard) -> str:
    if not card.sha256:
        return card.source
    said = f"exported from {Path(card.file).name} (sha256 {card.sha256})"
    return f"{card.source}; {said}" if card.source else said


def _strip(graph: Any) -> None:
    del graph.value_info[:]
    del graph.metadata_props[:]
    for item in (*graph.initializer, *graph.input, *graph.output, *graph.node):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
                _strip(inner)


def _metadata(card: ModelCard, parameters: int) -> dict[str, str]:
    """For programs and for people."""
    each = [f"{item.gsd}: {' '.join(item.bands)}" for item in card.inputs]
    return {
        CARD: card.to_json(),
        PARAMETERS: str(parameters),
        "bands": f"{'; '.join(each)} -> {card.output.gsd}: {' '.join(card.bands)}",
        "scale": str(card.scale),
        "margin": f"{card.margin} output pixels",
        "normalisation": "inside: reflectance × 10000 as float32 in and out",
        "license": card.license,
    }


def _compared(model: Model, data: bytes, target: Path) -> float:
    """The largest difference between onnxruntime and torch in counts.

    Raises:
        UsageError: it is too large, or onnxruntime cannot run the graph.
    """
    card, worst = model.card, 0.0
    try:
        exported = load(target, data)
        for case in _cases(card):
            inputs = _inputs(card, *case)
            with torch.inference_mode():
                ours, theirs = model(inputs), exported(inputs)
            off = float((theirs - ours).abs().max())
            bound = TOLERANCE * max(float(ours.abs().max()), 10000.0)
            if not off <= bound:
                raise UsageError(
                    f"'{card.name}' as ONNX differs from itself by {off:.4g} counts on a batch of "
                    f"{case[0]} with {case[1]} × {case[2]} px, more than {bound:.4g}. Nothing was "
                    "written; use it as it is."
                )
            worst = max(worst, off)
    except WeightsError as error:
        raise UsageError(
            f"'{card.name}' cannot be written as ONNX: onnxruntime does not run it "
            f"({_short(error)}). Use it as it is."
        ) from error
    return worst


def _cases(card: ModelCard) -> tuple[tuple[int, ...], ...]:
    return (*_TRIED, (1, 6, 6, 2)) if card.fewer else _TRIED
