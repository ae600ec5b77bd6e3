"""Many scenes: what becomes of each, and what is told of all."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from geosr import __version__
from geosr.batch import beside, checksums, items, locks, records, status
from geosr.batch.job import Executor, Job, Outcome, Outcomes, Pair, Progress
from geosr.batch.targets import clashes as clashing_scenes
from geosr.batch.targets import lies_in, output_name
from geosr.errors import (
    EmptyError,
    GeosrError,
    LockedError,
    SceneError,
    StoppedError,
    cause,
    without_secrets,
)
from geosr.inference.backoff import superres_in_memory
from geosr.inference.plan import Plan, make_plan
from geosr.inference.predict import device_lost
from geosr.inference.superres import Result
from geosr.raster import publish
from geosr.raster.creation import try_options
from geosr.raster.writer import Layout
from geosr.scene.frames import SelectedFrame
from geosr.scene.scene import Scene
from geosr.sensors import open_scene

log = logging.getLogger("geosr")


def serially(pairs: Sequence[Pair], job: Job, progress: Progress) -> Generator[Outcome, None, None]:
    """One scene after the other, in this process."""
    for path, output in pairs:
        outcome = attempt(path, output, job, progress)
        yield outcome
        if outcome.stops:
            break


def run(
    outputs: Mapping[Path, Path],
    job: Job,
    *,
    executor: Executor = serially,
    folder: Path | None = None,
    shard: tuple[int, int] | None = None,
    report: Callable[[Outcome], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> list[Outcome]:
    """Work through the scenes; one that fails costs only itself.

    Args:
        outputs: scene to output file, from `targets`.
        executor: gives the outcomes in any order; `serially` or one of `geosr.batch.executors`.
        folder: DST where it is a folder; the run's report is written there, also where the run
            is interrupted, as far as it came.
        shard: (I, N) where the outputs are one of several parts; each has its own report.
        report: called with every outcome as it is known.
        progress: called with scene name, tiles finished, tiles in all; executors with several
            workers count scenes.

    Returns:
        Outcomes in the order of `outputs`; none of scenes that were not begun.
    """
    started, outcomes, code = publish.now(), Outcomes(), 1
    once = _Once()
    log.addFilter(once)
    try:
        records.tidy(outputs.values())
        if job.request.tmp_dir:
            publish.sweep_parts(job.request.tmp_dir)
        alone, clashing = _apart(outputs)
        with closing(executor(alone, job, progress)) as made:
            for outcome in chain(clashing, made):
                outcomes.append(outcome)
                report(outcome)
        code = exit_code(outcomes)
    except BaseException as error:
        code = _code_of(error)
        records.tidy(outputs.values())
        raise
    finally:
        log.removeFilter(once)
        order = {output_name(scene): i for i, scene in enumerate(outputs)}
        outcomes.sort(key=lambda outcome: order[outcome.scene])
        if folder is not None and not _in_source(folder / "geosr-run.json", job):
            facts = {"geosr": __version__, "started": started, "code": code}
            scenes = [asdict(each) for each in outcomes]
            status.report_run(folder, facts, scenes, shard=shard, overwrite=job.overwrite)
    return outcomes


def _apart(outputs: Mapping[Path, Path]) -> tuple[list[Pair], list[Outcome]]:
    """The scenes that have an output for themselves, and what becomes of the others."""
    clashes = clashing_scenes(outputs)
    failed = [
        Outcome(
            output_name(scene), "failed", SceneError.exit_code,
            f"{scene} and {other} would both be written to {outputs[other]}. Rename one.",
            str(outputs[scene]),
        )
        for scene, other in clashes.items()
    ]  # fmt: skip
    return [pair for pair in outputs.items() if pair[0] not in clashes], failed


def _in_source(output: Path, job: Job) -> bool:
    return job.source is not None and lies_in(output, job.source)


class _Once(logging.Filter):
    """Lets a warning about scenes pass once, however many scenes and workers it concerns."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = set[str]()

    def filter(self, record: logging.LogRecord) -> bool:
        """False for what was said before."""
        if not getattr(record, "once", False):
            return True
        text = record.getMessage()
        new = text not in self.seen
        self.seen.add(text)
        return new


