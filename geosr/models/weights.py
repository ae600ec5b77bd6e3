"""Where a card's weights are, whether they are what they should be, and how they are saved."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from geosr.errors import UsageError, WeightsError, cause
from geosr.models.card import SHIFTS, Model, ModelCard, image
from geosr.models.onnx.card import ARCH, SUFFIX
from geosr.raster.publish import write_bytes

if TYPE_CHECKING:
    import torch

INTACT, DAMAGED, MISSING, ABSENT = "intact", "damaged", "missing", "not fetched"
_CARD = "card"
_OPTION = 1024  # of a card, which is plausible for any file
_TRIED = 4  # coarsest pixels a side
_PICKLE = (".pt", ".pth")
_FOREIGN = (*_PICKLE, ".h5", ".hdf5")
_TRIED_ONNX = 32  # nets of others may refuse less


def folder() -> Path:
    """The bundled weights: inside the installed package, else in the checkout."""
    here = Path(__file__).resolve().parents[1]
    installed = here / "_weights"
    return installed if installed.is_dir() else here.parent / "weights"


@cache
def manifest() -> Mapping[str, Any]:
    """`manifest.json` of the bundled weights, by model name; empty where there is none.

    Raises:
        WeightsError: the file is damaged.
    """
    path = folder() / "manifest.json"
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text())["weights"]
        return {entry["name"]: entry for entry in entries}
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: damaged ({error}). Install geosr again.") from error


def load(name: str, *, scale: float | None = None) -> tuple[Model, ...]:
    """The nets that a name or a weights file stands for, in evaluation mode.

    Args:
        scale: of nets that come in several; None is their default, or the file's.

    Raises:
        UsageError: neither a known name nor a file, or not of that scale.
        WeightsError: no weights are bundled for the name, or the file is refused.
    """
    path = Path(name)
    if path.suffix == ".safetensors" or path.suffix.lower() in (*_FOREIGN, SUFFIX):
        model = load_file(path)
        if scale is not None and model.card.continuous:
            return (model.at(scale),)
        if scale not in (None, model.card.scale):
            raise UsageError(
                f"{path} holds {model.card.name} at scale {model.card.scale}, not {scale:g}. "
                "Leave --scale out, or give other weights."
            )
        return (model,)
    from geosr.models import registry

    if path.exists() and not registry.known(name):
        raise UsageError(
            f"{name} is not a weights file geosr reads (.safetensors, .onnx). Check --model."
        )
    return tuple(_bundled(card) for card in registry.cards(name, scale=scale))


def entry(card: ModelCard) -> Mapping[str, Any] | None:
    """What the manifest says of a card's bundled weights, by name or name and scale."""
    found = manifest().get(f"{card.name}-x{card.scale}", manifest().get(card.name))
    if found is None or found.get("scale", card.scale) != card.scale:
        return None
    return found


def _bundled(card: ModelCard) -> Model:
    from geosr.models import registry

    model = registry.build(card)
    if not model.parameters or card.learns:
        return Model(card, model.net.eval())
    found = entry(card)
    if found is None:
        scale = "" if card.task in ("guided", "spectral") else f" --scale {card.scale}"
        raise WeightsError(
            f"no weights are bundled for '{card.name}' (looked in {folder()}). Train them: "
            f"geosr train --model {card.name}{scale} --data IMAGES --out RUN, "
            "then --model RUN/best.safetensors."
        )
    path = folder() / file_name(found)
    if "url" in found and not path.exists():
        raise WeightsError(
            f"the weights of '{card.name}' are not on this machine. Get them: "
            f"geosr weights fetch {found['name']}"
        )
    return load_file(path, sha256=found["sha256"]).at(card.factor)


def file_name(found: Mapping[str, Any]) -> str:
    """The file of a manifest entry.

    Raises:
        WeightsError: the entry names a path.
    """
    name = str(found["file"])
    if Path(name).name != name:
        raise WeightsError(f"manifest entry '{found['name']}' names a path, {name!r}: refused.")
    return name


def state(found: Mapping[str, Any]) -> str:
    """INTACT, DAMAGED or MISSING by the file's sha256; ABSENT is yet to be fetched.

    Raises:
        WeightsError: the entry names a path.
    """
    path = folder() / file_name(found)
    if not path.is_file():
        return ABSENT if "url" in found else MISSING
    return INTACT if digest(path) == found["sha256"] else DAMAGED


