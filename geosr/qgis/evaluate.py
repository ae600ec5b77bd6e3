"""Evaluate: `geosr eval`, as a page that QGIS shows among its results."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from .algorithm import Algorithm

PROTOCOLS = ("auto", "wald", "twin", "folder")
HELP = """Scores a model beside bicubic on a scene, or on a folder of scenes or images: they are \
degraded, made finer again, and compared with what they were.

The scores come as lines in the log, and as a page with sliders and figures."""


class Evaluate(Algorithm):
    """The scores of a model on a raster layer, or on a folder."""

    words = ("evaluate", "Evaluate", HELP)

    def initAlgorithm(self, config: Any = None) -> None:
        self.add(
            QgsProcessingParameterRasterLayer("INPUT", "Raster layer", optional=True),
            QgsProcessingParameterFile(
                "FOLDER", "or folder of scenes or images", optional=True,
                behavior=QgsProcessingParameterFile.Folder,
            ),
            QgsProcessingParameterString("MODEL", "Model, or weights file", "dsen2-ps"),
            QgsProcessingParameterEnum(
                "PROTOCOL", "What is truth", list(PROTOCOLS), usesStaticStrings=True,
                defaultValue=PROTOCOLS[0],
            ),
            QgsProcessingParameterFileDestination("OUTPUT", "Report", "HTML files (*.html)"),
        )  # fmt: skip

    def checkParameterValues(self, parameters: Any, context: Any) -> tuple[bool, str]:
        """One input, not two and not none."""
        wrong = self.one_input(parameters, "FOLDER")
        return (False, wrong) if wrong else super().checkParameterValues(parameters, context)

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, Any]:
        """Run geosr; the page is the output."""
        data = self.source(parameters, "FOLDER", context)
        page = self.parameterAsFileOutput(parameters, "OUTPUT", context)
        words = ["eval", "--data", data, "--report", page, "--overwrite",
                 "--model", self.parameterAsString(parameters, "MODEL", context),
                 "--protocol", self.parameterAsString(parameters, "PROTOCOL", context)]  # fmt: skip
        ended = self.run_geosr([*words, *self.more(parameters, context)], feedback)
        return {"OUTPUT": page} if ended else {}
