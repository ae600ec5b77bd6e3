"""Super-resolve georeferenced rasters.

The command line is `geosr`; in Python its commands are functions of the same words:

    import geosr

    geosr.superres("scenes/", "out/", model="dsen2")
    sharp = geosr.sharpen(d10, d20, d60)

The names below are imported when they are first used; `import geosr` itself takes a moment.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geosr.api import (
        evaluate,
        list_models,
        load_model,
        open_scene,
        sharpen,
        superres,
        train,
    )

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "evaluate",
    "list_models",
    "load_model",
    "open_scene",
    "sharpen",
    "superres",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'geosr' has no attribute '{name}'")
    api = import_module("geosr.api")
    for each in __all__[1:]:  # also where a module of the package has the name of a function
        globals()[each] = getattr(api, each)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
