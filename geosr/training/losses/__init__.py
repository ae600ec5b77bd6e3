"""Losses: sums over valid pixels, and how many they were; masked pixels have no influence at all.

Every loss takes a prediction and a target (batch, bands, rows, cols) in unit values and a mask
(batch, bands or 1, rows, cols), True where valid, and gives (sum, count). The loss is sum / count;
a batch split over several processes has the loss Σ sums / Σ counts. Where nothing is valid both
are 0.

`Criterion.parse("l1+0.1*dssim")` is a weighted sum of them.
"""

from geosr.training.losses.criterion import LOSSES, Criterion

__all__ = ["LOSSES", "Criterion"]
