"""Super-resolve georeferenced rasters.

The command line is `geosr`; each command is a function of the same name:
`geosr.inference.superres.superres`, `geosr.training.train.train`,
`geosr.evaluation.evaluate.evaluate`.
"""

__version__ = "0.1.0"
