"""Numbers that no training can go by are refused before anything is read or written."""

from dataclasses import replace
from pathlib import Path

import pytest

from geosr.errors import UsageError
from geosr.training.checkpoint import RunFolder
from geosr.training.config import TrainConfig, check
from geosr.training.train import train

CONFIG = TrainConfig("fsrcnn", scale=2)


@pytest.mark.parametrize("name, value", [
    ("lr", float("nan")), ("lr", float("inf")), ("lr", -1), ("weight_decay", -1),
    ("jitter", -1), ("ema", 2), ("gamma", float("nan")), ("batch_size", 10**8), ("patch", 10**9),
])  # fmt: skip
def test_numbers_of_a_recipe_have_bounds(name, value):
    config = replace(CONFIG, recipe=replace(CONFIG.recipe, **{name: value}))
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} .*: it must be"):
        check(config)


@pytest.mark.parametrize("name, value", [
    ("seed", -1), ("seed", 10**22), ("val_share", float("nan")), ("epochs", float("nan")),
])  # fmt: skip
def test_numbers_of_a_training_have_bounds(tmp_path, name, value):
    out = tmp_path / "run"
    with pytest.raises(UsageError, match="it must be"):
        train(tmp_path, out, config=replace(CONFIG, **{name: value}))
    assert not out.exists()


def test_the_defaults_of_all_presets_are_within_them():
    from geosr.models.registry import DESIGNS
    from geosr.training.presets import PRESETS

    check(CONFIG)
    for design in DESIGNS.values():
        for recipe in (design.recipe, design.paper):
            check(replace(CONFIG, recipe=recipe))
    for preset in PRESETS.values():
        check(replace(CONFIG, recipe=replace(CONFIG.recipe, **preset.recipe)))


@pytest.mark.parametrize("value", [-1, "x"])
def test_an_option_that_builds_no_net_is_told(value):
    config = replace(CONFIG, net_options={"features": value})
    with pytest.raises(UsageError, match=f"features={value}: 'fsrcnn' has a count"):
        config.card  # noqa: B018


@pytest.mark.parametrize("name, options, said", [
    ("msdtgp-s", {"narrow": 12}, "12 features do not make 8 groups"),
    ("mstt-stvsr-s", {"features": 12}, "12 features do not make 8 groups"),
    ("mstt-stvsr-s", {"heads": 5}, "5 heads of 96 features"),
])  # fmt: skip
def test_options_that_do_not_go_together_are_told_before_a_training(name, options, said):
    config = TrainConfig(name, net_options=options)
    with pytest.raises(UsageError, match=said):
        config.card  # noqa: B018


@pytest.mark.parametrize(
    "text, good", [("\ufeffstep,loss\r\n2,1\r\n", True), ("step;loss\n2;1\n", False)]
)
def test_a_log_that_a_spreadsheet_wrote_is_gone_on_with_or_refused(tmp_path: Path, text, good):
    (tmp_path / "log.csv").write_text(text, encoding="utf-8")
    folder = RunFolder(tmp_path)
    if good:
        folder.log({"step": "4", "loss": "0.5"})
        assert (tmp_path / "log.csv").read_text().splitlines() == ["step,loss", "2,1", "4,0.5"]
        return
    with pytest.raises(UsageError, match="no log of a training"):
        folder.log({"step": "4", "loss": "0.5"})
    assert (tmp_path / "log.csv").read_text() == text