def digest(path: Path) -> str:
    """The sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_file(path: Path, *, sha256: str = "") -> Model:
    """The net in a weights file that carries its card, or in an ONNX file.

    Raises:
        UsageError: ONNX cannot be read here.
        WeightsError: missing, damaged, another format, or tensors that do not fit the card.
    """
    if path.suffix.lower() == SUFFIX:
        return _load_onnx(path, sha256)
    if path.suffix != ".safetensors" and path.exists():
        raise WeightsError(
            f"{path}: pickle and HDF5 weights are refused; geosr reads safetensors. Convert them: "
            f"geosr weights convert {path} OUT.safetensors"
            + " --allow-pickle-format"
            * (path.suffix.lower() in _PICKLE)
        )
    from safetensors.torch import load as load_tensors

    data = _bytes(path)
    actual = hashlib.sha256(data).hexdigest()
    _require_same(path, actual, sha256)
    card = replace(card_of(path), file=str(path), sha256=actual)
    try:
        from geosr.models import registry

        tensors = load_tensors(data)
        _require_plausible(card, tensors)
        model = registry.build(card)
        model.net.load_state_dict({k: v.float() for k, v in tensors.items()})
        model.net.eval()
        _require_output(model, _TRIED)
        if not sha256:  # what comes with geosr is tested
            _require_margin(card)
    except UsageError as error:  # an architecture of another version
        raise WeightsError(f"{path}: {error}") from error
    except (RuntimeError, SafetensorError, LookupError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: its tensors are not those of '{card.name}' "
            f"({type(error).__name__}: {cause(error)[:120]}). Use the file of that model."
        ) from error
    return model


def _require_plausible(card: ModelCard, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise ValueError where a card asks for more layers or features than its file can hold."""
    sizes = (size for tensor in tensors.values() for size in tensor.shape)
    most = max(_OPTION, len(tensors), max(sizes, default=0))
    for name, value in card.options.items():
        if isinstance(value, int) and value > most:
            raise ValueError(f"its card says {name} {value}, and nothing in the file is so many")


def _require_margin(card: ModelCard) -> None:
    """Raise ValueError where a net sees further than its card says: tiles would not fit.

    It is measured only where the card is not as the registry makes it, which takes a moment.
    """
    from geosr.models import registry

    known = registry.DESIGNS.get(card.name)
    if card.blend or not known or known.solved:
        return
    usual = known.card_ or known.card(scale=card.scale)
    if card.options == usual.options and card.margin >= usual.margin:
        return
    needed = registry.measured(card).margin
    if card.margin < needed:
        raise ValueError(f"its card says margin {card.margin}, and the net sees {needed} px far")


def _load_onnx(path: Path, sha256: str) -> Model:
    from geosr.models.onnx import net

    model = net.load(path, _bytes(path))
    _require_same(path, model.card.sha256, sha256)
    try:
        _require_output(model, _TRIED_ONNX if model.card.arch == ARCH else _TRIED)
    except MemoryError as error:
        raise WeightsError(
            f"{path}: takes more memory than there is on the smallest image "
            f"({cause(error)[:120]}). Use another file."
        ) from error
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: does not do what its card says ({cause(error)[:120]}). Correct the card, or "
            "use another file."
        ) from error
    return model


def _bytes(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise WeightsError(f"weights {path}: no file but a device, pipe or folder. Check it.")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"cannot read weights {path}: {error.strerror}. Check the path."
        ) from error


def _require_same(path: Path, actual: str, expected: str) -> None:
    if expected and actual != expected:
        raise WeightsError(
            f"{path}: damaged: sha256 is {actual[:12]}…, expected {expected[:12]}…. "
            "Install geosr again."
        )


def _require_output(model: Model, tried: int) -> None:
    """Raise ValueError where a net does not make what its card says, tried on a few pixels."""
    import torch

    card, inputs = model.card, dict[int, torch.Tensor]()
    coarsest = card.inputs[-1].gsd
    for item in card.inputs:
        size, bands = tried * coarsest // item.gsd, len(item.bands)
        multi = card.task == "misr"
        shape = (1, item.frames, bands + 1, size, size) if multi else (1, bands, size, size)
        inputs[item.gsd] = torch.zeros(shape)
    if card.shifts:
        inputs[SHIFTS] = torch.zeros(1, card.frames, 2)
    with torch.inference_mode():
        made = tuple(image(model.outputs(inputs)).shape[1:])
    side = tried * coarsest // card.output.gsd
    if made != (len(card.bands), side, side):
        raise ValueError(
            f"it makes {made[0]} bands of {made[1]} px where the card says "
            f"{len(card.bands)} of {side}"
        )


def card_of(path: Path) -> ModelCard:
    """The card that a weights file carries; its tensors are not read.

    Raises:
        WeightsError: not a whole file, or without a card.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(_CARD)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error}). Get it again."
        ) from error
    if text is None:
        raise WeightsError(
            f"{path}: carries no model card, so its bands are unknown. "
            f"Convert it: geosr weights convert {path} OUT.safetensors"
        )
    try:
        return ModelCard.from_json(text)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def save(path: Path, card: ModelCard, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write weights with their card, whole or not at all."""
    from safetensors.torch import save as save_tensors

    card = replace(card, file="", sha256="")  # the file cannot know its own
    data = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save_tensors(data, metadata={_CARD: card.to_json()}))
