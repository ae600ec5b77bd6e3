"""Many scenes: which are finished, which are ours, and what became of each.

A small record beside every output, written last, says what it was made of; "finished" is told
by that record, never by the file's existence.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from filelock import FileLock, Timeout

from geosr import __version__, pages, publish, report
from geosr.errors import GeosrError, LockedError, SceneError, StoppedError, UsageError
from geosr.models import Model
from geosr.plan import Plan, Request, make_plan
from geosr.predict import Engine
from geosr.scene import Scene
from geosr.sensors import OpenOptions, find_scenes, is_remote, open_scene
from geosr.superres import Result, superres

log = logging.getLogger("geosr")


@dataclass(frozen=True)
class Job:
    """What a batch does to every scene.

    Attributes:
        precision: as asked for ("auto" included); part of the recipe.
        overwrite: replace outputs made otherwise, and files of others.
        check, check_limit: of `superres`.
        report: draw every output as a page beside it.
    """

    models: tuple[Model, ...]
    request: Request = field(default_factory=Request)
    options: OpenOptions = field(default_factory=OpenOptions)
    engine: Engine = field(default_factory=Engine)
    precision: str = "auto"
    overwrite: bool = False
    check: bool = False
    check_limit: float | None = None
    report: bool = False

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
            "dn_offset": options.dn_offset,
            "bands_in": options.bands_in and list(options.bands_in),
            "quantification": options.quantification,
            "precision": self.precision,
        }


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

    def to_json(self) -> str:
        """One JSON object on one line."""
        return json.dumps(asdict(self), ensure_ascii=False)


def targets(
    src: Path, dst: Path, *, pattern: str | None = None, kind: str = "sentinel2"
) -> dict[Path, Path]:
    """The output of every scene of `src`; nothing is created.

    Args:
        kind: of the scenes, as in OpenOptions.

    Raises:
        UsageError: `src` is missing, outputs would collide or lie in the input.
    """
    scenes = find_scenes(src, pattern=pattern, kind=kind)
    if is_file_name(dst):
        if len(scenes) > 1:
            raise UsageError(
                f"{dst} is one file, but {src} holds {len(scenes)} scenes. Give a folder."
            )
        outputs = dict.fromkeys(scenes, dst)
    else:
        outputs = {scene: dst / f"{output_name(scene)}.tif" for scene in scenes}
    _check_distinct(outputs)
    _check_outside(src, outputs)
    return outputs


def is_file_name(dst: Path) -> bool:
    """DST ending in .tif or .tiff is a file, anything else a folder."""
    return dst.suffix.lower() in (".tif", ".tiff")


def output_name(scene: Path) -> str:
    """A scene's name as a file name: no extension, nothing a shell or a path could trip over."""
    path = Path(unquote(scene.name)) if is_remote(str(scene)) else scene.resolve()
    name = path.name if path.is_dir() else path.stem
    name = re.sub(r"\.SAFE$|_LR\*$", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^\w.+-]", "_", name).lstrip(".-") or "scene"


def _check_distinct(outputs: Mapping[Path, Path]) -> None:
    seen: dict[Path, Path] = {}
    for scene, output in outputs.items():
        if output.is_dir():
            raise UsageError(f"{output} is a folder where a file must go. Choose another DST.")
        if output in seen:
            raise UsageError(
                f"{seen[output]} and {scene} would both be written to {output}. Rename one."
            )
        seen[output] = scene


def _check_outside(src: Path, outputs: Mapping[Path, Path]) -> None:
    source = src.resolve()
    for scene, output in outputs.items():
        resolved = output.resolve()
        inside = source.is_dir() and resolved.is_relative_to(source)
        if resolved in (source, scene.resolve()) or inside:
            raise UsageError(
                f"output {output} lies in the input {src}, which is never written to. "
                "Choose another DST."
            )


