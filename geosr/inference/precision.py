"""Which precision a processor is quickest in: by what it says of itself, and by a trial.

Flags tell what a CPU has instructions for, not whether PyTorch gains by them: virtual machines hide
some, and kernels differ. A convolution of the kind that nets are made of is timed in both. What was
found can be kept in a file, by machine and version of PyTorch, so that a machine under load does
not take another precision than it took before.
"""

from __future__ import annotations

import json
import logging
import platform
import time
from functools import cache
from pathlib import Path

import torch
from torch.nn import functional as F

from geosr.models.memory import KINDS
from geosr.raster.publish import write_bytes

log = logging.getLogger("geosr")
_FEATURES, _SIDE = 64, 96  # of the convolution: 0.34 billion multiply-adds
_ROUNDS = 3
_GAIN = 0.9  # of fp32's time; what gains less is not worth its rounding
_MOST = 64  # entries of a file


def quickest(device: torch.device, known: Path | None = None) -> str:
    """The precision that nets take where nobody asks for one.

    Args:
        known: the file where trials are kept; None keeps them for this process only.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if not multiplies_bf16():
        return "fp32"
    return "bf16" if _kept("bf16", known) < _GAIN else "fp32"


def multiplies_bf16() -> bool:
    """Whether this CPU has instructions for it."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


@cache
def share(precision: str) -> float:
    """How long a convolution takes in a precision on this CPU, as a share of its time in fp32."""
    kinds = None, KINDS[precision]
    x = torch.full((1, _FEATURES, _SIDE, _SIDE), 0.5).to(memory_format=torch.channels_last)
    weight = torch.full((_FEATURES, _FEATURES, 3, 3), 0.01).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        times = [[_seconds(x, weight, kind) for kind in kinds] for _ in range(_ROUNDS + 1)]
    full, low = (min(column) for column in zip(*times[1:], strict=True))  # the first one warms up
    return low / full


def _seconds(x: torch.Tensor, weight: torch.Tensor, kind: torch.dtype | None) -> float:
    with torch.autocast("cpu", dtype=kind, enabled=kind is not None):
        started = time.perf_counter()
        F.conv2d(x, weight, padding=1)
        return time.perf_counter() - started


def _kept(precision: str, known: Path | None) -> float:
    """The share that the file tells, else that of a trial, which is then kept there."""
    key = f"{platform.node()} torch {torch.__version__} {precision}"
    rows = _rows(known)
    if key not in rows:
        rows[key] = share(precision)
        try:
            if known:
                known.parent.mkdir(parents=True, exist_ok=True)
                kept = dict(list(rows.items())[-_MOST:])
                write_bytes(known, json.dumps(kept, indent=1).encode())
        except OSError as error:
            log.debug("trial not kept in %s: %s", known, error)
    return rows[key]


def _rows(known: Path | None) -> dict[str, float]:
    """What a file holds; nothing where there is none or it is damaged."""
    try:
        rows = json.loads(known.read_text()) if known else {}
        return {str(key): float(value) for key, value in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
