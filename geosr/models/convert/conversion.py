"""A file of another program's weights as one of geosr's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor

from geosr.errors import UsageError, WeightsError
from geosr.models import registry, weights
from geosr.models.card import ModelCard
from geosr.models.convert.files import content, read
from geosr.models.convert.nets import NETS, card_of, fitting, pattern, shapes_of
from geosr.models.convert.source import SourceWeights
from geosr.models.nets.guided.dsen2 import DN
from geosr.raster.marks import require_replaceable

LICENSE = "unknown (converted)"
BANDS10 = ("B4", "B3", "B2", "B8")  # GDAL's order, in which the published nets learned them
_PORT = re.compile(r"(?:.*\.)?(?:(conv1)|layers\.(\d+)|(conv2))\.(?:weight|bias)")


@dataclass(frozen=True)
class Converted:
    """What was made of what.

    Attributes:
        kind: of the file, and of TorchScript where its long skip is.
        bands10: order of the file's 10 m bands; the card has its own, and the head is turned to it.
    """

    path: Path
    card: ModelCard
    kind: str
    bands10: tuple[str, ...]


def convert(
    source: Path,
    target: Path,
    *,
    net: str | None = None,
    bands10: Sequence[str] | None = None,
    license: str = LICENSE,
    allow_pickle: bool = False,
    overwrite: bool = False,
) -> Converted:
    """Write the weights in `source` with the card of `net` to `target`, whole or not at all.

    Args:
        target: .safetensors.
        net: one of NETS; None is told by the tensors' shapes.
        bands10: order of the 10 m bands that the weights expect; None is B4 B3 B2 B8, or the
            card's own for tensors with geosr's names.
        allow_pickle: open PyTorch's own formats too, in another process.
        overwrite: replace `target`.

    Raises:
        UsageError: no such net or bands, or `target` is no place for it.
        WeightsError: the file cannot be read, or is not of that net.
        StoppedError: `target` cannot be written.
    """
    _check_target(source, target, overwrite)
    card, data = card_of(net) if net else None, content(source)
    order = None if bands10 is None else _order(bands10)
    found = read(source, data, allow_pickle)
    card = card or _told(source, found.tensors)
    tensors = _fitted(source, found, card)
    if order is None:
        order = card.inputs[0].bands if set(tensors) == set(found.tensors) else BANDS10
    tensors = _turned(tensors, [order.index(band) for band in card.inputs[0].bands])
    kind = found.kind
    if found.output is not None:
        kind += _skip(source, found.output, card, tensors, order)
    said = f"converted from {source.name} (sha256 {hashlib.sha256(data).hexdigest()}), "
    said += f"10 m bands in the order {' '.join(order)}"
    card = replace(card, license=license, source=f"{card.source}; {said}")
    weights.save(target, card, tensors)
    return Converted(target, card, kind, tuple(order))


def _order(bands10: Sequence[str]) -> tuple[str, ...]:
    """Names as ESA writes them: B04 is B4."""
    order = tuple(re.sub("^B0", "B", name.upper()) for name in bands10)
    if sorted(order) != sorted(BANDS10):
        raise UsageError(
            f"10 m bands {','.join(bands10)}: give B2, B3, B4 and B8 in the order that the "
            "weights expect."
        )
    return order


def _check_target(source: Path, target: Path, overwrite: bool) -> None:
    if target.suffix != ".safetensors":
        raise UsageError(f"{target}: geosr reads .safetensors. Give it that ending.")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: no such folder. Make it first.")
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError(f"{target} is what is to be converted. Choose another name.")
    require_replaceable(target, overwrite=overwrite)


def _skip(
    path: Path,
    output: Tensor,
    card: ModelCard,
    tensors: Mapping[str, Tensor],
    order: Sequence[str],
) -> str:
    """Where a program adds the upsampled bands: in itself, or whoever runs it.

    Raises:
        WeightsError: neither is the net's arithmetic.
    """
    expected, target = _expected(card, tensors, order)
    if output.shape != expected.shape:
        raise WeightsError(
            f"{path}: gives {tuple(output.shape[1:])} for a test pattern, {card.name} gives "
            f"{tuple(expected.shape[1:])}. Choose another --net."
        )
    places = {"": output * DN}
    if card.arch == "dsen2":
        places = {", skip inside": output * DN, ", skip outside": output * DN + target}
    off = {place: float((made - expected).abs().max()) for place, made in places.items()}
    nearest = min(off, key=lambda place: off[place])
    if not off[nearest] <= 1e-4 * float(expected.abs().max()):
        raise WeightsError(
            f"{path}: differs from {card.name} with the same tensors by {off[nearest]:.4g} DN on a "
            "test pattern, so it is another net. Choose another --net, or check where it is from."
        )
    return nearest


def _expected(
    card: ModelCard, tensors: Mapping[str, Tensor], order: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """What the converted net makes of the test pattern, and the pattern's own target bands."""
    model = registry.build(card)
    model.net.load_state_dict(tensors)
    planes = pattern(card)
    planes[0] = planes[0][:, [order.index(band) for band in card.inputs[0].bands]]
    inputs = {
        item.gsd: DN * plane[..., :: item.gsd // 10, :: item.gsd // 10]
        for item, plane in zip(card.inputs, planes, strict=True)
    }
    with torch.inference_mode():
        return model(inputs), DN * planes[-1]


def _fitted(path: Path, found: SourceWeights, card: ModelCard) -> dict[str, Tensor]:
    """The file's tensors by the net's own names, in its order."""
    shapes = shapes_of(card)
    fitted = {}
    for name, wanted in zip_longest(_in_order(path, found, list(shapes)), shapes):
        if name is None:
            problem = f"no tensor for {wanted}, {shapes[wanted]}"
        elif wanted is None:
            problem = f"{name}, {tuple(found.tensors[name].shape)}, is of no layer"
        elif tuple(found.tensors[name].shape) != shapes[wanted]:
            shape = tuple(found.tensors[name].shape)
            problem = f"{name} is {shape}, {wanted} is to be {shapes[wanted]}"
        elif not bool(found.tensors[name].isfinite().all()):
            raise WeightsError(f"{path}: {name} holds NaN or infinity. Get the file again.")
        else:
            fitted[wanted] = found.tensors[name].contiguous()
            continue
        other = fitting(found.tensors)
        fits = other not in (None, card.name)
        advice = f"It fits {other}: pass --net {other}." if fits else "Check where it is from."
        raise WeightsError(f"{path}: not weights of {card.name}: {problem}. {advice}")
    return fitted


def _told(path: Path, tensors: Mapping[str, Tensor]) -> ModelCard:
    """The net whose shapes these are."""
    fits = fitting(tensors)
    if fits is None:
        raise WeightsError(
            f"{path}: its tensors fit none of {', '.join(NETS)}. Pass --net to see what differs."
        )
    return card_of(fits)


def _in_order(path: Path, found: SourceWeights, expected: list[str]) -> list[str]:
    """The file's names in the order of the net's layers, weight before bias."""
    names = list(found.tensors)
    if set(names) == set(expected):
        return expected
    matches = [_PORT.fullmatch(name) for name in names]
    if names and all(matches):
        layers = {n: _place(m) for n, m in zip(names, matches, strict=True) if m}
    elif found.ordered:
        parents = [re.sub(r"[./][^./]*$", "", name) for name in names]
        layers = {n: (parents.index(p), 0) for n, p in zip(names, parents, strict=True)}
    else:
        odd = next((n for n, m in zip(names, matches, strict=True) if not m), "nothing")
        raise WeightsError(
            f"{path}: '{odd}' tells no layer, and safetensors keep no order. Name the tensors "
            "conv1, layers.0 …, conv2, or as geosr does."
        )
    return sorted(names, key=lambda name: (layers[name], -found.tensors[name].dim()))


def _place(match: re.Match[str]) -> tuple[int, int]:
    first, layer, _ = match.groups()
    if layer is not None:
        return (1, int(layer))
    return (0, 0) if first else (2, 0)


def _turned(tensors: Mapping[str, Tensor], order: list[int]) -> dict[str, Tensor]:
    """With the 10 m bands of the first layer in the card's order: the same net, band by band."""
    head = next(iter(tensors))
    rest = range(len(order), tensors[head].shape[1])
    return {**tensors, head: tensors[head][:, [*order, *rest]].contiguous()}
