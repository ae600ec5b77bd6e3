"""The plugin for QGIS: `geosr qgis install` copies this folder into a profile of QGIS.

It runs there, in QGIS's Python, and imports nothing of geosr: `program` finds and runs the
installed `geosr`, `algorithm` is what the Processing algorithms share, `superres`, `sharpen` and
`evaluate` are these, `style` draws what comes out, `plugin` offers them to QGIS.
"""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:
    """The plugin; `iface` is QGIS's window, None where there is none."""
    from .plugin import Plugin

    return Plugin()
