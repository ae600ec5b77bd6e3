"""How much memory a net's tensors take at once, told by running it on a small tile."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, finalize

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from geosr.models.card import Model
from geosr.models.onnx.net import OnnxNet

KINDS = {"bf16": torch.bfloat16, "fp16": torch.float16}  # of low precision
_WORK = 1e9  # multiply-adds of the trial
UNKNOWN = 4096.0  # bytes, where a trial tells nothing

_known: WeakKeyDictionary[nn.Module, dict[tuple[torch.dtype | None, float], float]]
_known = WeakKeyDictionary()


def per_pixel(model: Model, kind: torch.dtype | None = None) -> float:
    """Bytes that live at once in a pass of a net for one image, by pixel of its coarsest input.

    Its own parameters do not count, nor what kernels need beside tensors. Found once for a net,
    a kind and a scale.

    Args:
        kind: the low precision of the pass; None is fp32.
    """
    if isinstance(model.net, OnnxNet):  # onnxruntime does not tell
        return UNKNOWN
    plain = getattr(model.net, "_orig_mod", model.net)  # of a compiled one
    model, found = Model(model.card, plain), _known.setdefault(plain, {})
    key = kind, model.card.factor
    if key not in found:
        zoom = model.card.scale if model.card.task == "guided" else 1
        cost = max(model.parameters, 1) * zoom**2
        side = max(min(int((_WORK / cost) ** 0.5), 48), 6)
        try:
            found[key] = max(_live(model, kind, side) / side**2, 1.0)
        except (RuntimeError, MemoryError):  # the pass itself will tell
            return UNKNOWN
    return found[key]


@torch.inference_mode()
def _live(model: Model, kind: torch.dtype | None, side: int) -> int:
    """Most bytes alive during a pass of `side` × `side` of the coarsest pixels."""
    card = model.card
    device = next((p.device for p in model.net.parameters()), torch.device("cpu"))
    coarsest = max(item.gsd for item in card.inputs)
    tile = {}
    for item in card.inputs:
        n = side * coarsest // item.gsd
        tile[item.gsd] = torch.zeros(1, len(item.bands), n, n, device=device)
    with torch.autocast(device.type, dtype=kind, enabled=kind is not None), _Counter() as counter:
        model(tile)
    return counter.most + sum(x.nbytes for x in tile.values())


class _Counter(TorchFunctionMode):
    """Counts the bytes of all tensors made herein, until they are let go.

    What functions make inside themselves is not seen. A dispatch mode would see it, but loads
    TorchDynamo, which takes longer than a small scene.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._seen = set[int]()

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and func is not torch.Tensor.untyped_storage:
            self._note(out.untyped_storage())
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        self._seen.add(key)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        finalize(storage, self._gone, key, storage.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size
