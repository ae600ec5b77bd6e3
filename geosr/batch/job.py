"""What a batch does to every scene, and what becomes of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from geosr.batch import items
from geosr.errors import StoppedError
from geosr.inference.engine import Engine
from geosr.inference.plan import Plan
from geosr.inference.request import Request
from geosr.models.card import Model
from geosr.raster import markup
from geosr.sensors import OpenOptions


@dataclass(frozen=True)
class Job:
    """What a batch does to every scene.

    Attributes:
        precision: as asked for ("auto" included); part of the recipe.
        overwrite: replace outputs made otherwise, and files of others.
        check, check_limit: of `superres`.
        report: draw every output as a page beside it.
        quicklook: give every output pictures beside it.
        stac: describe every output as a STAC Item beside it.
        strict_resume: record and compare the sha256 of inputs too, not size and time alone.
        skip_locked: an output that another run is writing is skipped, not failed.
        lock_timeout: seconds to wait for such an output; None waits as long as it takes.
        batch_fixed: the engine's batch size stays where memory runs out, as a given tile size does.
        space_check: a scene whose output would not fit on the disk is not begun.
        check_inputs: compare input files with the checksums that came with them.
        on_plan: called with the plan of every scene that was done; not by worker processes.
        source: SRC, which is never written to, also where DST is replaced while the job goes on.
    """

    models: tuple[Model, ...]
    request: Request = field(default_factory=Request)
    options: OpenOptions = field(default_factory=lambda: OpenOptions(max_pixels=None))
    engine: Engine = field(default_factory=Engine)
    precision: str = "auto"
    overwrite: bool = False
    check: bool = False
    check_limit: float | None = None
    report: bool = False
    strict_resume: bool = False
    skip_locked: bool = False
    lock_timeout: float | None = 0.0
    batch_fixed: bool = False
    space_check: bool = True
    check_inputs: bool = False
    on_plan: Callable[[Plan], None] | None = None
    source: Path | None = None
    quicklook: bool = False
    stac: bool = False

    def __post_init__(self) -> None:
        if self.stac:
            items.require_format(self.request.format)

    @property
    def beside(self) -> tuple[str, ...]:
        """What goes beside every output."""
        asked = {"quicklook": self.quicklook, "STAC Item": self.stac, "report": self.report}
        return tuple(what for what, wanted in asked.items() if wanted)

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything that changes pixels by design, and nothing else."""
        request, options = self.request, self.options
        return {
            "models": [[model.card.name, model.card.sha256] for model in self.models],
            "bands": request.bands and list(request.bands),
            "only_sr": request.only_sr,
            "bounds": request.bounds and list(request.bounds),
            "bounds_crs": request.bounds_crs,
            "format": request.format,
            "align": options.align,
            "frames": {
                key: value
                for key, value in asdict(request.frames).items()
                if key != "reference" or value is not None
            },
            "ensemble": request.ensemble,
            "uncertainty": request.uncertainty,
            "consistent": request.consistent,
            "dn_offset": options.dn_offset,
            "bands_in": options.bands_in and list(options.bands_in),
            "quantification": options.quantification,
            "precision": self.precision,
            **({"overviews": True} if request.overviews else {}),
            **({"gsd": request.gsd} if request.gsd else {}),
            **({"window": options.window} if options.window else {}),
            **({"refine": request.refine} if request.refine else {}),
            **({"scale": scales} if (scales := self._scales) else {}),
            **({"fit": request.fit.recipe} if self._fits else {}),
            **({"guide": options.guide} if options.guide else {}),
        }

    @property
    def _scales(self) -> list[float]:
        """Scales of nets that take any; of others the weights tell."""
        return [model.card.continuous for model in self.models if model.card.continuous]

    @property
    def _fits(self) -> bool:
        """Whether a net learns on every scene."""
        return any(model.card.learns for model in self.models)


@dataclass(frozen=True)
class Outcome:
    """One line of the report; `status` is done, skipped, planned or failed."""

    scene: str
    status: str
    code: int = 0
    message: str = ""
    output: str = ""
    seconds: float = 0.0
    tile: int = 0
    device: str = ""
    clipped: int = 0
    filled: int = 0
    shifted: int = 0
    check: dict[str, dict[str, float | None]] | None = None
    frames: list[dict[str, Any]] | None = None
    changed: dict[str, dict[str, float]] | None = None
    fit: dict[str, Any] | None = None

    def to_json(self) -> str:
        """One JSON object on one line."""
        text = json.dumps(asdict(self), ensure_ascii=False)
        return text.encode("utf-8", "backslashreplace").decode()  # names that are no UTF-8

    def _repr_html_(self) -> str:
        return Outcomes([self])._repr_html_()

    @property
    def stops(self) -> bool:
        """Whether no further scene can succeed, so none is begun."""
        return self.status == "failed" and self.code == StoppedError.exit_code


class Outcomes(list[Outcome]):
    """What became of each scene; a notebook shows them as a table."""

    def _repr_html_(self) -> str:
        counts = (f"{sum(each.status == status for each in self)} {status}"
                  for status in dict.fromkeys(each.status for each in self))  # fmt: skip
        rows = [(each.scene, each.status, f"{each.seconds:.1f}" if each.seconds else "",
                 each.output, each.message) for each in self]  # fmt: skip
        head = ("scene", "status", "seconds", "output", "message")
        return markup.table(", ".join(counts) or "no scenes", rows, head=head)


Pair = tuple[Path, Path]  # scene and output
Progress = Callable[[str, int, int], None]  # name of the work, units finished, units in all
Executor = Callable[[Sequence[Pair], Job, Progress], Generator[Outcome, None, None]]
