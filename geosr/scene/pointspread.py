"""What a coarse pixel sees of the ground, relative to the finer bands beside it.

A Gaussian, centred on the coarse pixel, whose σ is a property of the sensor's band. It is told
relative to the 10 m bands: seen through it, a 10 m image becomes what the coarse band would have
sensed of the same light.

Where Sentinel-2's numbers come from: the 10 m bands of a scene are blurred by a Gaussian of σ,
read at the coarse centres, and the coarse band is regressed on them, fine structure only; the best
σ is what `estimate` gives. Over ten scenes of both levels it comes to 8.5 to 9.0 m at B5 … B8A
(R² up to 0.98) and 30 to 32 m at B1 and B9. At B11 and B12 the 10 m bands explain less, which
draws the estimate upwards (11 to 12 m): MTF at Nyquist (0.22) gives 9.8 m, resampling to the
product's grid adds to it, 10.5 m is taken.

Degrading by s so that the degraded scene is to its own grid what the scene is to its own: let a
band have σ = r relative to the finest bands (r = 0 for those themselves), and let T be the largest
r of the bands that become the truth. On the truth's grid all of these must be as sharp as the
guides, or a net would learn to make them softer or sharper than its guides. So the truths are
blurred by √(T² - r²), the guides by T, and every band, which is to have s · r relative to the
guides, by √(T² + s² r² - q² r²), where q r is what its own point spread is worth on the degraded
grid. What the finest bands' own is drops out. The degraded scene is the scene's own likeness where
T is √(s² - 1) times that (10 m bands: 5.2 m by their MTF, 9.0 and 31 m; T is 10.5 and 31 m). Where
those bands alone are the truth, T is just that.

Were point spreads Gaussians to the last, q were 1. But σ is read off near the coarse grid's highest
frequencies, of which a degraded scene keeps the lower half or less, and there real ones blur less
than that Gaussian: with q = 1 degraded scenes tell 0.5 m too little of B5 … B8A in four scenes of
both levels, by an estimator that is right within 0.1 m where σ is known. q = 0.75 gives them back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

FINEST = 10  # metres; GSD of the bands that Sentinel-2's are told relative to
OWN = 5.2  # metres; σ of what those see themselves, by their MTF
_FINE = ("B2", "B3", "B4", "B8")
LANDSAT = ("blue", "green", "red", "nir", "swir1", "swir2")
_PAN = 15  # metres; GSD of the band that Landsat's are told relative to
SENSOR = "sensor"  # of a net's card: as what it is given was sensed, a Gaussian where unknown
CUBIC = "cubic"  # a point spread: anti-aliased cubic convolution (Keys 1981, a = −0.5)
# Sensors whose coarse products see their fine ones so: from Proba-V's 100 m to 300 m the transfer,
# told from one imgset of the Kelvins challenge and its truth by examples/transfer.py, is that
# kernel's within 0.02 up to 0.4 cycles a pixel, flat where a Gaussian falls already.
RESAMPLED = ("probav",)
_KEPT = 0.75  # of a band's own σ, at the frequencies that a degraded scene keeps
METRES = {
    "B1": 31.0, "B5": 8.7, "B6": 8.7, "B7": 8.7, "B8A": 8.7, "B9": 31.0, "B10": 31.0, "B11": 10.5,
    "B12": 10.5,
    **dict.fromkeys(("coastal", *LANDSAT), 16.5),
}  # fmt: skip  # σ relative to the finest bands, which have none


def relative(name: str) -> float:
    """σ in metres of a band relative to the finest bands; 0 for those."""
    return METRES.get(name, 0.0)


def finest(name: str) -> int:
    """GSD in metres of the bands that a band's σ is told relative to."""
    return FINEST if name.startswith("B") else _PAN


def known(names: Iterable[str], gsd: int) -> bool:
    """Whether σ of all these bands is told relative to those of that GSD, or is theirs."""
    return all((relative(n) or n in _FINE) and finest(n) == gsd for n in names)


def softest(truths: Iterable[str]) -> float:
    """σ in metres of the softest of some bands: what all truths are brought to."""
    return max(relative(name) for name in truths)


def blur(name: str, truths: Sequence[str], factor: int, *, wider: float = 1.0) -> float:
    """σ in metres that degrades a band by `factor`, consistently with scale.

    Args:
        truths: the bands whose own resolution is the truth.
        wider: the degraded sensor's σ relative to its finest bands, as a share of this one's.
    """
    own, softer = relative(name), softest(truths)
    if not softer and set(truths) <= set(_FINE):
        softer = wider * OWN * math.sqrt(factor**2 - 1)
    return math.sqrt(softer**2 + (factor * wider * own) ** 2 - (_KEPT * own) ** 2)


def at(name: str, gsd: float) -> float:
    """σ in metres of a band of Sentinel-2 relative to an image with pixels of `gsd` metres.

    Such an image is as sharp on its grid as the finest bands are on theirs.
    """
    return math.sqrt(relative(name) ** 2 + OWN**2 * (1 - (gsd / FINEST) ** 2))


def soften(name: str, truths: Iterable[str]) -> float:
    """σ in metres that makes a truth as soft as the guides on its grid."""
    return math.sqrt(softest(truths) ** 2 - relative(name) ** 2)
