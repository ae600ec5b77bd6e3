"""How an output is drawn when QGIS loads it: in true colour where its bands are known."""

from __future__ import annotations

import re

from qgis.core import (
    QgsContrastEnhancement,
    QgsMultiBandColorRenderer,
    QgsProcessingLayerPostProcessorInterface,
    QgsRasterMinMaxOrigin,
)

# what names of bands say, after "Band 4: "; Landsat 8 and 9 number red, green and blue alike
_COLOURS = (r"B0?4|red", r"B0?3|green", r"B0?2|blue")


def true_colour(names: list[str]) -> tuple[int, int, int] | None:
    """The numbers of the red, green and blue band, from 1; None where one has no such name."""
    found = [next((number for number, name in enumerate(names, 1)
                   if re.search(rf"(?:^|\W)(?:{colour})(?:$|\W)", name, re.IGNORECASE)), 0)
             for colour in _COLOURS]  # fmt: skip
    return (found[0], found[1], found[2]) if all(found) else None


class TrueColour(QgsProcessingLayerPostProcessorInterface):
    """Draws a raster in true colour, stretched over all but its darkest and brightest 2 %."""

    def postProcessLayer(self, layer, context, feedback):  # type: ignore[no-untyped-def]
        """Called by QGIS once the layer is loaded."""
        draw(layer)


def draw(layer) -> None:  # type: ignore[no-untyped-def]
    """Give a raster layer its style; one without colours keeps QGIS's, stretched."""
    bands = true_colour([layer.bandName(i) for i in range(1, layer.bandCount() + 1)])
    if bands:
        layer.setRenderer(QgsMultiBandColorRenderer(layer.dataProvider(), *bands))
    layer.setContrastEnhancement(
        QgsContrastEnhancement.StretchToMinimumMaximum, QgsRasterMinMaxOrigin.CumulativeCut
    )
    layer.triggerRepaint()
