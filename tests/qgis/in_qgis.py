"""Run by QGIS's own Python: algorithms of the installed plugin, cancelled and drawn.

in_qgis.py PLUGINS SCENE OUT prints one JSON object of what it saw.
"""

import json
import os
import sys
from pathlib import Path

from qgis.core import (
    QgsApplication,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
)

plugins, scene, out = sys.argv[1:]
app = QgsApplication([], False)
app.initQgis()
sys.path[:0] = [plugins, str(Path(QgsApplication.pkgDataPath()) / "python/plugins")]

from geosr_qgis import style  # noqa: E402
from geosr_qgis.plugin import Provider  # noqa: E402
from processing.core.Processing import Processing  # noqa: E402

Processing.initialize()
provider = Provider()
QgsApplication.processingRegistry().addProvider(provider)
algorithm = QgsApplication.processingRegistry().algorithmById("geosr:superres")


class Feedback(QgsProcessingFeedback):
    """Keeps what is said; presses Cancel at the first progress where asked."""

    def __init__(self, *, cancels):
        super().__init__()
        self.said, self.progress = [], []
        self.progressChanged.connect(self.advance)
        self.cancels = cancels

    def advance(self, value):
        self.progress.append(value)
        if self.cancels:
            self.cancel()

    def pushInfo(self, text):
        self.said.append(text)


def run(name, *, cancels=False, **more):
    context, feedback = QgsProcessingContext(), Feedback(cancels=cancels)
    context.setProject(QgsProject.instance())
    given = {"PRODUCT": scene, "MODEL": "bicubic", "OUTPUT": f"{out}/{name}.tif"}
    results, succeeded = algorithm.run({**given, **more}, context, feedback)
    return {"results": results, "succeeded": succeeded, "said": feedback.said,
            "progress": feedback.progress, "canceled": feedback.isCanceled()}  # fmt: skip


seen = {
    "whole": run("whole", OPTIONS="--tile-size 60"),
    "cancelled": run("cancelled", cancels=True, OPTIONS="--tile-size 6"),
    "can": algorithm.canExecute()[0],
}
layer = QgsRasterLayer(f"{out}/whole.tif", "whole")
style.draw(layer)
drawn = layer.renderer()
seen["drawn"] = [drawn.redBand(), drawn.greenBand(), drawn.blueBand()]
seen["stretch"] = drawn.redContrastEnhancement().maximumValue()
names = ([], ["Band 1: B02", "Band 2: B03", "Band 3: B04"], ["Band 1: B11", "Band 2: B12"],
         ["Band 1 (Red)", "Band 2 (Green)", "Band 3 (Blue)"])  # fmt: skip
seen["colours"] = [style.true_colour(each) for each in names]
(Path(plugins) / "geosr_qgis/program.json").unlink()
seen["cannot"] = algorithm.canExecute()
print(json.dumps(seen), flush=True)
os._exit(0)  # QGIS does not take its objects down in an order that Python knows
