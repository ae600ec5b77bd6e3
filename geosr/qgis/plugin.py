"""What QGIS loads: the provider of geosr's Processing algorithms, and its one setting."""

from __future__ import annotations

from pathlib import Path

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsApplication, QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithm import SETTING
from .evaluate import Evaluate
from .sharpen import Sharpen
from .superres import Superres

ICON = str(Path(__file__).with_name("icon.svg"))


class Provider(QgsProcessingProvider):
    """`geosr:superres`, `geosr:sharpen` and `geosr:evaluate`."""

    def id(self) -> str:
        return "geosr"

    def name(self) -> str:
        return "geosr"

    def icon(self) -> QIcon:
        return QIcon(ICON)

    def load(self) -> bool:
        """Offer the setting and the algorithms."""
        ProcessingConfig.settingIcons[self.name()] = self.icon()
        ProcessingConfig.addSetting(
            Setting(self.name(), SETTING, "Path of geosr", "", valuetype=Setting.FILE)
        )
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self) -> None:
        ProcessingConfig.removeSetting(SETTING)

    def loadAlgorithms(self) -> None:
        for algorithm in (Superres(), Sharpen(), Evaluate()):
            self.addAlgorithm(algorithm)


class Plugin:
    """The plugin as QGIS drives it; `qgis_process` calls `initProcessing` alone."""

    def __init__(self) -> None:
        self.provider = Provider()

    def initProcessing(self) -> None:
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        self.initProcessing()

    def unload(self) -> None:
        QgsApplication.processingRegistry().removeProvider(self.provider)
