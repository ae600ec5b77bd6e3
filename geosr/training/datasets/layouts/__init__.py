"""Published data sets, recognised by how they lie on the disk: one module each.

Each says where its pairs, series or images are and what opens them; windows are cut from them as
from any others.
"""

from __future__ import annotations

from pathlib import Path

from geosr.training.datasets.layouts import (
    l1bsr,
    oli2msi,
    opensr_test,
    sen2naip,
    sen2venus,
    worldstrat,
)
from geosr.training.datasets.layouts.layout import Layout, Pair

__all__ = ["LAYOUTS", "Layout", "Pair", "layout_of"]

LAYOUTS: tuple[Layout, ...] = (
    oli2msi.LAYOUT,
    sen2venus.LAYOUT,
    worldstrat.LAYOUT,
    opensr_test.LAYOUT,
    sen2naip.LAYOUT,
    l1bsr.LAYOUT,
)


def layout_of(data: Path) -> Layout | None:
    """The published data set that a folder holds, None for any other folder."""
    if not data.is_dir():
        return None
    return next((layout for layout in LAYOUTS if _is_in(layout, data)), None)


def _is_in(layout: Layout, data: Path) -> bool:
    """Whether it is there; what cannot be looked into is none."""
    try:
        return layout.is_in(data)
    except OSError:
        return False
