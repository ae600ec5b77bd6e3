"""What a device and a disk do at best: what a measured speed is a share of."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from geosr.raster.publish import not_written, part_path

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Ceilings:
    """What the device and the disk do at best.

    Attributes:
        tflop_per_s: matrix product by precision, 10¹² FLOP/s; "tf32" on GPUs only.
        copy_gb_per_s: within the device's memory, bytes read and written.
        disk_mb_per_s: 64 MB written and forced to the disk.
    """

    tflop_per_s: Mapping[str, float]
    copy_gb_per_s: float
    disk_mb_per_s: float


def ceilings(device: str, folder: Path) -> Ceilings:
    """Measure them; about five seconds.

    Args:
        folder: where a file of 64 MB is written and removed.

    Raises:
        StoppedError: it cannot be written.
    """
    rates = {name: matrix_product(device, dtype) / 1e12 for name, dtype in _DTYPES.items()}
    if torch.device(device).type == "cuda":
        own = torch.backends.cuda.matmul.fp32_precision
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        try:
            rates["tf32"] = matrix_product(device, torch.float32) / 1e12
        finally:
            torch.backends.cuda.matmul.fp32_precision = own
    return Ceilings(rates, _copy_rate(device) / 1e9, _disk_rate(folder) / 1e6)


def matrix_product(device: str, dtype: torch.dtype, budget: float = 1.0) -> float:
    """FLOP/s of a square matrix product at its best.

    Args:
        budget: seconds; sizes double from 256 until the next would not fit into what is left, or
            the device is saturated.
    """
    best, n, ends = 0.0, 256, time.perf_counter() + budget
    largest = 8192 if torch.device(device).type == "cuda" else 4096
    while n <= largest:
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        seconds = _fastest(lambda a=a, b=b: a @ b, device, 0.1 * budget)  # type: ignore[misc]
        best = max(best, 2 * n**3 / seconds)
        if 8 * seconds > ends - time.perf_counter():
            break
        n *= 2
    return best


def _fastest(work: Callable[[], object], device: str, budget: float) -> float:
    """Seconds of the fastest of several calls; at least one, and no more when time is up."""
    best, ends = float("inf"), time.perf_counter() + budget
    while True:
        started = time.perf_counter()
        work()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        best = min(best, now - started)
        if now > ends:
            return best


def _copy_rate(device: str) -> float:
    source = torch.ones(2**26, device=device)  # 256 MiB: beyond any cache
    target = torch.empty_like(source)
    seconds = _fastest(lambda: target.copy_(source), device, 0.5)
    return 2 * source.nbytes / seconds


def _disk_rate(folder: Path) -> float:
    data, path = os.urandom(64_000_000), part_path(folder / "disk")
    started = time.perf_counter()
    try:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return len(data) / (time.perf_counter() - started)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        path.unlink(missing_ok=True)
