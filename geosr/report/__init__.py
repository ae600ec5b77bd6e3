"""A report: one static HTML file of sliders, figures and scores, needing nothing from elsewhere."""

from geosr.report.document import LIMIT, render, write
from geosr.report.shown import Crop, ScenePage

__all__ = ["LIMIT", "Crop", "ScenePage", "render", "write"]
