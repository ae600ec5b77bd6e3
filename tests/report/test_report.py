"""Reports: one file, whole, escaped, bounded, the same every time."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rasterio.io import MemoryFile
from reports import NAMES, crop, field, page, render

from geosr import report
from geosr.raster import marks, picture
from geosr.raster.picture import enlarge
from geosr.report import LIMIT, Crop, figures

VOID = {"meta", "img", "br", "link", "input"}
HOSTILE = "<script>alert(1)</script>\"'&amp;</style><!--"


class Reader(HTMLParser):
    """Checks that tags close, and keeps what the document holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.seen if name == tag]


def pixels(address: str) -> np.ndarray:
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    with MemoryFile(data) as memory, memory.open() as file:
        return file.read()


def test_a_report_is_a_whole_document_that_reaches_for_nothing():
    text = render(page("one", crop(), crop(1)), page("two", crop(2)))
    found = Reader(text)
    assert [tag for tag, _ in found.seen[:3]] == ["html", "head", "meta"]
    assert {"viewport", "color-scheme"} <= {meta.get("name") for meta in found.all("meta")}
    for _, attrs in found.seen:
        for key in ("src", "href", "srcset", "action", "data"):
            address = attrs.get(key) or "data:image/png;"
            assert address.startswith(("data:image/png;", "#"))
    assert "@import" not in text and "url(" not in text and "http" not in found.words
    assert not re.search(r"https?://", text)


def test_a_crop_has_its_slider_its_images_and_its_figures():
    found = Reader(render(page("one", crop())))
    (bar,) = [attrs for attrs in found.all("div") if attrs.get("role") == "slider"]
    assert bar["aria-valuenow"] == "50" and bar["tabindex"] == "0" and "hidden" in bar
    assert [img["alt"] for img in found.all("img")] == ["LR", "bicubic", "dsen2", "truth"]
    chosen = [o["value"] for o in found.all("option") if "selected" in o]
    assert chosen == ["0", "2"]  # LR | model
    labels = [attrs.get("aria-label") for attrs in found.all("svg")]
    assert labels.count("error map") == 2 and "radial power spectrum" in labels
    assert {"bicubic against truth", "dsen2 against truth"} <= set(labels)
    assert sum(bool(re.match(r"[a-d]: row", label or "")) for label in labels) == 4
    assert len([rect for rect in found.all("rect") if rect["class"] == "mark"]) == 1


def test_without_truth_the_model_is_held_against_bicubic():
    text = render(page("one", crop(truth=False)))
    found = Reader(text)
    assert "dsen2 − bicubic" in found.words and "truth" not in found.words
    assert "dsen2 against bicubic" in text


def test_with_bicubic_alone_there_is_still_a_page():
    one = crop()
    images = {key: one.images[key] for key in ("LR", "bicubic")}
    found = Reader(render(page("one", Crop("c", images, None, one.bands, 2))))
    assert [o["value"] for o in found.all("option") if "selected" in o] == ["0", "1"]


def test_several_models_are_all_there():
    one = crop()
    images = dict(one.images) | {f"net{i}": one.images["dsen2"] for i in range(6)}
    found = Reader(render(page("one", Crop("c", images, None, one.bands, 2))))
    assert len(found.all("img")) == 10


@pytest.mark.parametrize("bands", [1, 2, 6])
def test_any_number_of_bands_is_shown(bands):
    found = Reader(render(page("one", crop(bands=bands))))
    assert pixels(found.all("img")[1]["src"]).shape[0] == (3 if bands >= 3 else 1)
    assert ("grey: B5" in found.words) == (bands < 3)


def test_all_panels_share_the_stretch_of_the_input():
    one = crop(bands=1)
    low, *_, truth = (pixels(img["src"])[0] for img in Reader(render(page("p", one))).all("img"))
    ends = np.percentile(one.images["LR"], (2, 98))
    for shown, image in ((enlarge(low, 2), one.images["LR"]), (truth, one.images["truth"])):
        wanted = np.clip((image[0] - ends[0]) / (ends[1] - ends[0]), 0, 1) * 255
        assert np.abs(shown - wanted).max() <= 0.51


