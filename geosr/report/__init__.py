"""A report: one static HTML file of sliders, figures and scores, needing nothing from elsewhere.

`snapshots` keeps crops while nets are scored, `pages` makes the content of a report from scores or
from an output, `content` says what that is; `document` writes it, with `tables`, `crops` and
`figures`.
"""

from geosr.report.content import Crop, ScenePage
from geosr.report.document import LIMIT, render, write

__all__ = ["LIMIT", "Crop", "ScenePage", "render", "write"]
