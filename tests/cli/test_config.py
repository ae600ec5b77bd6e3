"""Where settings come from, and completion of commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import settings

from geosr.cli.settings import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def shown(done) -> dict[tuple[str, str], tuple[object, str, str]]:
    assert done.returncode == 0, done.stderr
    return {
        (row["command"], row["option"]): (row["value"], row["source"], row["variable"])
        for row in json.loads(done.stdout)["settings"]
    }


def test_every_option_of_every_command_is_shown_with_its_default(geosr):
    found = shown(geosr("config", "show", "--json"))
    assert {command.split()[0] for command, _ in found} == set(COMMANDS) - {"completion"}
    assert found["kelvins submit", "--output"] == (None, "default", "GEOSR_OUTPUT")
    assert found["superres", "--tile-size"] == ("auto", "default", "GEOSR_TILE_SIZE")
    assert found["superres", "DST"] == (None, "default", "GEOSR_DST")
    assert found["superres", "--only-sr"][0] is False
    assert {source for _, source, _ in found.values()} == {"default"}


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(geosr, tmp_path):
    (tmp_path / ".env").write_text(
        "GEOSR_TILE_SIZE=36\nGEOSR_MODEL=bicubic\nSR_IMAGES_PATH=out\nGEOSR_OVERLAP=\n"
    )
    env = {"GEOSR_TILE_SIZE": "48"}
    found = shown(geosr("config", "show", "superres", "--json", env=env))
    assert {command for command, _ in found} == {"superres"}
    assert found["superres", "--tile-size"] == ("48", "environment", "GEOSR_TILE_SIZE")
    assert found["superres", "--model"] == ("bicubic", ".env", "GEOSR_MODEL")
    assert found["superres", "DST"] == ("out", ".env", "SR_IMAGES_PATH")
    assert found["superres", "--overlap"][:2] == ("auto", "default")
    text = geosr("config", "show", "superres", env=env).stdout
    (line,) = (line for line in text.splitlines() if "--tile-size" in line)
    assert line.split() == ["--tile-size", "48", "environment:", "GEOSR_TILE_SIZE"]


def test_the_file_given_by_env_file_is_named(geosr, tmp_path):
    (tmp_path / "my.env").write_text("GEOSR_SCALE=4\n")
    found = shown(geosr("--env-file", "my.env", "config", "show", "models", "--json"))
    assert found["models", "--scale"] == ("4", "my.env", "GEOSR_SCALE")
    found = shown(geosr("config", "show", "models", "--json", env={"GEOSR_ENV_FILE": "my.env"}))
    assert found["models", "--scale"][1] == "my.env"


def test_a_value_that_no_command_would_take_is_shown(geosr):
    found = shown(geosr("config", "show", "--json", env={"GEOSR_TILE_SIZE": "many"}))
    assert found["superres", "--tile-size"][0] == "many"


def test_unknown_keys_are_named_with_the_nearest_known_one(geosr, tmp_path):
    (tmp_path / ".env").write_text("GEOSR_MODELL=bicubic\nSOMETHING_ELSE=1\nGEOSR_QUIET=1\n")
    env = {"GEOSR_TILESIZE": "4", "GEOSR_XQZW": "1"}
    done = geosr("config", "show", "--json", env=env)
    found = {odd["name"]: (odd["source"], odd["nearest"])
             for odd in json.loads(done.stdout)["unknown"]}  # fmt: skip
    assert found == {
        "GEOSR_TILESIZE": ("environment", "GEOSR_TILE_SIZE"),
        "GEOSR_XQZW": ("environment", found["GEOSR_XQZW"][1]),
        "GEOSR_MODELL": (".env", "GEOSR_MODEL"),
    }
    assert "GEOSR_TILESIZE (environment) is no setting" in done.stderr
    assert "Did you mean GEOSR_TILE_SIZE?" in done.stderr


def test_what_urls_may_hide_is_masked(geosr):
    env = {"GEOSR_SRC": "https://me:secret@host/x.tif?token=secret", "GEOSR_PATTERN": "a?b*"}
    done = geosr("config", "show", "superres", "--json", env=env)
    found = shown(done)
    assert found["superres", "SRC"][0] == "https://***@host/x.tif?***"
    assert found["superres", "--pattern"][0] == "a?b*"
    assert "secret" not in done.stdout


def test_an_unknown_command_gets_a_suggestion(geosr):
    done = geosr("config", "show", "superes")
    assert done.returncode == 2 and "Did you mean 'superres'?" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell_and_writes_nothing(geosr, tmp_path, shell):
    done = geosr("completion", shell)
    assert done.returncode == 0
    assert "_GEOSR_COMPLETE" in done.stdout and f"{shell}_complete" in done.stdout
    assert not list(tmp_path.iterdir())
    assert geosr("completion", "csh").returncode == 2


@pytest.mark.parametrize(
    "words, expected",
    [("geosr supe", "superres"), ("geosr config ", "show"), ("geosr verify --js", "--json")],
)
def test_the_program_answers_what_the_script_asks(words, expected):
    env = {"_GEOSR_COMPLETE": "bash_complete", "COMP_WORDS": words,
           "COMP_CWORD": str(words.count(" "))}  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "geosr"], env=settings(env), cwd=ROOT,
                          capture_output=True, text=True)  # fmt: skip
    assert f"plain,{expected}" in done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("args", [["config", "show"], ["completion", "fish"], ["status", "."]])
def test_commands_that_read_no_raster_load_neither_torch_nor_rasterio(args):
    code = (
        f"import sys; from geosr.cli.main import cli; cli({args}, standalone_mode=False); "
        "assert not {'torch', 'rasterio', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                          env=settings({}))  # fmt: skip
    assert done.returncode == 0, done.stderr
