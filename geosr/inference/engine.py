"""Where and how nets run; PyTorch is imported when a net is asked about."""

from __future__ import annotations

from dataclasses import dataclass

from geosr.models.card import Model


@dataclass(frozen=True)
class Engine:
    """Where and how nets run.

    Attributes:
        device: "cpu" or "cuda:N".
        precision: of the residual: "fp32", "bf16" or "fp16"; skips are always added in fp32.
        batch_size: tiles that share a pass.
        memory: bytes that the tensors of a pass may take.
        asked: the precision is for all nets. Else those that are not guided take fp32: not all
            add what they compute to the image they got.
        compiled: nets are compiled.
    """

    device: str = "cpu"
    precision: str = "fp32"
    batch_size: int = 1
    memory: int = 3 * 2**28
    asked: bool = True
    compiled: bool = False

    def precision_of(self, model: Model) -> str:
        """The precision of a net's passes."""
        from geosr.models.onnx.net import OnnxNet

        if isinstance(model.net, OnnxNet):
            return "fp32"
        return self.precision if self.asked or model.card.task == "guided" else "fp32"

    def area(self, model: Model) -> int:
        """How many pixels of a net's coarsest input a tile may have, margin included."""
        from geosr.models import memory

        each = memory.per_pixel(model, memory.KINDS.get(self.precision_of(model)))
        return int(self.memory / self.batch_size / each)
