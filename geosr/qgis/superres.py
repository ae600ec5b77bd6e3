"""Super-resolve: `geosr superres` of one raster or product."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingException,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from .algorithm import Algorithm

HELP = """Makes a raster finer: all bands of a Sentinel-2 scene at 10 m, any other raster by the \
scale of the model.

Input is a raster layer (a stacked GeoTIFF, for example) or the folder of a product (.SAFE, or one \
of band files). For many scenes run it as a batch process.

Model: dsen2-ps (Sentinel-2), lapsr or liif (any raster), bicubic (no net); or a weights file of \
your own. 'geosr models' lists all.

Pixel size: for models of any scale. Extent: a part of the scene, snapped outward to whole coarse \
pixels."""


class Superres(Algorithm):
    """A raster layer, or the folder of a product, made finer."""

    words = ("superres", "Super-resolve", HELP)

    def initAlgorithm(self, config: Any = None) -> None:
        self.add(
            QgsProcessingParameterRasterLayer("INPUT", "Raster layer", optional=True),
            QgsProcessingParameterFile(
                "PRODUCT", "or product folder", optional=True,
                behavior=QgsProcessingParameterFile.Folder,
            ),
            QgsProcessingParameterString("MODEL", "Model, or weights file", "dsen2-ps"),
            QgsProcessingParameterNumber(
                "GSD", "Pixel size of the output in metres, for models of any scale",
                QgsProcessingParameterNumber.Double, optional=True, minValue=0,
            ),
            QgsProcessingParameterExtent("EXTENT", "Extent", optional=True),
            QgsProcessingParameterRasterDestination("OUTPUT", "Super-resolved"),
        )  # fmt: skip

    def checkParameterValues(self, parameters: Any, context: Any) -> tuple[bool, str]:
        """One input, not two and not none."""
        wrong = self.one_input(parameters, "PRODUCT")
        return (False, wrong) if wrong else super().checkParameterValues(parameters, context)

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, Any]:
        """Run geosr, and have the output drawn in true colour."""
        source = self.source(parameters, "PRODUCT", context)
        output = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        words = ["superres", source, output, "--overwrite",
                 "--model", self.parameterAsString(parameters, "MODEL", context)]  # fmt: skip
        if parameters.get("GSD") is not None:
            words += ["--gsd", f"{self.parameterAsDouble(parameters, 'GSD', context):.17g}"]
        words += self._bounds(parameters, context)
        ended = self.run_geosr([*words, *self.more(parameters, context)], feedback)
        return self.drawn(output, context) if ended else {}

    def _bounds(self, parameters: Any, context: Any) -> list[str]:
        """The extent as geosr takes it, in its own CRS."""
        if not parameters.get("EXTENT"):
            return []
        extent = self.parameterAsExtent(parameters, "EXTENT", context)
        crs = self.parameterAsExtentCrs(parameters, "EXTENT", context)
        if extent.isEmpty():
            raise QgsProcessingException("The extent is empty. Draw another one.")
        sides = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum())
        named = ["--bounds-crs", crs.authid() or crs.toWkt()] if crs.isValid() else []
        return ["--bounds", *(f"{side:.17g}" for side in sides), *named]
