"""How long a batch will still take, and what is said at its end."""

import pytest

from geosr.batch.job import Outcome
from geosr.cli.pace import Pace, duration


class Clock:
    """A time that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def outcome(status: str) -> Outcome:
    return Outcome("a", status)


def test_a_scene_is_as_far_as_its_tiles(clock):
    pace = Pace(1, clock=clock)
    pace.advance("a", 0, 8)
    assert pace.scene_left() is None
    clock.now = 30
    pace.advance("a", 2, 8)
    assert pace.scene_left() == pytest.approx(90)


def test_a_scene_begun_anew_is_no_further_than_its_start(clock):
    pace = Pace(1, clock=clock)
    pace.advance("a", 4, 8)
    pace.advance("a", -4, 8)
    assert pace.scene_left() is None


def test_the_batch_takes_as_long_for_each_scene_as_it_took(clock):
    pace = Pace(4, clock=clock)
    clock.now = 60
    pace.end(outcome("done"))
    assert pace.left() == pytest.approx(180)
    clock.now = 90
    pace.advance("b", 1, 2)
    assert pace.left() == pytest.approx(150)


def test_what_was_skipped_tells_no_speed(clock):
    pace = Pace(3, clock=clock)
    pace.end(outcome("skipped"))
    assert pace.left() is None
    clock.now = 20
    pace.end(outcome("done"))
    assert pace.left() == pytest.approx(20)
    pace.end(outcome("failed"))
    assert pace.left() is None


def test_a_word_comes_after_each_scene_while_much_is_left(clock):
    said: list[str] = []
    pace = Pace(3, tell=said.append, clock=clock)
    clock.now = 65
    pace.end(outcome("done"))
    clock.now = 70
    pace.end(outcome("done"))
    pace.end(outcome("done"))
    assert said == ["1 of 3 scenes, about 2 min 10 s left", "2 of 3 scenes, about 35 s left"]


def test_a_word_comes_once_a_minute_while_a_scene_is_worked_on(clock):
    said: list[str] = []
    pace = Pace(1, tell=said.append, clock=clock)
    for second in range(0, 200, 20):
        clock.now = second
        pace.advance("a", 1, 20)
    assert said == ["a: 20%, about 4 min left", "a: 35%, about 3 min 43 s left",
                    "a: 50%, about 3 min left"]  # fmt: skip


def test_a_bar_says_which_scene_of_how_many(clock):
    assert Pace(1, clock=clock).note == ""
    pace = Pace(5, clock=clock)
    assert pace.note == "scene 1 of 5"
    clock.now = 100
    pace.end(outcome("done"))
    assert pace.note == "scene 2 of 5, all in 6 min 40 s"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(1.44, "1.4 s"), (9.97, "10 s"), (59.6, "1 min"), (125, "2 min 5 s"), (3600, "1 h"),
     (11520, "3 h 12 min")],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds, said):
    assert duration(seconds) == said


def test_the_last_words_are_what_was_made_and_how_sure_it_is(geosr, scene_dir, tmp_path):
    done = geosr("superres", scene_dir, "out", "--model", "bicubic", "--bands", "B5,B11")
    lines = done.stderr.splitlines()
    assert lines[-1] == "1 done, 0 skipped, 0 failed"
    assert lines[-2].startswith("made 1 raster in out in ")
    assert "2 bands at 10 m" in lines[-2]
    assert lines[-2].endswith("--check says how well they fit the input")
    checked = geosr("superres", scene_dir, "checked", "--model", "bicubic", "--check")
    assert "degraded again they differ from the input by " in checked.stderr.splitlines()[-2]
    again = geosr("superres", scene_dir, "out", "--model", "bicubic", "--bands", "B5,B11")
    assert "made" not in again.stderr


def test_measured_nets_are_told_with_their_figures_and_those_of_interpolation(geosr, scene_dir):
    done = geosr("superres", scene_dir, "out", "--model", "dsen2-ps-20", "--bands", "B5")
    assert "RMSE on held-out scenes (10000 is 1.0): dsen2-ps-20 53, bicubic 152" in done.stderr
    assert geosr("superres", scene_dir, "quiet", "--model", "bicubic", "-q").stderr == ""