def _code_of(error: BaseException) -> int:
    """What the shell sees of a run that ended by an exception."""
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    if isinstance(error, GeosrError):
        return error.exit_code
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def plan(
    outputs: Mapping[Path, Path], job: Job, *, report: Callable[[Outcome], None]
) -> list[Outcome]:
    """What `run` would do, without doing it."""
    alone, outcomes = _apart(outputs)
    for outcome in outcomes:
        report(outcome)
    for path, output in alone:
        name = output_name(path)
        try:
            scene = open_scene(path, job.options)
            if _finished(scene, output, job):
                outcome = Outcome(name, "skipped", message="finished already", output=str(output))
            else:
                planned = make_plan(scene, job.models, job.request, job.engine)
                _require_options(output, planned, job)
                outcome = Outcome(name, "planned", message=describe(planned), output=str(output))
        except GeosrError as error:
            outcome = Outcome(name, "failed", error.exit_code, str(error), str(output))
        outcomes.append(outcome)
        report(outcome)
    return outcomes


def describe(plan: Plan) -> str:
    """A plan in one line."""
    nets = " + ".join(model.card.name for model in plan.models) or "no net"
    return (
        f"{nets}: {' '.join(plan.names)}, {plan.grid.height} × {plan.grid.width} px, "
        f"{len(plan.tiles)} tiles, {_size(plan) / 2**20:.1f} MiB before compression"
        f"{'' if plan.grid.crs else '; no CRS'}"
    )


def _size(plan: Plan) -> int:
    """Of the output before compression, bytes."""
    return plan.grid.width * plan.grid.height * len(plan.names) * plan.scene.dtype.itemsize


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """What the shell sees: 0, 3 some failed, 4 all failed, 5 stopped, 11 all locked."""
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    codes = {outcome.code for outcome in failed}
    if not failed:
        return 0
    if StoppedError.exit_code in codes:
        return StoppedError.exit_code
    if codes == {LockedError.exit_code} and len(failed) == len(outcomes):
        return LockedError.exit_code
    return 3 if len(failed) < len(outcomes) else 4


def attempt(path: Path, output: Path, job: Job, progress: Progress = lambda *_: None) -> Outcome:
    """Do one scene, and say what became of it whatever happens."""
    name = output_name(path)
    try:
        return _work(path, output, job, progress)
    except LockedError as error:
        ended = "skipped" if job.skip_locked else "failed"
        return Outcome(name, ended, 0 if job.skip_locked else error.exit_code, str(error),
                       str(output))  # fmt: skip
    except EmptyError as error:
        return Outcome(name, "skipped", message=str(error))
    except GeosrError as error:
        return Outcome(name, "failed", error.exit_code, str(error), str(output))
    except Exception as error:  # a bug costs one scene too
        log.debug("internal error", exc_info=True)
        code, message = _unforeseen(path, job, error)
        return Outcome(name, "failed", code, message, str(output))


def _unforeseen(path: Path, job: Job, error: Exception) -> tuple[int, str]:
    """Code and message of what no part of geosr has a name for."""
    if device_lost(error):
        return StoppedError.exit_code, (
            f"{path}: device {job.engine.device} is lost ({cause(error)[:200]}). "
            "Look at the GPU (nvidia-smi), then run the same command again."
        )
    said = f"{type(error).__name__}: {error}"
    return 1, without_secrets(f"internal error on {path}: {said}. Please report it (-vv).")


