"""How long a batch will still take, by the scenes and tiles that are finished."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geosr.batch.job import Outcome

_SHORT = 10.0  # seconds; what is left of less is not worth a word
_EVERY = 60.0  # seconds between two words about one scene, where no bar shows it


class Pace:
    """Counts scenes and the tiles of the one in progress; only what was worked on tells the speed.

    Args:
        scenes: in all.
        tiles: whether progress comes as tiles of one scene at a time, not as scenes.
        show: gets the progress and the note beside it, of a bar.
        report: gets what became of each scene.
        tell: gets a line about once a minute of a scene, and one after each scene, while much is
            left.
    """

    def __init__(
        self, scenes: int, *, tiles: bool = True, show: Callable[..., None] = lambda *_, **__: None,
        report: Callable[[Outcome], None] = lambda _: None,
        tell: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._scenes, self._tiles, self._clock = scenes, tiles, clock
        self._show, self._report, self._tell = show, report, tell
        self._started = self._told = self._begun = clock()
        self._ended = self._worked = 0
        self._name, self._share = "", 0.0

    def advance(self, name: str, done: int, total: int) -> None:
        """`done` more of the `total` tiles of a scene; less than 0 where it is begun anew."""
        if self._tiles:
            self._count(name, done, total)
        self._show(name, done, total, note=self.note)

    def _count(self, name: str, done: int, total: int) -> None:
        if name != self._name:
            self._name, self._share, self._begun = name, 0.0, self._clock()
            self._told = self._begun
        self._share = max(self._share + done / max(total, 1), 0.0)
        left = self.scene_left()
        if left is not None and left >= _SHORT and self._clock() - self._told >= _EVERY:
            self._told = self._clock()
            self._tell(f"{name}: {self._share:.0%}, about {duration(left)} left")

    def end(self, outcome: Outcome) -> None:
        """A scene is over, whatever became of it."""
        self._report(outcome)
        self._ended += 1
        self._worked += outcome.status == "done"
        self._name, self._share = "", 0.0
        left = self.left()
        if left is not None and left >= _SHORT:
            self._tell(f"{self._ended} of {self._scenes} scenes, about {duration(left)} left")

    def scene_left(self) -> float | None:
        """Seconds until the scene in progress is finished; None where nothing tells it yet."""
        if not 0 < self._share <= 1:
            return None
        return (self._clock() - self._begun) * (1 - self._share) / self._share

    def left(self) -> float | None:
        """Seconds until all scenes are finished, as if they were alike; None where unknown."""
        effort = self._worked + self._share
        open_ = self._scenes - self._ended - self._share
        if not effort or open_ <= 0:
            return None
        return (self._clock() - self._started) / effort * open_

    @property
    def note(self) -> str:
        """What a bar says of the batch beside its scene: "scene 2 of 5, all in 3 min 10 s"."""
        if self._scenes < 2:
            return ""
        left = self.left()
        when = f", all in {duration(left)}" if left is not None and left >= _SHORT else ""
        return f"scene {min(self._ended + 1, self._scenes)} of {self._scenes}{when}"


def duration(seconds: float) -> str:
    """A time for people, to two units: 1.4 s, 45 s, 2 min 5 s, 3 h 12 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
