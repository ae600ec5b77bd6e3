"""Nets that tell bands which were not sensed from those that were, at one pixel size."""
