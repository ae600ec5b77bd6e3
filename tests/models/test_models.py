"""Parameter counts, margins by gradient support, and the parts of the nets that are fixed."""

from dataclasses import replace

import pytest
import torch
from nets import THIN

from geosr.errors import UsageError
from geosr.models.receptive_field import margin
from geosr.models.registry import DESIGNS, PAIRS, build, cards, count, design, measured

COUNTS = [  # name, scale, bands, parameters
    ("dsen2-20", 2, 1, 1_789_574), ("dsen2-60", 6, 1, 1_787_266),
    ("vdsen2-20", 2, 1, 37_802_246), ("vdsen2-60", 6, 1, 37_797_634),
    ("aesr-20", 2, 1, 126_214), ("aesr-60", 6, 1, 120_962),
    ("baseline", 4, 3, 668_227), ("enhanced", 4, 3, 1_517_571),
    ("lpan-reference", 2, 3, 7_956_379),
    ("lapsr", 2, 1, 407_441), ("lapsr", 4, 1, 814_242), ("lapsr", 8, 1, 1_221_043),
    ("ms-lapsr", 4, 1, 222_801),
    ("srcnn", 2, 1, 8_129), ("vdsr", 2, 1, 665_921), ("espcn", 3, 1, 22_729),
    ("fsrcnn", 2, 1, 12_637 + 172), ("srresnet", 4, 3, 1_517_571),
    ("edsr-baseline", 2, 3, 1_369_859), ("edsr-baseline", 3, 3, 1_554_499),
    ("edsr-baseline", 4, 3, 1_517_571), ("edsr-baseline", 4, 4, 1_518_724),
    ("edsr-baseline", 3, 1, 1_552_193),
    ("edsr", 2, 3, 40_729_603), ("edsr", 3, 3, 43_680_003), ("edsr", 4, 3, 43_089_923),
    ("carn", 2, 3, 964_187), ("carn", 4, 3, 1_111_899),
    ("rcan", 2, 3, 15_444_643), ("rcan", 3, 3, 15_629_283), ("rcan", 4, 3, 15_592_355),
    ("swinir-light", 2, 3, 910_152), ("swinir-light", 3, 3, 918_267),
    ("swinir-light", 4, 3, 929_628), ("swinir-light", 4, 1, 911_236),
    ("swinir", 2, 3, 11_752_487), ("swinir", 3, 3, 11_937_127), ("swinir", 4, 3, 11_900_199),
    ("hat-s", 2, 3, 9_473_471), ("hat-s", 3, 3, 9_658_111), ("hat-s", 4, 3, 9_621_183),
    ("hat-s", 4, 1, 9_617_437), ("hat", 4, 3, 20_772_507),
    ("han", 4, 3, 16_071_745), ("srehan", 4, 3, 17_207_145), ("srehan", 8, 3, 17_354_857),
    ("hsenet", 2, 3, 5_285_635), ("hsenet", 3, 3, 5_470_275), ("hsenet", 4, 3, 5_433_347),
    ("transenet", 2, 3, 37_311_171), ("transenet", 3, 3, 37_495_811),
    ("transenet", 4, 3, 37_458_883),
    ("haunet", 2, 3, 2_630_786), ("haunet", 3, 3, 2_643_761), ("haunet", 4, 3, 2_661_926),
    ("haunet-s", 4, 3, 605_520),
    ("dmcn", 2, 1, 1_310_161),  # 1,311,953 with the reference's batch norms
    ("pecnn", 2, 3, 135_736), ("pecnn", 3, 3, 157_366), ("pecnn", 4, 3, 187_648),
    ("pecnn", 3, 1, 124_498), ("ddrn", 4, 3, 7_037_708),
    ("deepsum", 3, 1, 1_045_330), ("3dwdsr", 3, 1, 329_328), ("misr-gru", 3, 1, 923_468),
    ("worldstrat", 4, 4, 1_776_044), ("hdr-dsp", 2, 1, 1_183_937), ("hdr-dsp", 3, 1, 1_183_937),
    ("recursive", 4, 3, 851 + 1_517_571),  # the source's fusion, and the house's SRResNet
    ("rrdb", 4, 3, 16_697_987), ("rrdb", 4, 4, 16_699_140),
    ("rrdb", 5, 3, 16_661_059), ("rrdb", 10, 3, 16_697_987),  # one stage, and two as at x4
    ("rrdb-series", 4, 3, 16_710_083), ("eegan", 4, 3, 7_395_078), ("sg-fbgan", 4, 1, 672_417),
    # its reference has three last convolutions that it does not use
    ("rsi-net", 2, 3, 14_033_820 - 3 * 3_456), ("rsi-net", 4, 3, 14_623_644 - 3 * 3_456),
    ("cincgan", 2, 3, 609_731 + 1_369_859), ("cincgan", 4, 3, 609_731 + 1_517_571),
    ("dual-edsr", 2, 1, 748_673), ("dual-edsr", 3, 1, 933_313), ("dual-edsr", 4, 1, 1_191_809),
    ("highres-net", 3, 1, 591_818), ("tr-misr", 3, 1, 386_191), ("piunet", 3, 1, 828_355),
    ("rams", 3, 1, 958_129),
    ("msdtgp", 4, 3, 14_174_083), ("msdtgp", 4, 1, 14_164_865), ("msdtgp", 2, 3, 11_536_259),
    ("mstt-stvsr", 4, 3, 5_664_283),
    ("rrn", 4, 3, 1_888_560),  # its logs: 7.20428 MiB in fp32
    # yinboc/liif, Suanmd/CDCR and KyanChen/FunSR with EDSR-baseline's trunk
    ("liif", 2.5, 3, 1_567_299), ("liif", 4, 1, 1_565_633), ("cdcr", 2.5, 3, 1_576_264),
    ("funsr", 2.5, 3, 8_670_555),
    ("zssr", 2, 3, 225_091), ("zssr", 4, 1, 222_785), ("dip", 2, 3, 2_217_831),
]  # fmt: skip