def test_an_input_of_repeated_pixels_is_kept_at_its_own_size():
    img = Reader(render(page("one", crop()))).all("img")[0]
    assert (img["width"], img["height"]) == ("64", "64")
    assert pixels(img["src"]).shape == (3, 32, 32)


def test_hostile_words_stay_words():
    one = crop(model=HOSTILE, title=HOSTILE)
    one = Crop(one.title, one.images, None, (HOSTILE, *one.bands[1:]), 2)
    metrics = {HOSTILE: {HOSTILE: 1.0, "rmse": 2.0}}
    facts = {HOSTILE: HOSTILE}
    shown = page(HOSTILE, one, metrics=metrics, facts=facts, warnings=[HOSTILE])
    text = render(shown, shown, title=HOSTILE, facts=facts, definitions=facts,
                  table={HOSTILE: metrics})  # fmt: skip
    found = Reader(text)
    assert "<script>alert" not in text and len(found.all("script")) == 1
    assert found.words.count(HOSTILE) >= 12
    assert {key for _, attrs in found.seen for key in attrs if key.startswith("on")} == set()
    assert found.all("img")[2]["alt"] == HOSTILE


def test_only_the_script_of_the_page_may_run():
    found = Reader(render(page("one", crop())))
    (policy,) = [meta["content"] for meta in found.all("meta") if "http-equiv" in meta]
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy


def test_the_same_arguments_give_the_same_bytes():
    assert render(page("one", crop())) == render(page("one", crop()))


def test_masked_constant_and_undefined_images_are_shown_as_they_are():
    none = np.zeros((64, 64), bool)
    half = np.ones((64, 64), bool)
    half[:32] = False
    flat = crop()
    flat = Crop("flat", {k: np.full_like(v, 7) for k, v in flat.images.items()}, None, NAMES, 2)
    near = Crop("near", {k: v + np.float32(1e-6) * flat.images["LR"] for k, v in
                flat.images.items()}, None, NAMES, 2)  # fmt: skip
    holes = crop(mask=half)
    holes.images["dsen2"][:, 40:50] = np.nan
    holes.images["truth"][0, 50] = np.inf
    lost = crop()
    lost.images["dsen2"][:] = np.nan
    shown = [crop(mask=none), crop(mask=half), flat, near, holes, lost]
    with np.errstate(all="raise", under="ignore"):
        for one in shown:
            found = Reader(render(page("one", one)))
            assert len(found.all("img")) == 4
            assert "nan" not in found.words and "inf" not in found.words
    empty = Reader(render(page("one", shown[0])))
    assert "error map" not in [attrs.get("aria-label") for attrs in empty.all("svg")]


@pytest.mark.parametrize("side", [1, 3, 7])
def test_a_crop_of_a_few_pixels_is_shown(side):
    images = {name: field(0, 2, side) for name in ("LR", "bicubic", "net", "truth")}
    Reader(render(page("one", Crop("tiny", images, None, ("a", "b"), 1))))


def test_a_scene_without_crops_overview_and_scores_is_named():
    bare = page("bare", overview=np.zeros((3, 0, 0), np.float32), metrics={}, facts={})
    assert "bare" in Reader(render(bare)).words
    blank = page("blank", overview=np.full((3, 9, 9), np.nan, np.float32))
    assert "blank" in Reader(render(blank)).words
    assert Reader(render()).words


def test_numbers_that_are_not_defined_are_dashes_and_the_best_is_bold():
    metrics = {"a": {"rmse": 2.0, "psnr": float("inf"), "sam": None},
               "b": {"rmse": 3.0, "psnr": 31.5, "sam": 1.25}, "c": {"rmse": None}}  # fmt: skip
    text = render(page("one", crop(), metrics=metrics), table={})
    assert "<strong>2.000</strong>" in text and "<strong>3.000</strong>" not in text
    assert "<strong>∞</strong>" in text and "<td>–</td><td>1.250</td>" in text
    assert 'scope="col">c<' not in text  # no number at all


def test_only_metrics_that_occur_are_defined():
    found = Reader(render(page("one", crop())))
    assert "sqrt(mean" in found.words and "an angle" not in found.words


