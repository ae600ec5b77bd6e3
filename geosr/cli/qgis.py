"""`geosr qgis`."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from geosr.cli.console import say
from geosr.cli.options import PATH, option, overwrite_option
from geosr.errors import StoppedError, UsageError

FOLDER = "geosr_qgis"  # the plugin's name in QGIS; another than the package's, if that is there too
_SOURCE = Path(__file__).resolve().parents[1] / "qgis"
_INSTALLED_BY = "program.json"  # as geosr/qgis/program.py reads it
_METADATA = "metadata.txt"
_OURS = "[general]\nname=geosr\n"  # how our metadata begin
_MADE = (2026, 1, 1, 0, 0, 0)  # the same plugin is the same zip


@click.group("qgis")
def command() -> None:
    """The plugin for QGIS: install it, or pack it for QGIS's plugin manager.

    \b
    geosr qgis install
    geosr qgis zip geosr_qgis.zip

    Its Processing algorithms Super-resolve, Sharpen by a guide and Evaluate run this geosr as a
    process of its own; QGIS itself gets no PyTorch.
    """


@command.command("install")
@option("--profile", default="default", help="QGIS's profile that gets it.")
@option("--target", type=PATH, metavar="DIR",
        help="Folder of QGIS plugins that gets it, instead of a profile's.")  # fmt: skip
def install(profile: str, target: Path | None) -> None:
    """Put the plugin into a profile of QGIS, where an older one is replaced.

    \b
    geosr qgis install
    geosr qgis install --profile work

    It remembers where this geosr is. Turn it on in QGIS: Plugins, Manage and Install Plugins,
    Installed, geosr; or qgis_process plugins enable geosr_qgis.
    """
    place = (target or _plugins_of(profile)) / FOLDER
    command = json.dumps([sys.executable, "-P", "-m", "geosr"])
    _replace(place, {**_files(), _INSTALLED_BY: command.encode()})
    say(f"{place}: installed. Turn it on in QGIS: Plugins, Manage and Install Plugins, Installed, "
        f"geosr; or: qgis_process plugins enable {FOLDER}")  # fmt: skip


@command.command("zip")
@click.argument("file", type=PATH)
@overwrite_option("any file at FILE, whoever made it")
def pack(file: Path, *, overwrite: bool) -> None:
    """Pack the plugin for QGIS's plugin manager: Plugins, Install from ZIP.

    \b
    geosr qgis zip geosr_qgis.zip

    It finds geosr on the PATH, or by its setting "Path of geosr".
    """
    import zipfile

    from geosr.raster import marks, publish

    marks.require_place(file, marks.PLUGIN, overwrite=overwrite)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.comment = marks.PLUGIN
        for name, content in _files().items():
            entry = zipfile.ZipInfo(f"{FOLDER}/{name}", _MADE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)
    publish.write_bytes(file, data.getvalue())
    say(f"{file}: install it in QGIS: Plugins, Manage and Install Plugins, Install from ZIP.")


def _files() -> dict[str, bytes]:
    """The plugin's files by name, and the licence, which QGIS's repository asks for."""
    found = {path.name: path.read_bytes() for path in sorted(_SOURCE.iterdir()) if path.is_file()}
    licence = _SOURCE.parents[1] / "LICENSE"  # of a source tree; a wheel has it among the files
    return found | ({"LICENSE": licence.read_bytes()} if licence.is_file() else {})


def _plugins_of(profile: str) -> Path:
    """The folder of plugins in a profile of QGIS.

    Raises:
        UsageError: there is no such profile.
    """
    homes = list(_homes())
    known = sorted({path.name for home in homes for path in home.glob("*") if path.is_dir()})
    for home in homes:
        if profile in known and (home / profile).is_dir():
            return home / profile / "python/plugins"
    looked = " and ".join(map(str, homes))
    said = f"profiles there: {', '.join(known)}" if known else "there is none; start QGIS once"
    raise UsageError(f"QGIS has no profile '{profile}' in {looked} ({said}). Give --profile, or "
                     "--target, the folder of plugins itself.")  # fmt: skip


def _homes() -> Iterator[Path]:
    """Where QGIS keeps profiles on this system."""
    given = os.environ.get("QGIS_CUSTOM_CONFIG_PATH")
    if given:
        yield Path(given) / "profiles"
    elif sys.platform == "win32":
        yield Path(os.environ["APPDATA"]) / "QGIS/QGIS3/profiles"
    elif sys.platform == "darwin":
        yield Path.home() / "Library/Application Support/QGIS/QGIS3/profiles"
    else:
        data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
        yield Path(data) / "QGIS/QGIS3/profiles"


def _replace(place: Path, files: dict[str, bytes]) -> None:
    """Write the plugin's folder whole or not at all; an older one goes once the new one is whole.

    Raises:
        UsageError: something else has this name.
        StoppedError: it cannot be written.
    """
    import tempfile

    if os.path.lexists(place) and not _is_ours(place):
        raise UsageError(
            f"{place} is there already, and is no plugin of geosr: left alone. Move it away, or "
            "give another --target."
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{FOLDER}.", dir=place.parent) as scratch:
            new = Path(scratch) / "new"
            new.mkdir()
            for name, content in files.items():
                (new / name).write_bytes(content)
            if place.is_dir():
                place.rename(Path(scratch) / "old")
            new.rename(place)
    except OSError as error:
        raise StoppedError(
            f"could not write {place}: {error.strerror}. Free some space or make the folder "
            "writable, then run the same command again."
        ) from error


def _is_ours(place: Path) -> bool:
    try:
        return (place / _METADATA).read_text(encoding="utf-8").startswith(_OURS)
    except (OSError, UnicodeDecodeError):
        return False
