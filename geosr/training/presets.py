"""Published adversarial trainings by name, for any net: `--preset NAME`.

Weights of terms, optimiser, batch and patch are the repositories'. Theirs take VGG19's features.
Where no file of features is given (`--perceptual-net`) `perceptual` takes geosr's random ones, and
ten times the weight: at an L1 of 0.014 they differ by 0.027, where XPixelGroup/BasicSR (issue 144)
logs 0.31, and the adversarial term would weigh ten times what it does there.
All of them begin with a net trained by the other terms alone: `--init`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """What a preset decides, by the fields of `Recipe` and of `Adversarial`.

    Attributes:
        louder: what the weight of `perceptual` is multiplied by where its features are random.
    """

    recipe: Mapping[str, Any]
    adversarial: Mapping[str, Any] = field(default_factory=dict)
    louder: float = 10.0


def _basicsr(**more: Any) -> dict[str, Any]:
    """XPixelGroup/BasicSR's of SRGAN and ESRGAN.

    The rate is halved every 100,000 of 400,000 steps; theirs at 50, 100, 200 and 300 thousand.
    """
    return {
        "loss": "0.01*l1+perceptual+0.005*adversarial", "patch": 32, "batch_size": 16,
        "steps": 400_000, "optimizer": "adam", "lr": 1e-4, "schedule": "step", "period": 100_000,
        "gamma": 0.5, "warmup": 0, "clip": 0.0, "ema": 0.999, **more,
    }  # fmt: skip


_RELATIVISTIC = {"kind": "relativistic", "discriminator": "vgg"}
PRESETS: dict[str, Preset] = {
    "srgan": Preset(_basicsr(), {"kind": "gan", "discriminator": "vgg"}),
    "esrgan": Preset(_basicsr(), _RELATIVISTIC),
    # allenai/satlas-super-resolution: inputs of 32 px, U-Net that sees them too. Their target is
    # sharpened for L1, which is left out here: it would be no measurement any more.
    "satlas": Preset(
        _basicsr(loss="l1+perceptual+0.1*adversarial", batch_size=32),
        {"kind": "gan", "discriminator": "unet", "options": {"given": True}},
    ),
    # remicres/sr4rs: WGAN there, whose gradient penalty holds the critic's slope to 1; here the
    # hinge, whose slope spectral normalisation bounds. Its rate of 1e-3 is that of weights of unit
    # variance, which its layers multiply by sqrt(2 / fan-in): 6e-5 for the 576 of its blocks. Its
    # features are of values to 255, and squared: they weigh little, as here.
    "sr4rs": Preset(
        _basicsr(loss="1000*mse+1e-5*perceptual+adversarial", batch_size=4, lr=6e-5,
                 schedule="constant"),
        {"kind": "hinge", "discriminator": "patch", "options": {"spectral": True}}, louder=1.0,
    ),
    # kuijiang94/EEGAN: labels of 1 and -1 there, and the features of the base image
    "eegan": Preset(
        _basicsr(loss="perceptual+10*charbonnier+1e-5*adversarial", patch=24),
        {"kind": "lsgan", "discriminator": "vgg"},
    ),
    # hanlinwu/SG-FBGAN: three discriminators there, of the whole, what is salient and the rest;
    # the mean over three turns there, their sum here
    "sg-fbgan": Preset(
        _basicsr(loss="charbonnier+3e-5*adversarial", lr=1e-3),
        {"kind": "gan", "discriminator": "patch", "options": {"features": 32}},
    ),
    # luissalgueiro/rs-esrgan: ESRGAN with a batch of 2, halved every 20,000 of 100,000 steps
    "rs-esrgan": Preset(
        _basicsr(batch_size=2, steps=100_000, period=20_000), _RELATIVISTIC
    ),
    # GAN-HSI-SR, a reimplementation: 100 of 300 epochs without the discriminator, which has 3-D
    # convolutions there
    "gan-hsi": Preset(
        _basicsr(loss="l1+0.01*sam+0.001*adversarial", patch=36, steps=30_000, lr=1e-3,
                 schedule="constant"),
        {"kind": "relativistic", "discriminator": "patch", "after": 10_000},
    ),
    # dongrunmin/RRSGAN: "true" is the reference there, whose ground may have changed, here the
    # truth; its gradients' error is squared, and a second discriminator judges gradients
    "rrsgan": Preset(
        _basicsr(loss="l1+gradient+0.1*perceptual+0.001*adversarial", patch=64, batch_size=8,
                 steps=250_000, period=50_000),
        {"kind": "gan", "discriminator": "vgg", "after": 30_000},
    ),
}  # fmt: skip
