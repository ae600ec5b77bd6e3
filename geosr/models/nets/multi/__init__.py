"""Nets that make one finer image of several images of one place."""
