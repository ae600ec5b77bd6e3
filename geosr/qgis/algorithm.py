"""What geosr's algorithms in QGIS share: parameters, and running the program for them."""

from __future__ import annotations

import shlex
from functools import partial
from typing import Any

from processing.core.ProcessingConfig import ProcessingConfig
from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterString,
    QgsProviderRegistry,
)
from qgis.PyQt.QtCore import QProcessEnvironment
from qgis.PyQt.QtGui import QIcon

from . import program
from .style import TrueColour

SETTING = "GEOSR_PROGRAM"
OPTIONS = "OPTIONS"
_WARNING = "warning: "
_STYLE = TrueColour()  # QGIS keeps no reference of its own


class Algorithm(QgsProcessingAlgorithm):
    """An algorithm that is a command of geosr; `words` are its id, its title and its help."""

    words = ("", "", "")

    def name(self) -> str:
        return self.words[0]

    def displayName(self) -> str:
        return self.words[1]

    def shortHelpString(self) -> str:
        return self.words[2]

    def createInstance(self) -> Algorithm:
        return type(self)()

    def icon(self) -> QIcon:
        return self.provider().icon()

    def canExecute(self) -> tuple[bool, str]:
        """Whether there is a geosr to run, and what to do where there is none."""
        try:
            program.find(ProcessingConfig.getSetting(SETTING) or "")
        except program.ProgramError as error:
            return False, str(error)
        return True, ""

    def add(self, *parameters: QgsProcessingParameterDefinition) -> None:
        """Parameters in this order, then those of any command."""
        more = QgsProcessingParameterString(
            OPTIONS, "More options of the command, for example --device cuda", optional=True
        )
        more.setFlags(more.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
        for parameter in (*parameters, more):
            self.addParameter(parameter)

    def more(self, parameters: dict[str, Any], context: Any) -> list[str]:
        """The further options as words of a command line."""
        text = self.parameterAsString(parameters, OPTIONS, context)
        try:
            return shlex.split(text)
        except ValueError as error:
            raise QgsProcessingException(f"More options: {error} in {text!r}.") from error

    def file_of(self, parameters: dict[str, Any], name: str, context: Any) -> str:
        """The file of a raster layer; "" where none was given.

        Raises:
            QgsProcessingException: it is no layer, or one without a file, of a server for example.
        """
        if parameters.get(name) in (None, ""):
            return ""
        layer = self.parameterAsRasterLayer(parameters, name, context)
        if layer is None:
            raise QgsProcessingException(self.invalidRasterError(parameters, name))
        if layer.providerType() != "gdal":
            raise QgsProcessingException(
                f"'{layer.name()}' is a layer of {layer.providerType()}, which has no file. "
                "Export it as a GeoTIFF first."
            )
        parts = QgsProviderRegistry.instance().decodeUri("gdal", layer.source())
        return str(parts.get("path") or layer.source())

    def source(self, parameters: dict[str, Any], folder: str, context: Any) -> str:
        """The file of the layer INPUT, or the folder given instead."""
        return self.file_of(parameters, "INPUT", context) or self.parameterAsString(
            parameters, folder, context
        )

    def one_input(self, parameters: dict[str, Any], folder: str) -> str:
        """What is wrong where not just one of the layer INPUT and a folder was given; else ""."""
        given = [name for name in ("INPUT", folder) if parameters.get(name)]
        found = "both were" if given else "neither was"
        return "" if len(given) == 1 else f"Give a raster layer or a folder; {found} given."

    def run_geosr(self, words: list[str], feedback: Any) -> bool:
        """Run geosr; its lines, its progress and Cancel pass between it and QGIS.

        Returns:
            Whether it came to its end; else it was cancelled.

        Raises:
            QgsProcessingException: it failed, for the reason that it gives.
        """
        try:
            command = [*program.find(ProcessingConfig.getSetting(SETTING) or ""), *words]
            feedback.pushCommandInfo(shlex.join(command))
            ended = program.run(
                command, env=_environment(), line=partial(_tell, feedback),
                progress=partial(_advance, feedback, set()), cancelled=feedback.isCanceled,
            )  # fmt: skip
        except program.ProgramError as error:
            raise QgsProcessingException(str(error)) from error
        if not ended:
            feedback.pushInfo("Cancelled: geosr has ended.")
        return ended

    def drawn(self, output: str, context: Any) -> dict[str, Any]:
        """The algorithm's result; where QGIS is to load the raster, it draws it in true colour."""
        if context.willLoadLayerOnCompletion(output):
            context.layerToLoadOnCompletionDetails(output).setPostProcessor(_STYLE)
        return {"OUTPUT": output}


def _environment() -> dict[str, str]:
    given = QProcessEnvironment.systemEnvironment()
    return program.environment({name: given.value(name) for name in given.keys()})  # noqa: SIM118


def _tell(feedback: Any, text: str) -> None:
    if text.startswith(_WARNING):
        feedback.pushWarning(text[len(_WARNING) :])
    else:
        feedback.pushInfo(text)


def _advance(feedback: Any, told: set[str], done: int, total: int, name: str) -> None:
    """Move the bar; QGIS keeps each text in its log, so the work is named once."""
    if name not in told:
        told.add(name)
        feedback.setProgressText(name)
    if total:
        feedback.setProgress(100 * done / total)
