"""Precision by hardware, tiles by memory, batches, compiled nets."""

import numpy as np
import pytest
import torch

from geosr.errors import UsageError
from geosr.inference import precision as trial
from geosr.inference import predict
from geosr.inference.engine import Engine
from geosr.inference.predict import engine, place
from geosr.models import registry, weights
from geosr.models.card import Model
from geosr.models.memory import per_pixel


@pytest.fixture
def cpu(monkeypatch):
    """A CPU by what it says of bf16 and by how long a trial in it takes beside fp32."""

    def pretend(*, flag: bool, share: float):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: flag)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        tried: list[torch.dtype | None] = []

        def seconds(_x, _weight, kind):
            tried.append(kind)
            return share if kind else 1.0

        monkeypatch.setattr(trial, "_seconds", seconds)
        trial.share.cache_clear()
        return tried

    yield pretend
    trial.share.cache_clear()


@pytest.mark.parametrize(
    "flag, share, expected",
    [(True, 0.4, "bf16"), (True, 0.95, "fp32"), (True, 3.0, "fp32"), (False, 0.4, "fp32")],
)
def test_a_cpu_takes_bf16_where_it_says_so_and_a_trial_confirms_it(cpu, flag, share, expected):
    cpu(flag=flag, share=share)
    assert engine("cpu").precision == expected and not engine("cpu").asked
    assert engine("cpu", "fp32").precision == "fp32" and engine("cpu", "fp32").asked


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16"])
def test_an_asked_precision_is_warned_about_where_it_is_slower(cpu, caplog, precision):
    cpu(flag=False, share=3.4)
    engine("cpu", precision)
    said = f"{precision} takes 3.4 times as long as fp32" in caplog.text
    assert said == (precision in ("bf16", "fp16"))
    caplog.clear()
    cpu(flag=False, share=0.5)
    engine("cpu", precision)
    assert not caplog.text


def test_a_trial_is_made_once_and_kept(cpu, tmp_path):
    file = tmp_path / "geosr" / "precision.json"
    assert cpu(flag=True, share=0.4) == []
    assert engine("cpu", known=file).precision == "bf16" and file.exists()
    later = cpu(flag=True, share=5.0)  # under load, say
    assert engine("cpu", known=file).precision == "bf16" and not later
    file.write_text("damaged")
    assert engine("cpu", known=file).precision == "fp32" and later
    assert engine("cpu", known=tmp_path / "geosr" / "precision.json" / "no").precision == "fp32"


def test_a_trial_leaves_no_trace_in_random_numbers(cpu):
    trial.share.cache_clear()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert trial.share("bf16") > 0
    assert torch.equal(torch.rand(3), expected)


def test_only_guided_nets_take_the_low_precision_unasked():
    guided, other = (
        registry.build(registry.cards("dsen2-20")[0]),
        registry.build(registry.cards("lapsr")[0]),
    )
    settled = Engine(precision="bf16", asked=False)
    assert settled.precision_of(guided) == "bf16" and settled.precision_of(other) == "fp32"
    assert Engine(precision="bf16").precision_of(other) == "bf16"


def live(net: Model, side: int, kind: torch.dtype | None) -> int:
    """The most that PyTorch's own profiler sees allocated at once, in bytes."""
    tile = {
        item.gsd: torch.zeros(1, len(item.bands), side * 20 // item.gsd, side * 20 // item.gsd)
        for item in net.card.inputs
    }
    with (
        torch.inference_mode(),
        torch.autocast("cpu", dtype=kind, enabled=kind is not None),
        torch.profiler.profile(profile_memory=True, record_shapes=False) as seen,
    ):
        net(tile)
    now = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most + sum(x.nbytes for x in tile.values())


@pytest.mark.parametrize("kind", [None, torch.bfloat16])
def test_memory_of_a_pass_is_what_the_profiler_sees(kind):
    net = place(registry.build(registry.cards("dsen2-20")[0]), Engine())
    told, seen = per_pixel(net, kind), live(net, 64, kind) / 64**2
    assert 0.7 < told / seen < 1.1  # kernels take a little beside tensors


def test_tiles_have_the_area_that_memory_allows():
    net = registry.build(registry.cards("dsen2-20")[0])
    area = Engine(memory=2**30).area(net)
    assert area == pytest.approx(2**30 / per_pixel(net), abs=1)
    assert Engine(memory=2**30, batch_size=4).area(net) == pytest.approx(area / 4, abs=1)
    low = Engine(memory=2**30, precision="bf16").area(net)
    assert 1.5 * area < low <= 2 * area


def tiles(count: int) -> list:
    rng = np.random.default_rng(0)
    return [
        {10: rng.random((4, 24, 24), np.float32) * 3000, 20: rng.random((6, 12, 12), np.float32)}
        for _ in range(count)
    ]


@pytest.mark.parametrize("ahead", [0, 1])
def test_batches_and_passes_begun_ahead_change_nothing(monkeypatch, ahead):
    monkeypatch.setattr(predict._Order, "ahead", ahead)
    (net,), given = weights.load("dsen2-20"), tiles(5)
    alone = list(predict.predict(net, given, Engine()))
    together = list(predict.predict(net, given, Engine(batch_size=2)))
    assert len(alone) == len(together) == 5
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=0.01)


def test_compiled_nets_give_the_same_and_tell_their_memory(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda net: torch._dynamo.OptimizedModule(
        net, lambda call: call))  # fmt: skip
    (net,) = weights.load("dsen2-20")
    compiled = place(net, Engine(compiled=True))
    assert compiled.net is not net.net and compiled.parameters == net.parameters
    assert per_pixel(compiled) == per_pixel(net)
    (one,), (other,) = (list(predict.predict(m, tiles(1), Engine())) for m in (net, compiled))
    np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_compiled_nets_really_run():
    (net,) = weights.load("dsen2-ps-20") if "dsen2-ps-20" in weights.manifest() else (
        weights.load("dsen2-20"))  # fmt: skip
    compiled = place(net, engine("cpu", "fp32", compiled=True))
    (one,), (other,) = (list(predict.predict(m, tiles(1), Engine())) for m in (net, compiled))
    np.testing.assert_allclose(one, other, atol=0.05)


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setattr(predict.shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match=r"C\+\+ compiler.*Leave it out"):
        engine("cpu", compiled=True)
