"""Nets whose fine bands sharpen the coarse ones of the same scene."""
