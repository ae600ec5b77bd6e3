"""How the plugin for QGIS finds geosr and runs it; QGIS itself is not needed for that."""

from __future__ import annotations

import ast
import configparser
import json
import sys
import time
from pathlib import Path

import pytest

import geosr
from geosr.qgis import program

PLUGIN = Path(geosr.__file__).parent / "qgis"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_lines_and_progress_are_told_apart():
    lines, progress = [], []
    code = "print('a: done'); print('progress: 3/12 a b'); print('progress: soon')"
    assert program.run(python(code), line=lines.append, progress=lambda *p: progress.append(p))
    assert lines == ["a: done", "progress: soon"]
    assert progress == [(3, 12, "a b")]


def test_geosr_says_its_progress_to_the_plugin(tmp_path):
    scene, progress = PLUGIN.parents[1] / "examples/scenes/farmland", []
    env = program.environment({"PATH": "", "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"})
    assert env["PATH"] == "" and "PYTHONHOME" not in env and "PYTHONPATH" not in env
    command = [sys.executable, "-m", "geosr", "superres", scene, tmp_path / "a.tif"]
    assert program.run([*map(str, command), "--model", "bicubic", "--tile-size", "120"],
                       env=env | {"PYTHONPATH": str(PLUGIN.parents[1])},
                       progress=lambda *p: progress.append(p))  # fmt: skip
    assert progress[0] == (1, 8, "farmland") and progress[-1] == (8, 8, "farmland")
    assert [done for done, _, _ in progress] == list(range(1, 9))
    assert (tmp_path / "a.tif").is_file()


@pytest.mark.parametrize("code, message", [
    ("print('x'); print('geosr: a: no such band'); print('0 done'); exit(4)", "a: no such band"),
    ("print('Usage: …'); print('Error: no option'); exit(2)", "no option"),
    ("raise ValueError('odd')", "ValueError: odd"),
    ("exit(7)", "geosr ended with code 7 and said nothing."),
])  # fmt: skip
def test_a_failure_is_told_in_geosrs_words(code, message):
    with pytest.raises(program.ProgramError) as error:
        program.run(python(code))
    assert str(error.value) == message


def test_what_geosr_calls_trouble_is_no_failure_where_it_succeeds():
    lines = []
    assert program.run(python("print('geosr: a: skipped')"), line=lines.append)
    assert lines == ["a: skipped"]


def test_cancelling_lets_the_process_clean_up_and_ends_it(tmp_path):
    mark = tmp_path / "mark"
    mark.touch()
    code = (
        "import pathlib, signal, sys, time\n"
        f"def end(*_): pathlib.Path({str(mark)!r}).unlink(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    lines: list[str] = []
    begun = time.monotonic()
    assert not program.run(python(code), line=lines.append, cancelled=lambda: bool(lines))
    assert not mark.exists() and time.monotonic() - begun < 50


def test_a_process_that_does_not_heed_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "_PATIENCE", 0.2)
    code = ("import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print(os.getpid(), flush=True); time.sleep(60)")  # fmt: skip
    lines: list[str] = []
    assert not program.run(python(code), line=lines.append, cancelled=lambda: bool(lines))
    assert not Path(f"/proc/{lines[0]}").exists()


def test_what_cannot_be_started_is_named(tmp_path):
    with pytest.raises(program.ProgramError, match=r"could not start .*/none.*Path of geosr"):
        program.run([str(tmp_path / "none")])


def test_the_setting_wins_then_the_installer_then_the_path(tmp_path, monkeypatch):
    own, noted, path = (tmp_path / name for name in ("own", "noted", "bin/geosr"))
    path.parent.mkdir()
    for file in (own, noted, path):
        file.touch(mode=0o755)
    beside = tmp_path / "program.json"
    beside.write_text(json.dumps([str(noted), "-m", "geosr"]))
    monkeypatch.setenv("PATH", str(path.parent))
    assert program.find(str(own), beside=beside) == [str(own)]
    assert program.find(beside=beside) == [str(noted), "-m", "geosr"]
    noted.unlink()
    assert program.find(beside=beside) == [str(path)]
    assert program.find(beside=tmp_path / "none") == [str(path)]


def test_without_geosr_the_next_step_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(program.ProgramError, match=r"no geosr on PATH.*pipx install geosr"):
        program.find(beside=tmp_path / "none")
    beside = tmp_path / "program.json"
    beside.write_text('["/gone/python", "-m", "geosr"]')
    with pytest.raises(program.ProgramError, match=r"/gone/python is gone, and there is no geosr"):
        program.find(beside=beside)
    with pytest.raises(program.ProgramError, match=r"/none is no file.*Options, Processing"):
        program.find(str(tmp_path / "none"))


@pytest.mark.parametrize("path", sorted(PLUGIN.glob("*.py")), ids=lambda path: path.stem)
def test_the_plugin_needs_no_more_than_qgis_has(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 9))  # of QGIS 3.22 on Windows
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
             for alias in node.names}  # fmt: skip
    named |= {node.module or "" for node in ast.walk(tree)
              if isinstance(node, ast.ImportFrom) and not node.level}  # fmt: skip
    known = {"qgis", "processing", "__future__", *sys.stdlib_module_names}
    assert {name.split(".")[0] for name in named} <= known


def test_the_metadata_are_those_of_this_version():
    metadata = configparser.ConfigParser()
    metadata.read(PLUGIN / "metadata.txt")
    general = metadata["general"]
    assert general["version"] == geosr.__version__
    assert general["hasProcessingProvider"] == "yes"
    wanted = ("name", "description", "about", "author", "email", "qgisMinimumVersion")
    assert all(general[key] for key in wanted)
    assert (PLUGIN / general["icon"]).is_file()