def _work(path: Path, output: Path, job: Job, progress: Progress) -> Outcome:
    name = output_name(path)
    _check_place(output, job)
    with locks.locked(output, timeout=job.lock_timeout):
        scene = open_scene(path, job.options)  # not before: it may be replaced meanwhile
        _tell(scene, name)
        if _finished(scene, output, job):
            beside.make(output, job.beside, overwrite=job.overwrite, missing=True)
            return Outcome(name, "skipped", message="finished already", output=str(output))
        _check_wishes(scene, output, job)
        planned = make_plan(scene, job.models, job.request, job.engine)
        for left_out in planned.notes:
            log.info("%s: %s", name, left_out)
        log.info("%s: %s", name, describe(planned))
        _require_options(output, planned, job)
        if job.space_check:
            _require_space(output, planned, job.request.tmp_dir)
        if job.check_inputs:
            checksums.require(scene)
        before = records.stamps(scene, strict=job.strict_resume)

        def before_publish(part: Path) -> None:
            if records.stamps(scene, strict=job.strict_resume) != before:
                raise SceneError(f"{path} changed while it was read. Run the same command again.")
            _check_place(output, job)
            write_journal(part)

        with records.journalled(output) as write_journal:
            result, tile = superres_in_memory(
                scene, output, job.models, request=job.request, engine=job.engine,
                batch_fixed=job.batch_fixed, progress=lambda n, total: progress(name, n, total),
                before_publish=before_publish, check=job.check, check_limit=job.check_limit,
            )  # fmt: skip
            _record(scene, output, job, result, before)
        beside.make(output, job.beside, overwrite=job.overwrite)
    if job.on_plan:
        job.on_plan(planned)
    return Outcome(
        name, "done", output=str(output), seconds=round(result.seconds, 3),
        tile=tile, device=job.engine.device, clipped=result.clipped,
        filled=result.filled, shifted=result.shifted, **_extras(result),
    )  # fmt: skip


def _tell(scene: Scene, name: str) -> None:
    for note in scene.notes:
        if note.warning:
            log.warning("%s", note.text, extra={"once": True})
        else:
            log.info("%s: %s", name, note)


def _check_wishes(scene: Scene, output: Path, job: Job) -> None:
    """Whether the output would replace a file of its scene, and can have what goes beside it.

    Raises:
        SceneError: it would, or cannot.
    """
    place = os.path.realpath(output)
    if any(place == os.path.realpath(file) for file in scene.files):
        raise SceneError(
            f"{output} is a file of the scene {scene.path}, which is never written to. Choose "
            "another DST."
        )
    if job.stac:
        items.require_time(scene.path, scene.acquisition)


def _check_place(output: Path, job: Job) -> None:
    """Whether DST, which may have been replaced since the run began, is still not SRC.

    Raises:
        StoppedError: it is, or lies in it.
    """
    if _in_source(output, job):
        raise StoppedError(
            f"{output} now lies in the input {job.source}, which is never written to: "
            f"{output.parent} was replaced during the run. Choose another DST."
        )


def _require_space(output: Path, plan: Plan, tmp_dir: Path | None) -> None:
    publish.require_space(output, _size(plan))
    if tmp_dir:
        publish.require_space(tmp_dir / output.name, _size(plan))


def _require_options(output: Path, plan: Plan, job: Job) -> None:
    """Whether the output's format and creation options can hold what is planned."""
    layout = Layout(plan.grid, plan.names, plan.scene.dtype, 0, format=job.request.format,
                    options=job.request.options)  # fmt: skip
    layout.check(output)
    try_options(layout)


def _finished(scene: Scene, output: Path, job: Job) -> bool:
    return records.finished(
        scene, output, job.recipe, overwrite=job.overwrite, strict=job.strict_resume
    )


def _record(
    scene: Scene, output: Path, job: Job, result: Result, inputs: Mapping[str, Any]
) -> None:
    """Write the commit mark, last and whole."""
    records.write(output, {
        "scene": scene.name,
        "source": {
            "path": without_secrets(str(Path(scene.path).absolute())),
            "kind": job.options.kind,
        },
        "inputs": inputs,
        "recipe": job.recipe,
        "geosr": __version__,
        "seconds": round(result.seconds, 3),
        "clipped": result.clipped,
        "filled": result.filled,
        "shifted": result.shifted,
        "valid_share": result.valid_share,
        **({"acquired": scene.acquisition.time} if scene.acquisition.time else {}),
        **_extras(result),
    })  # fmt: skip


def _facts(frame: SelectedFrame) -> dict[str, Any]:
    """A frame's number, and how it was registered and scaled."""
    facts = asdict(frame)
    return {"frame": facts.pop("index"), **facts}


def _extras(result: Result) -> dict[str, Any]:
    """What only some outputs have to tell."""
    changed = {
        name: {"rmse": by.rmse, "largest": by.largest} for name, by in result.changed.items()
    }
    return {
        "check": asdict(result.check) if result.check else None,
        "frames": [_facts(frame) for frame in result.frames] or None,
        "changed": changed or None,
        "fit": dict(result.fit) or None,
    }
