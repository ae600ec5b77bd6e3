"""Nets that make one image finer, band by band or all bands at once."""
