"""Super-resolve georeferenced rasters.

The command line is `geosr`; each command is a function of the same name:
`geosr.superres.superres`, `geosr.train.train`, `geosr.evaluate.evaluate`.
"""

__version__ = "0.1.0"