@pytest.mark.parametrize("name, scale, bands, parameters", COUNTS)
def test_parameter_counts_are_the_published_ones(name, scale, bands, parameters):
    assert count(design(name).card(scale=scale, bands=bands)) == parameters


EXACT = [name for name, d in DESIGNS.items() if not d.blend]


@pytest.mark.parametrize("name", EXACT)
def test_the_margin_is_the_gradient_support(name):
    for scale in DESIGNS[name].reach:
        card = design(name).card(scale=scale)
        block = card.inputs[-1].gsd // card.output.gsd
        assert margin(card, build, 2 * card.margin // block + 5) == card.margin, scale


def test_the_margin_is_that_of_the_axis_that_sees_further():
    card = design("srcnn").card(scale=2)

    def reach(*kernel):
        def lopsided(card):
            model = build(card)
            last = torch.nn.Conv2d(1, 1, kernel, padding="same")
            model.net.rebuild = torch.nn.Sequential(model.net.rebuild, last)
            return model

        return margin(card, lopsided, 61)

    assert reach(31, 1) == reach(1, 31) == reach(31, 31) > reach(1, 1) == card.margin


@pytest.mark.parametrize(
    "name",
    ["lpan", "lpan-reference", "rcan", "piunet", "rams", "deepsum", "han", "srehan", "hsenet",
     "haunet", "haunet-s", "transenet", "rsi-net", "hsrnet", "mog-dcn", "sspsr", "rfsr-hsi",
     "gan-hsi"],
)  # fmt: skip
def test_nets_that_pool_see_further_than_their_tiles(name):
    card = design(name).card()
    card = replace(card, options={**card.options, **THIN[name]})
    assert card.blend
    assert margin(card, build, 2 * card.margin // card.scale + 15) > card.margin


def test_another_depth_measures_another_margin():
    card = design("edsr-baseline").card(scale=2)
    shallow = measured(replace(card, options={**card.options, "blocks": 4}))
    assert shallow.margin == 2 * 12 and not shallow.blend
    deep = measured(replace(card, options={**card.options, "features": 8, "blocks": 50}))
    assert deep.blend and deep.margin == 64


@pytest.mark.parametrize("name", ["dsen2-20", "dsen2-60"])
def test_without_a_residual_the_skip_is_bilinear_and_keeps_constants(name):
    model = build(design(name).card())
    torch.nn.init.zeros_(model.net.tail.weight)
    inputs = {
        item.gsd: torch.full((1, len(item.bands), 60 * 10 // item.gsd, 60 * 10 // item.gsd), 1234.0)
        for item in model.card.inputs
    }
    torch.testing.assert_close(
        model(inputs), torch.full((1, len(model.card.bands), 60, 60), 1234.0)
    )


def test_the_skip_stays_in_fp32_under_low_precision():
    model = build(design("dsen2-20").card())
    torch.nn.init.zeros_(model.net.tail.weight)
    inputs = {
        10: torch.zeros(1, 4, 12, 12),
        20: torch.full((1, 6, 6, 6), 1234.5678),  # bf16 holds 1232 or 1240
    }
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(inputs)
    torch.testing.assert_close(out, torch.full((1, 6, 12, 12), 1234.5678))


def test_cards_bind_bands_by_name_and_exclude_cirrus():
    assert design("dsen2-20").card().bands == ("B5", "B6", "B7", "B8A", "B11", "B12")
    assert design("dsen2-60").card().bands == ("B1", "B9")
    assert not any("B10" in item.bands for d in DESIGNS.values() for item in d.card().inputs)


def test_pairs_name_both_nets_and_unknown_names_get_a_suggestion():
    assert [card.name for card in cards("dsen2")] == list(PAIRS["dsen2"])
    with pytest.raises(UsageError, match="Did you mean dsen2-20"):
        cards("dsen-20")
