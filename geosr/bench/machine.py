"""What a speed was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch

from geosr import __version__

_CPU_FACTS = Path("/proc/cpuinfo")


def versions() -> dict[str, str]:
    """Of geosr and of what it stands on."""
    return {
        "geosr": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "rasterio": rasterio.__version__,
        "gdal": rasterio.__gdal_version__,
    }


def hardware(device: str) -> dict[str, Any]:
    """Processor, its cores and threads in use, and the device."""
    gpu = torch.device(device).type == "cuda"
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "gpu": torch.cuda.get_device_name(device) if gpu else None,
    }


def _cpu_name() -> str:
    if _CPU_FACTS.exists():
        for line in _CPU_FACTS.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
