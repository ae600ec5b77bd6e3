"""What a notebook shows for scenes, cards and results: tables, with all text escaped."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import geosr
from geosr.batch.job import Outcome, Outcomes
from geosr.raster.markup import table

SCENES = Path(__file__).resolve().parents[1] / "examples/scenes"


class Cells(HTMLParser):
    """The text of each cell, row by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(html)
        assert not self.open, "a tag that is not closed"

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_a_table_holds_its_cells_escaped():
    cells = Cells(table("a <b>", [("x & y", 1), ("<script>", 2)], head=("name", "value")))
    assert cells.rows == [["name", "value"], ["x & y", "1"], ["<script>", "2"]]


def test_a_scene_shows_its_bands_by_gsd():
    rows = Cells(geosr.open_scene(SCENES / "farmland")._repr_html_()).rows
    assert rows[0] == ["10 m", "B2 B3 B4 B8", "240 × 240 px of 10, EPSG:32633"]
    assert rows[2] == ["60 m", "B1 B9", "40 × 40 px of 60, EPSG:32633"]
    assert rows[-1][0] == "note" and "no DN offset known" in rows[-1][1]


def test_every_card_shows_what_it_reads_and_gives():
    for card in geosr.list_models():
        rows = dict(Cells(card._repr_html_()).rows)
        bands = "each band by itself" if card.bands == ("*",) else " ".join(card.bands)
        assert bands in rows["gives"] and rows["source"] == card.source
    rows = dict(Cells(geosr.load_model("lapsr")[0].card._repr_html_()).rows)
    assert rows["weights"].startswith("lapsr-x4.safetensors") and "margin of 68 px" in rows["tiles"]


def test_outcomes_are_counted_and_listed(tmp_path):
    made = geosr.superres(SCENES, tmp_path, model="bicubic", device="cpu")
    html = made._repr_html_()
    assert "1 done" in html and str(tmp_path) in html
    assert Cells(html).rows[1][:2] == ["farmland", "done"]
    failed = Outcome("a", "failed", 3, "band <B5> is missing")
    rows = Cells(Outcomes([*made, failed])._repr_html_()).rows
    assert rows[2] == ["a", "failed", "", "", "band <B5> is missing"]
    assert Cells(failed._repr_html_()).rows[1] == rows[2]


def test_scores_show_a_row_for_each_model_and_the_ratio():
    found = geosr.evaluate("bicubic", SCENES, device="cpu")
    rows = Cells(found._repr_html_()).rows
    assert rows[0][:2] == ["model", "rmse"] and rows[0][-1] == "ratio"
    assert float(rows[1][1]) > 0 and rows[1][0] == "bicubic" and rows[1][-1] == "1"
    assert len(rows) == 4 and "60 m bands" in found._repr_html_()
