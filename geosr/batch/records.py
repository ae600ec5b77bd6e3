"""What lies beside a finished output: its record, and while it is published its journal.

The record is the commit mark: small, written last, it says what the output was made of.
"Finished" is told by it, never by the output's existence.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geosr.batch import locks
from geosr.errors import LockedError, SceneError, StoppedError, UsageError, without_secrets
from geosr.raster import marks, publish
from geosr.raster.sidecars import sidecars

if TYPE_CHECKING:
    from geosr.scene.scene import Scene

SUFFIXES = (".tif", ".tiff", ".png")  # of outputs
FORMAT = 1
_LARGEST = 2**20  # bytes; a record takes a few thousand
_RECORD = re.compile(r"(?P<stem>.+)\.geosr(?:-(?P<kind>\w+))?\.json")


def record_path(output: Path) -> Path:
    """Where the record of an output lies: a.geosr.json of a.tif, a.geosr-png.json of a.png."""
    return output.with_name(f"{output.stem}.{_geosr(output)}.json")


def recorded_output(record: Path) -> Path | None:
    """The output that a record is of by its name; None where it is no record's name."""
    match = _RECORD.fullmatch(record.name)
    return match and record.with_name(f"{match['stem']}.{match['kind'] or 'tif'}")


def _geosr(output: Path) -> str:
    """The word in the names of what lies beside an output; outputs of one stem differ in it."""
    return "geosr" if output.suffix == ".tif" else f"geosr-{output.suffix[1:]}"


def load(output: Path) -> dict[str, Any] | None:
    """The output's record; None where there is none or it is no record."""
    own, shared = record_path(output), output.with_name(f"{output.stem}.geosr.json")
    if own == shared or os.path.lexists(own):
        record = _sound(own)
        return record if record and _is_of(record, output) else None
    record = _sound(shared)  # where it lay before outputs of one stem had a record each
    if record is None or "name" in record["output"] or not _is_of(record, output):
        return None
    return (
        record
        if stamp(output) == [record["output"]["size"], record["output"].get("mtime_ns")]
        else None
    )


def is_anothers(output: Path) -> bool:
    """Whether the record where this output's would lie is of one of another format."""
    record = _sound(record_path(output))
    return record is not None and not _is_of(record, output)


def _is_of(record: Mapping[str, Any], output: Path) -> bool:
    """Whether a record says it is of this output, or of this format, which all of them told."""
    made = record["output"].get("name")
    return (
        made == output.name
        if made
        else (record["recipe"].get("format") == "PNG") == (output.suffix.lower() == ".png")
    )


def _sound(path: Path) -> dict[str, Any] | None:
    record = read(path, _LARGEST)
    try:
        sound = (
            record["geosr_record"] == FORMAT
            and isinstance(record["recipe"], dict)
            and isinstance(record["inputs"], dict)
            and isinstance(record["output"]["size"], int)
        )
        return record if sound else None
    except (KeyError, TypeError, IndexError):
        return None


def require(output: Path) -> dict[str, Any]:
    """The record beside an output, for whoever cannot do without its source.

    Raises:
        UsageError: there is none that tells the source, or `output` is a folder.
    """
    if output.is_dir():
        raise UsageError(f"{output} is a folder. Name the outputs in it: {output}/*.tif")
    record = load(output) or {}
    try:
        record["source"]["path"], record["recipe"]["models"]
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"{output}: no record beside it tells what it was made of "
            f"({record_path(output)}). "
            "Give an output of geosr superres, or a file of geosr eval --json."
        ) from error
    return record


def write(output: Path, facts: Mapping[str, Any]) -> None:
    """Write the record of a finished output, whole: `facts` and what the file itself is.

    Args:
        facts: "inputs" (of `stamps`), "recipe", and whatever else is worth keeping.

    Raises:
        StoppedError: the disk is full or the folder is not writable.
    """
    stat = output.stat()
    made = {
        "name": output.name, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns,
        "sha256": sha256(output),
    }  # fmt: skip
    record = {"geosr_record": FORMAT, **facts, "output": made, "finished": publish.now()}
    publish.write_bytes(record_path(output), (json.dumps(record, indent=1) + "\n").encode())


def finished(
    scene: Scene,
    output: Path,
    recipe: Mapping[str, Any],
    *,
    overwrite: bool = False,
    strict: bool = False,
) -> bool:
    """Whether `output` is whole and made of this scene by this recipe.

    Args:
        overwrite: an output made otherwise is merely unfinished, not an error.
        strict: as for `stamps`; a record without the inputs' sha256 is then no proof.

    Raises:
        SceneError: the file is somebody else's, or was made in another way or of another scene.
    """
    for path in (output, journal_path(output)):
        if path.is_dir():
            raise SceneError(f"{path} is a folder where a file must go. Move it away.")
    if not os.path.lexists(output) or interrupted(output):
        _require_place_of_record(output, overwrite=overwrite)
        return False
    record = load(output)
    if record is None and not overwrite:
        raise SceneError(
            f"{output} exists and was not made by geosr (no record beside it): left alone. "
            "Move it away, or pass --overwrite."
        )
    if record is None:
        return False
    if record["recipe"] != recipe and not overwrite:
        raise SceneError(
            f"{output} was made with other settings "
            f"({differences(record['recipe'], recipe)}): left alone. "
            "Choose another DST, or pass --overwrite."
        )
    same = _same_inputs(record["inputs"], scene, strict=strict)
    other = None if same or overwrite else _other_source(record, scene)
    if other:
        raise SceneError(
            f"{output} was made of another scene of this name, {other}: left alone. "
            "Choose another DST, or pass --overwrite."
        )
    return (
        record["recipe"] == recipe
        and bool(record["output"]["size"] == output.stat().st_size)
        and same
    )