def test_a_report_of_many_scenes_keeps_its_size_and_says_what_is_missing(tmp_path):
    wide = crop(side=256, bands=3)
    pages = [page(f"scene {i}", wide, wide) for i in range(24)]
    text = render(*pages)
    report.write(tmp_path / "r.html", text)
    assert (tmp_path / "r.html").stat().st_size <= LIMIT
    found = Reader(text)
    assert "48 crops are left out" in found.words and "Crops are cut to" in found.words
    assert len(found.all("article")) >= 20  # the first of most scenes before any second
    assert all(f"scene {i}" in found.words for i in range(24))


def test_scenes_beyond_the_size_are_left_out_and_counted():
    long = page("scene", facts={f"{i}": "é" * 1000 for i in range(100)})
    text = render(*[long] * 40)
    assert len(text.encode()) <= LIMIT
    assert re.search(r"\d+ of 40 scenes are left out", text)


def test_a_large_crop_is_cut_to_its_middle_and_its_mark_with_it():
    found = Reader(render(page("one", crop(side=640, bands=1), marks=[(0, 0, 1, 1)])))
    assert found.all("img")[3]["width"] == "320" and "its middle 320 × 320" in found.words
    (mark,) = [rect for rect in found.all("rect") if rect["class"] == "mark"]
    assert [float(mark[key]) for key in ("x", "width")] == [20, 40]


def test_a_report_is_written_over_the_old_one_with_odd_names(tmp_path):
    path = tmp_path / "r.html"
    path.write_bytes(marks.PAGE + b"an old one")
    report.write(path, render(page("bad \udc80 name", crop())))
    assert "bad ? name" in path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (17, 4, 3), (64, 64, 3)])
def test_a_png_holds_the_pixels(shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    image[: shape[0] // 2] //= 16
    found = pixels(figures.uri(picture.png(image)))
    assert np.array_equal(found, np.atleast_3d(image).transpose(2, 0, 1))


def test_a_difference_is_blue_below_white_at_zero_and_red_above():
    values = np.array([[-5, 0, 5, 0]], np.float32)
    valid = np.array([[True, True, True, False]])
    data = figures.difference(values, valid, 5)
    with MemoryFile(data) as memory, memory.open() as file:
        index, table = file.read(1)[0], file.colormap(1)
    below, zero, above, masked = (table[int(i)] for i in index)
    assert below[2] > below[0] and above[0] > above[2] and min(zero[:3]) > 240
    assert (below[3], masked[3]) == (255, 0)


def test_radial_power_peaks_where_the_wave_is_and_is_parsevals():
    wave = np.cos(2 * np.pi * 0.25 * np.arange(64))[None, None] * np.ones((1, 64, 1))
    frequencies, power = figures.radial_power(wave.astype(np.float32), np.ones((64, 64), bool))
    assert frequencies[power.argmax()] == 0.25 and frequencies[-1] == 0.5
    noise = np.random.default_rng(0).normal(0, 3, (4, 64, 64)).astype(np.float32)
    _, power = figures.radial_power(noise, np.ones((64, 64), bool))
    assert power[2:].mean() == pytest.approx(9, rel=0.05)


def test_masked_pixels_do_not_reach_the_power_spectrum():
    image, valid = field(0, 2, 32), np.ones((32, 32), bool)
    valid[10:14, 3:20] = False
    other = np.where(valid, image, 30000).astype(np.float32)
    found = [figures.radial_power(one, valid)[1] for one in (image, other)]
    assert np.allclose(*found)


@pytest.mark.parametrize("ends", [(0, 1), (-3, 4000), (0.001, 0.0013), (9999.9, 10000.1)])
def test_ticks_are_round_few_and_inside(ends):
    found = figures.ticks(ends)
    assert 2 <= len(found) <= 9
    assert all(ends[0] <= value <= ends[1] for value, _ in found)
    assert len({label for _, label in found}) == len(found)


def test_the_page_comes_with_its_style_and_its_script():
    folder = Path(report.__file__).parent
    text = render(page("one", crop()))
    for name in ("report.css", "report.js"):
        assert (folder / name).read_text(encoding="utf-8") in text
