"""A report: one static HTML file of sliders, figures and scores, needing nothing from elsewhere."""

from geosr.report.content import Crop, ScenePage
from geosr.report.document import LIMIT, render, write

__all__ = ["LIMIT", "Crop", "ScenePage", "render", "write"]