def check_writable(folder: Path) -> None:
    """Create `folder` and try a file in it.

    Raises:
        UsageError: it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = publish.part_path(folder / "probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"not writable: {folder} ({error.strerror}). Choose another DST."
        ) from error


def run(
    outputs: Mapping[Path, Path],
    job: Job,
    *,
    report: Callable[[Outcome], None] = lambda _: None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> list[Outcome]:
    """Work through the scenes; one that fails costs only itself.

    Args:
        outputs: scene to output file, from `targets`.
        report: called with every outcome as it is known.
        progress: called with scene name, tiles finished, tiles in all.
    """
    _warn.cache_clear()
    for folder in {output.parent for output in outputs.values()}:
        publish.sweep_parts(folder)
    outcomes = []
    for path, output in outputs.items():
        outcome = _attempt(path, output, job, progress)
        outcomes.append(outcome)
        report(outcome)
        if outcome.code == StoppedError.exit_code:
            break
    return outcomes


def plan(
    outputs: Mapping[Path, Path], job: Job, *, report: Callable[[Outcome], None]
) -> list[Outcome]:
    """What `run` would do, without doing it."""
    outcomes = []
    for path, output in outputs.items():
        name = output_name(path)
        try:
            scene = open_scene(path, job.options)
            if _finished(scene, output, job):
                outcome = Outcome(name, "skipped", message="finished already", output=str(output))
            else:
                outcome = Outcome(name, "planned", message=describe(make_plan(
                    scene, job.models, job.request)), output=str(output))  # fmt: skip
        except GeosrError as error:
            outcome = Outcome(name, "failed", error.exit_code, str(error), str(output))
        outcomes.append(outcome)
        report(outcome)
    return outcomes


def describe(plan: Plan) -> str:
    """A plan in one line."""
    nets = " + ".join(model.card.name for model in plan.models) or "no net"
    size = plan.grid.width * plan.grid.height * len(plan.names) * plan.scene.dtype.itemsize
    return (
        f"{nets}: {' '.join(plan.names)}, {plan.grid.height} × {plan.grid.width} px, "
        f"{len(plan.tiles)} tiles, {size / 2**20:.1f} MiB before compression"
    )


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


@cache
def _warn(text: str) -> None:
    """Each warning once a run, however many scenes it concerns."""
    log.warning("%s", text)


def _attempt(
    path: Path, output: Path, job: Job, progress: Callable[[str, int, int], None]
) -> Outcome:
    name = output_name(path)
    try:
        return _work(path, output, job, progress)
    except GeosrError as error:
        return Outcome(name, "failed", error.exit_code, str(error), str(output))
    except Exception as error:  # a bug costs one scene too
        log.debug("internal error", exc_info=True)
        message = (
            f"internal error on {path}: {type(error).__name__}: {error}. Please report it (-vv)."
        )
        return Outcome(name, "failed", 1, message, str(output))


def _work(path: Path, output: Path, job: Job, progress: Callable[[str, int, int], None]) -> Outcome:
    scene = open_scene(path, job.options)
    name = output_name(path)
    for note in scene.notes:
        if note.warning:
            _warn(note.text)
        else:
            log.info("%s: %s", name, note)
    with _locked(output):
        if _finished(scene, output, job):
            return Outcome(name, "skipped", message="finished already", output=str(output))
        planned = make_plan(scene, job.models, job.request)
        for left_out in planned.notes:
            log.info("%s: %s", name, left_out)
        log.info("%s: %s", name, describe(planned))
        total = len(planned.tiles) * len(planned.nets)
        before = _stamps(scene)

        def before_publish(part: Path) -> None:
            if _stamps(scene) != before:
                raise SceneError(f"{path} changed while it was read. Run the same command again.")
            write_journal(part)

        with _journalled(output) as write_journal:
            result = superres(
                scene, output, job.models, request=job.request, engine=job.engine,
                progress=lambda n: progress(name, n, total), before_publish=before_publish,
                check=job.check, check_limit=job.check_limit,
            )  # fmt: skip
            _record(scene, output, job, result, before)
        if job.report:
            _draw(output)
    return Outcome(
        name, "done", output=str(output), seconds=round(result.seconds, 3),
        tile=planned.tile_size, device=job.engine.device, clipped=result.clipped,
        filled=result.filled, shifted=result.shifted,
        check=asdict(result.check) if result.check else None,
    )  # fmt: skip


def _draw(output: Path) -> None:
    """The page of a finished output; where it cannot be drawn the output stands."""
    try:
        html = report.render(output.stem, [pages.of_output(output)], facts={"geosr": __version__},
                             definitions={})  # fmt: skip
        report.write(output.with_suffix(".html"), html)
    except GeosrError as error:
        log.warning("no report of %s: %s", output, error)


# records


def record_path(output: Path) -> Path:
    """Where the record of an output lies."""
    return output.with_name(f"{output.stem}.geosr.json")


def _finished(scene: Scene, output: Path, job: Job) -> bool:
    """Whether `output` is whole and made of this scene in this way.

    Raises:
        SceneError: the file is somebody else's, or was made in another way.
    """
    if not output.exists() or _interrupted(output):
        return False
    if job.overwrite:
        return _ours(scene, output, job)
    record = _load(output)
    if record is None:
        raise SceneError(
            f"{output} exists and was not made by geosr (no record beside it): left alone. "
            "Move it away, or pass --overwrite."
        )
    if record["recipe"] != job.recipe:
        raise SceneError(
            f"{output} was made with other settings "
            f"({_differences(record['recipe'], job.recipe)}): left alone. "
            "Choose another DST, or pass --overwrite."
        )
    return _ours(scene, output, job)


def _journal(output: Path) -> Path:
    return output.with_name(f".{output.stem}.geosr.begun")


def _stamp(path: Path) -> list[int] | None:
    """Size and modification time of a file, None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