def _require_place_of_record(output: Path, *, overwrite: bool) -> None:
    """Whether nobody's file has the name of an output's record."""
    try:
        marks.require_replaceable(record_path(output), marks.RECORD, overwrite=overwrite)
    except UsageError as error:
        raise SceneError(str(error)) from error


def _other_source(record: Mapping[str, Any], scene: Scene) -> str | None:
    """The place of the scene that a record is of, where it is not this scene's."""
    told = record.get("source")
    place = told.get("path") if isinstance(told, dict) else None
    ours = without_secrets(os.path.realpath(scene.path))
    return place if isinstance(place, str) and os.path.realpath(place) != ours else None


def _same_inputs(recorded: Mapping[str, Any], scene: Scene, *, strict: bool) -> bool:
    """Size and time first, which cost nothing; the sha256 of files only where those agree."""
    if {name: _plain(entry) for name, entry in recorded.items()} != stamps(scene):
        return False
    return not strict or recorded == stamps(scene, strict=True)


def _plain(entry: Any) -> Any:
    """Size and time of a recorded input; they were a bare pair once."""
    if isinstance(entry, list) and len(entry) == 2:
        return {"size": entry[0], "mtime_ns": entry[1]}
    if isinstance(entry, dict):
        return {key: value for key, value in entry.items() if key != "sha256"}
    return entry


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """The settings in which two recipes differ, in words."""
    names = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
    return ", ".join(name.replace("_", " ") for name in names)


def stamps(scene: Scene, *, strict: bool = False) -> dict[str, dict[str, Any]]:
    """Size and modification time of every input file, by its place in the scene.

    Args:
        strict: the sha256 of every file too, which reads them whole.

    Raises:
        SceneError: a file cannot be read whole.
    """
    root = Path(scene.path)
    if "*" in root.name:  # a series by name in a folder of many
        root = root.parent
    found: dict[str, dict[str, Any]] = {}
    for file in inputs(scene):
        stamped = stamp(file)
        if stamped is not None:
            name = _place(file, root)
            found[name] = {"size": stamped[0], "mtime_ns": stamped[1]}
            if strict:
                found[name]["sha256"] = _sha256_of_input(file)
    return found


def inputs(scene: Scene) -> list[Path]:
    """Every file that can change what a scene's pixels are, or where they lie."""
    root = Path(scene.path)
    packed = root.is_file() and root.suffix.lower() == ".zip"
    files = [root] if packed else [Path(name) for name in (*scene.files, *scene.metadata)]
    if scene.vrt and not packed:
        from geosr.raster.files import sources  # whoever only reads records needs no GDAL

        files += [file for path in files for file in sources(path) if file not in files]
    return [file for path in files for file in (path, *sidecars(path))]


def _place(file: Path, root: Path) -> str:
    """A file's name in a record: its place in the scene, or beside the one file that it is."""
    base = root if root.is_dir() else root.parent
    return str(file.relative_to(base)) if file.is_relative_to(base) else str(file)


def stamp(path: Path) -> list[int] | None:
    """Size and modification time of a file, None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _sha256_of_input(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise SceneError(f"cannot read {path}: {error.strerror}. Check the file.") from error


def sha256(path: Path) -> str:
    """Of a file of any size, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path, largest: int) -> Any:
    """A JSON file's content; None where there is none, it is too large or no JSON."""
    try:
        if not path.is_file() or path.stat().st_size > largest:
            return None
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def journal_path(output: Path) -> Path:
    """Where the note lies that an output is about to be published."""
    return output.with_name(f".{output.stem}.{_geosr(output)}.begun")


@contextmanager
def journalled(output: Path) -> Iterator[Callable[[Path], None]]:
    """Gives a function that notes which temporary file is about to become `output`.

    Between the renaming of an output and its record lies an instant; killed there, the next run
    finds the note, knows the file for its own by size and time, which renaming keeps, and makes
    it again. No other file can match.
    """
    journal = journal_path(output)
    try:
        yield lambda part: publish.write_bytes(journal, json.dumps(stamp(part)).encode())
    except BaseException:
        if not interrupted(output):
            publish.discard(journal)
        raise
    publish.discard(journal)


def interrupted(output: Path) -> bool:
    """Whether `output` was published by a run that died before it wrote the record."""
    noted = read(journal_path(output), _LARGEST)
    if noted is None or noted != stamp(output):
        return False
    record = load(output)  # where it is of this very file, only the note is left over
    return record is None or record["output"].get("mtime_ns") != noted[1]


def tidy(outputs: Iterable[Path]) -> None:
    """Remove temporary files, locks and notes of these outputs that dead processes left."""
    outputs = list(outputs)
    for folder in {output.parent for output in outputs}:
        publish.sweep_parts(folder)
    for output in outputs:
        if locks.lock_path(output).exists():
            with suppress(LockedError, StoppedError, SceneError), locks.locked(output):
                pass  # leaving it removes it
        journal = journal_path(output)
        if not os.path.lexists(journal) or locks.is_locked(output):
            continue
        if load(output) is not None and not interrupted(output):
            publish.discard(journal)
