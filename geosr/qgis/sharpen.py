"""Sharpen by a guide: `geosr superres --guide`."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from .algorithm import Algorithm

HELP = """Sharpens a coarse raster to the grid of a finer one of the same place: multispectral by \
panchromatic, 20 m bands by a 10 m band.

Model: regress, mtf-glp, gsa, bdsd or brovey, none of which needs training; or a weights file of \
your own."""


class Sharpen(Algorithm):
    """A coarse raster layer on the grid of a finer one."""

    words = ("sharpen", "Sharpen by a guide", HELP)

    def initAlgorithm(self, config: Any = None) -> None:
        self.add(
            QgsProcessingParameterRasterLayer("INPUT", "Coarse raster"),
            QgsProcessingParameterRasterLayer("GUIDE", "Finer raster, the guide"),
            QgsProcessingParameterString("MODEL", "Model, or weights file", "regress"),
            QgsProcessingParameterRasterDestination("OUTPUT", "Sharpened"),
        )

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, Any]:
        """Run geosr, and have the output drawn in true colour."""
        output = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        words = ["superres", self.file_of(parameters, "INPUT", context), output, "--overwrite",
                 "--guide", self.file_of(parameters, "GUIDE", context),
                 "--model", self.parameterAsString(parameters, "MODEL", context)]  # fmt: skip
        ended = self.run_geosr([*words, *self.more(parameters, context)], feedback)
        return self.drawn(output, context) if ended else {}
