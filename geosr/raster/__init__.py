"""Rasters on disk, whatever they show.

`window` and `grid` say which pixels and where on the ground, `files` reads them, `writer` writes an
output whole or not at all, `publish` holds what makes any file appear whole, `picture` makes PNGs
for people, `markup` tables for notebooks.
"""