@contextmanager
def _journalled(output: Path) -> Iterator[Callable[[Path], None]]:
    """Gives a function that notes which temporary file is about to become `output`.

    Between the renaming of an output and its record lies an instant; killed there, the next run
    finds the note, knows the file for its own by size and time, which renaming keeps, and makes
    it again. No other file can match.
    """
    journal = _journal(output)
    try:
        yield lambda part: publish.write_bytes(journal, json.dumps(_stamp(part)).encode())
    except BaseException:
        if not _interrupted(output):
            journal.unlink(missing_ok=True)
        raise
    journal.unlink(missing_ok=True)


def _interrupted(output: Path) -> bool:
    """Whether `output` was published by a run that died before it wrote the record."""
    try:
        noted = json.loads(_journal(output).read_text())
    except (OSError, ValueError):
        return False
    return noted is not None and bool(noted == _stamp(output))


def _ours(scene: Scene, output: Path, job: Job) -> bool:
    record = _load(output)
    return (
        record is not None
        and record["recipe"] == job.recipe
        and record["inputs"] == _stamps(scene)
        and record["output"]["size"] == output.stat().st_size
    )


def _load(output: Path) -> dict[str, Any] | None:
    """The output's record; None where there is none or it is no record."""
    path = record_path(output)
    try:
        if path.stat().st_size > 2**20:
            return None
        record = json.loads(path.read_text())
        sound = (
            record["geosr_record"] == 1
            and isinstance(record["recipe"], dict)
            and isinstance(record["inputs"], dict)
            and isinstance(record["output"]["size"], int)
        )
        return record if sound else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _record(
    scene: Scene, output: Path, job: Job, result: Result, inputs: dict[str, list[int]]
) -> None:
    """Write the commit mark, last and whole."""
    record = {
        "geosr_record": 1,
        "scene": scene.name,
        "source": {"path": str(Path(scene.path).absolute()), "kind": job.options.kind},
        "inputs": inputs,
        "recipe": job.recipe,
        "geosr": __version__,
        "output": {"size": output.stat().st_size, "sha256": _sha256(output)},
        "seconds": round(result.seconds, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "clipped": result.clipped,
        "filled": result.filled,
        "shifted": result.shifted,
        "valid_share": result.valid_share,
        "check": asdict(result.check) if result.check else None,
    }
    publish.write_bytes(record_path(output), (json.dumps(record, indent=1) + "\n").encode())


def _stamps(scene: Scene) -> dict[str, list[int]]:
    """Size and modification time of every input file, by its place in the scene."""
    root = Path(scene.path)
    if "*" in root.name:  # a series by name in a folder of many
        root = root.parent
    files = [root] if root.is_file() else [Path(name) for name in scene.files]
    stamps = {}
    for file in files:
        stamp = _stamp(file)
        if stamp is not None:
            name = file.relative_to(root) if file != root else Path(file.name)
            stamps[str(name)] = stamp
    return stamps


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    names = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
    return ", ".join(name.replace("_", " ") for name in names)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """A kernel lock on one output; it dies with its process.

    Raises:
        LockedError: another process is writing this output.
    """
    path = output.with_name(f".{output.name}.lock")
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise LockedError(
            f"{output} is being written by another run. Wait for it to end."
        ) from None
    except OSError as error:
        raise publish.stopped(output, error) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
