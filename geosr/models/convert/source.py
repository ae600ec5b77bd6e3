"""What is found in a file of another program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

LARGEST = 2**31  # bytes of a file
MOST = 2**22  # numbers of one tensor; the widest layer of these nets has 589,824


@dataclass(frozen=True)
class SourceWeights:
    """Tensors by the file's names, kernels as OIHW.

    Attributes:
        ordered: they come in the order of the layers.
        output: of a program for the test pattern, (1, bands, rows, cols).
    """

    kind: str
    tensors: Mapping[str, Tensor]
    ordered: bool = True
    output: Tensor | None = None
