"""Progress as lines, for programs that run geosr."""

from __future__ import annotations

from pathlib import Path

from geosr.cli.console import Bar

SCENE = Path(__file__).resolve().parents[2] / "examples/scenes/farmland"


def told(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("progress: ")]


def test_lines_tell_units_done_and_in_all(geosr):
    done = geosr("superres", SCENE, "a.tif", "--model", "bicubic", "--tile-size", 120,
                 "-v")  # fmt: skip
    assert told(done.stderr) == [f"progress: {i}/8 farmland" for i in range(1, 9)]


def test_nobody_who_did_not_ask_is_told(geosr):
    args = ("superres", "--model", "bicubic", SCENE)
    assert not told(geosr(*args, "a.tif").stderr)
    assert not told(geosr(*args, "b.tif", "-v", "--quiet").stderr)
    assert told(geosr(*args, "c.tif", env={"GEOSR_VERBOSE": "1"}).stderr)


def test_eval_names_the_net_and_the_scene(geosr):
    done = geosr("eval", "--model", "bicubic", "--data", SCENE, "-v")
    assert told(done.stderr) == ["progress: 1/0 bicubic-20 farmland",
                                 "progress: 1/0 bicubic-60 farmland"]  # fmt: skip


def test_a_per_cent_is_told_once_and_a_new_start_too(capsys):
    with Bar(verbose=1) as bar:
        for _ in range(400):
            bar.advance("a", 1, 400)
        bar.advance("a", -400, 400)
        bar.advance("b", 200, 400)
    lines = told(capsys.readouterr().err)
    assert len(lines) == 103  # 0 to 100 per cent, 0 again, then the other work
    assert lines[-3:] == ["progress: 400/400 a", "progress: 0/400 a", "progress: 200/400 b"]
