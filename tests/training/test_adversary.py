"""The adversarial term: it learns, resumes exactly, is shared, and survives what is no number."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, settings
from test_train import (  # noqa: F401
    CONFIG,
    RECIPE,
    SMALL,
    broken_off,
    data,
    images,
    same_weights,
)

from geosr.errors import StoppedError, UsageError
from geosr.models import weights
from geosr.training.adversary import KINDS, Adversarial, Adversary, judged
from geosr.training.config import TrainConfig, config_of
from geosr.training.discriminators import DISCRIMINATORS
from geosr.training.distributed import Ranks
from geosr.training.losses import Criterion
from geosr.training.terms import TermMeans
from geosr.training.train import train

HOW = Adversarial("relativistic", "unet", {"features": 4}, ramp=3)
LOSS = "l1+0.01*adversarial"
JUDGED = replace(SMALL, recipe=replace(RECIPE, loss=LOSS), patch=32, adversarial=HOW)


@pytest.mark.parametrize("name, count", [
    ("vgg", 14_499_401), ("unet", 4_376_897), ("patch", 2_765_633), ("conditional", 2_765_633),
])  # fmt: skip
def test_discriminators_have_the_published_number_of_weights(name, count):
    kind = DISCRIMINATORS[name]
    with torch.device("meta"):
        net = kind.build(3)
    assert sum(p.numel() for p in net.parameters()) == count
    assert kind.build(1, features=4)(torch.rand(2, 1, kind.least, kind.least)).shape[:2] == (2, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_two_want_the_opposite(kind):
    """The net's loss falls with the score of what it made; the discriminator's rises."""
    true, low, high = torch.tensor([0.3]), torch.tensor([0.0]), torch.tensor([0.5])

    def loss(made: torch.Tensor, by_net: bool) -> float:
        parts = judged(kind, true, made, [true.mean(), made.mean()], by_net=by_net)
        return float(sum(part.mean() for part in parts))

    assert loss(high, True) < loss(low, True)
    assert loss(high, False) > loss(low, False)


def test_relativistic_is_the_average_form():
    """At equal scores it is ln 2 for both; one apart, softplus(-1) for the winner."""
    one, zero = torch.ones(4), torch.zeros(4)
    for by_net in (True, False):
        parts = judged("relativistic", one, one, [one.mean()] * 2, by_net=by_net)
        assert float(sum(p.mean() for p in parts)) == pytest.approx(np.log(2))
    parts = judged("relativistic", one, zero, [one.mean(), zero.mean()], by_net=False)
    assert float(sum(p.mean() for p in parts)) == pytest.approx(np.log1p(np.exp(-1)))


def test_the_share_waits_and_rises():
    how = Adversarial(after=2, ramp=4)
    assert [how.share(step) for step in range(7)] == [0, 0, 0.25, 0.5, 0.75, 1, 1]
    assert Adversarial().share(0) == 1


@pytest.mark.parametrize("how", [
    HOW, replace(HOW, kind="gan", discriminator="vgg", updates=2, after=2),
    replace(HOW, kind="hinge", discriminator="conditional"),
    replace(HOW, options={"features": 4, "high": True}),
])  # fmt: skip
def test_stopped_and_resumed_equals_undisturbed(images, tmp_path, how):  # noqa: F811
    config = replace(JUDGED, adversarial=how, patch=32)
    train(images, tmp_path / "whole", config=config)
    broken_off(images, tmp_path / "cut", config, 5)
    train(images, tmp_path / "cut", config=config, resume=True)
    assert same_weights(tmp_path / "whole/last.safetensors", tmp_path / "cut/last.safetensors")
    assert same_weights(tmp_path / "whole/state.safetensors", tmp_path / "cut/state.safetensors")


def test_the_discriminator_is_told_and_the_card_says_it(images, tmp_path):  # noqa: F811
    result = train(images, tmp_path / "run", config=JUDGED)
    rows = list(csv.DictReader((tmp_path / "run/log.csv").open()))
    keys = ("discriminator_loss", "discriminator_true", "discriminator_made")
    assert all(np.isfinite(float(row[key])) for row in rows for key in keys)
    assert weights.card_of(result.best).adversarial
    assert same_weights(result.best, tmp_path / "run/last.safetensors")  # no error tells better
    plain = replace(SMALL, patch=32, init=str(result.best))
    assert weights.card_of(train(images, tmp_path / "more", config=plain).best).adversarial


def test_each_term_is_told_by_itself_over_the_steps_since_the_row_before(images, tmp_path):  # noqa: F811
    """Without weights: they add up to the loss; a run broken off between rows tells the same."""
    recipe = replace(RECIPE, loss="l1+0.5*dssim+0.01*adversarial")
    config = replace(JUDGED, recipe=recipe, adversarial=replace(HOW, ramp=0), val_every=3)
    losses = []
    train(images, tmp_path / "whole", config=config, progress=lambda p: losses.append(p.loss))
    rows = list(csv.DictReader((tmp_path / "whole/log.csv").open()))
    assert len(rows) == 2
    for row, own in zip(rows, (losses[:3], losses[3:]), strict=True):
        parts = [float(row[f"loss_{name}"]) for name in ("l1", "dssim", "adversarial")]
        assert np.dot(parts, [1, 0.5, 0.01]) == pytest.approx(np.mean(own), rel=1e-4)
    asked = iter([False, False, False, False, True])
    train(images, tmp_path / "cut", config=config, stop=lambda: next(asked))
    train(images, tmp_path / "cut", config=config, resume=True)
    again = list(csv.DictReader((tmp_path / "cut/log.csv").open()))
    assert [row["loss_dssim"] for row in again] == [row["loss_dssim"] for row in rows]


def test_a_term_that_waits_has_no_mean_and_a_skipped_step_has_no_part(images, tmp_path):  # noqa: F811
    late = replace(JUDGED, adversarial=replace(HOW, after=4), val_every=3)
    train(images, tmp_path / "late", config=late)
    rows = list(csv.DictReader((tmp_path / "late/log.csv").open()))
    assert np.isnan(float(rows[0]["loss_adversarial"])) and float(rows[1]["loss_adversarial"]) > 0
    means = TermMeans(Ranks())
    for value, kept in ((1.0, True), (np.nan, False), (3.0, True)):
        term = (0.5, torch.tensor(2 * value), torch.tensor(2.0))
        means.note(["l1", "l1"], [term, term], [term[2]] * 2)  # of two levels
        if kept:
            means.keep()
    assert means.figures(["l1"]) == {"loss_l1": "4"}


def test_one_that_sees_the_input_judges_nets_of_several_sizes_and_frames(data, images, tmp_path):  # noqa: F811
    how = replace(HOW, discriminator="conditional", options={"features": 4})
    more = {"patch": 24, "adversarial": how, "steps": 2}
    guided = replace(CONFIG, recipe=replace(RECIPE, loss=LOSS), **more)
    assert train(data, tmp_path / "guided", config=guided).skipped == 0
    options = {"features": 4, "blocks": 1}
    series = replace(JUDGED, model="srresnet-series", net_options=options, **more)
    assert train(images, tmp_path / "series", config=series).skipped == 0


def test_before_its_time_it_has_no_say(images, tmp_path):  # noqa: F811
    late = replace(JUDGED, adversarial=replace(HOW, after=99))
    train(images, tmp_path / "late", config=late)
    train(images, tmp_path / "none", config=replace(SMALL, patch=32))
    assert same_weights(tmp_path / "late/last.safetensors", tmp_path / "none/last.safetensors")
    train(images, tmp_path / "now", config=JUDGED)
    assert not same_weights(tmp_path / "now/last.safetensors", tmp_path / "none/last.safetensors")


def judge_of(**options) -> Adversary:
    torch.manual_seed(0)
    return Adversary(
        Adversarial("gan", "patch", {"features": 8, **options}),
        TrainConfig("edsr-baseline", scale=2).card, side=32, batch=4, lr=1e-3,
        device="cpu", ranks=Ranks(),
    )  # fmt: skip


def test_a_discriminator_learns_to_tell():
    """Noise from flat images: scores part within a few updates."""
    judge = judge_of()
    flat, noise = torch.full((4, 1, 32, 32), 0.3), torch.rand(4, 1, 32, 32)
    for _ in range(20):
        judge._images = noise, flat, None
        assert judge.learn(1e-3)
    made, true = judge._score(flat, None).mean(), judge._score(noise, None).mean()
    assert true > made + 1


def test_one_for_high_frequencies_sees_no_others():
    rough, level = torch.rand(4, 1, 32, 32), torch.rand(4, 1, 1, 1)
    whole, high = judge_of(), judge_of(high=True)
    assert not torch.allclose(whole._score(rough, None), whole._score(rough + level, None))
    torch.testing.assert_close(high._score(rough, None), high._score(rough + level, None))


@pytest.mark.parametrize("spectral", [False, True])
def test_spectral_normalisation_lets_see_how_strong_detail_is(spectral):
    """Batch normalisation brings a batch of faint images to the strength of any other."""
    judge, whole = judge_of(spectral=spectral), DISCRIMINATORS["patch"].build(3, spectral=spectral)
    count = sum(p.numel() for p in whole.parameters())
    assert count == (2_763_841 if spectral else 2_765_633)
    torch.nn.init.zeros_(judge.net.body[0].bias)
    noise = torch.randn(4, 1, 32, 32)
    strong, faint = judge._score(noise, None), judge._score(noise / 4, None)
    assert torch.allclose(strong, faint, rtol=0.02, atol=1e-3) != spectral


@pytest.mark.parametrize("which", ["loss", "score"])
def test_what_is_no_number_in_either_net_is_skipped_and_counted(
    images, tmp_path, monkeypatch, which  # noqa: F811
):  # fmt: skip
    own = Adversary._losses
    calls = {"n": 0}

    def broken(self, *args, by_net):
        calls["n"] += 1
        bad = calls["n"] == (3 if which == "loss" else 4)  # step 2, of the net or of the other
        return [x * (torch.nan if bad else 1) for x in own(self, *args, by_net=by_net)]

    monkeypatch.setattr(Adversary, "_losses", broken)
    result = train(images, tmp_path / "run", config=JUDGED)
    assert result.skipped == 1 and result.step == 6
    (model,) = weights.load(str(result.best))
    assert all(p.isfinite().all() for p in model.net.parameters())


def test_ten_discriminators_without_a_number_stop_the_run(images, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Adversary, "learn", lambda self, rate: False)
    with pytest.raises(StoppedError, match="10 losses in a row"):
        train(images, tmp_path / "run", config=replace(JUDGED, steps=20))


@pytest.mark.parametrize("change, said", [
    ({"adversarial": None}, "no discriminator.*--discriminator"),
    ({"recipe": RECIPE}, "has no say"),
    ({"patch": 20}, "multiple of 8.*--patch 24"),
    ({"adversarial": replace(HOW, discriminator="vgg"), "patch": 16}, "at least 32.*--patch 32"),
    ({"adversarial": replace(HOW, discriminator="vgg"), "patch": 32,
      "recipe": replace(JUDGED.recipe, batch_size=1)}, "at least 64.*--batch-size 2"),
    ({"adversarial": replace(HOW, discriminator="vgh")}, "Did you mean vgg"),
    ({"adversarial": replace(HOW, options={"depth": 3})}, "no option depth"),
    ({"adversarial": replace(HOW, kind="wgan")}, "unknown adversarial"),
])  # fmt: skip
def test_what_does_not_fit_says_the_fix(images, tmp_path, change, said):  # noqa: F811
    with pytest.raises(UsageError, match=said):
        train(images, tmp_path / "run", config=replace(JUDGED, **change))


def test_the_term_alone_is_refused_and_its_weights_add_up():
    with pytest.raises(UsageError, match="Add a term"):
        Criterion.parse("adversarial")
    assert Criterion.parse("l1+0.1*adversarial+0.2*adversarial").adversarial == pytest.approx(0.3)


def test_presets_make_a_config():
    from geosr.training.presets import PRESETS

    class Cpu:
        device, precision, asked = "cpu", "fp32", False

    for name in PRESETS:
        config = config_of("srresnet", Cpu(), preset=name)
        assert Criterion.parse(config.recipe.loss).adversarial > 0
        assert config.adversarial.discriminator in DISCRIMINATORS
    config = config_of("rrdb", Cpu(), preset="esrgan", adversarial={"discriminator": "unet"})
    assert (config.adversarial.kind, config.adversarial.discriminator) == ("relativistic", "unet")
    assert (config.recipe.lr, config.recipe.patch) == (1e-4, 32)
    assert "+10*perceptual+" in config.recipe.loss  # random features are fainter than VGG19's
    config = config_of("rrdb", Cpu(), preset="esrgan", perceptual_net=Path("vgg.st"))
    assert config.recipe.loss == "0.01*l1+perceptual:vgg.st+0.005*adversarial"


@pytest.mark.parametrize("preset, said, options", [
    ("satlas", {"options": {"features": 16}}, {"given": True, "features": 16}),
    ("satlas", {"options": {"given": False}}, {"given": False}),
    ("sr4rs", {"discriminator": "vgg"}, {}),  # which has no spectral normalisation
    ("sr4rs", {"discriminator": "patch"}, {"spectral": True}),
    ("default", {"discriminator": "patch", "options": {"high": True}}, {"high": True}),
])  # fmt: skip
def test_options_of_a_presets_discriminator_stay_beside_others(preset, said, options):
    class Cpu:
        device, precision, asked = "cpu", "fp32", False

    config = config_of("srresnet", Cpu(), preset=preset, adversarial=said)
    assert config.adversarial.options == options


def test_the_command_takes_every_preset_by_name():
    from geosr.cli.train import command
    from geosr.training.presets import PRESETS

    (option,) = (param for param in command.params if param.name == "preset")
    assert set(option.type.choices) == {"default", "paper", *PRESETS}


def test_two_processes_learn_as_one(images, tmp_path):  # noqa: F811
    """The same losses, and scores that lie as far apart; nothing holds what both have in common."""
    recipe = replace(JUDGED.recipe, batch_size=4, loss="l1+adversarial")
    config, one = replace(JUDGED, recipe=recipe), []
    train(images, tmp_path / "one", config=config, progress=lambda p: one.append(p.loss))
    script = tmp_path / "curve.py"
    script.write_text(
        "import json, os, sys\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "import torch\n"
        "from test_adversary import JUDGED\n"
        "from geosr.training.distributed import Ranks\n"
        "from geosr.training.train import train\n"
        "torch.set_num_threads(1)\n"
        "rank = int(os.environ['RANK'])\n"
        "recipe = replace(JUDGED.recipe, batch_size=4, loss='l1+adversarial')\n"
        "curve = []\n"
        "train(Path(sys.argv[1]), Path('two'), config=replace(JUDGED, recipe=recipe),\n"
        "      ranks=Ranks(rank, 2, rank), progress=lambda p: curve.append(p.loss))\n"
        "if rank == 0: Path('curve.json').write_text(json.dumps(curve))\n"
    )
    environment = settings(None) | {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29641",
        "PYTHONPATH": f"{ROOT}:{ROOT}/tests:{Path(__file__).parent}:{ROOT}/examples",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, script, images], cwd=tmp_path,
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip
    assert [process.wait(timeout=200) for process in processes] == [0, 0]
    two = json.loads((tmp_path / "curve.json").read_text())
    np.testing.assert_allclose(two, one, rtol=1e-4)
    apart = [parted(tmp_path / name / "log.csv") for name in ("one", "two")]
    np.testing.assert_allclose(apart[1], apart[0], atol=5e-5)


def parted(log: Path) -> list[float]:
    """How far the scores of true images lie above those of made ones, at every validation."""
    rows = csv.DictReader(log.open())
    return [float(row["discriminator_true"]) - float(row["discriminator_made"]) for row in rows]
