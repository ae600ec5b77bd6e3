"""README, .env.example and help never drift apart; `python tests/test_docs.py` rewrites them."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from pathlib import Path

import click
import numpy as np
import pytest
import rasterio
from affine import Affine

from geosr.cli.main import cli
from geosr.cli.settings import COMMANDS, DSEN2_KEYS, leaves
from geosr.models import registry

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/benchmarks"))
from speed import readme_with_table  # noqa: E402

README = ROOT / "README.md"
ENV_EXAMPLE = ROOT / ".env.example"


def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    found = (leaf for name in COMMANDS for leaf in leaves(name, cli.get_command(context, name)))
    return dict(found)


def help_of(name: str) -> str:
    context = click.Context(commands()[name], info_name=f"geosr {name}", max_content_width=98,
                            terminal_width=98, help_option_names=["-h", "--help"])  # fmt: skip
    return context.get_help()


def settings() -> dict[str, tuple[str, str]]:
    """Every declared variable with the option it stands for and its default."""
    found: dict[str, tuple[str, str]] = {}
    for command in commands().values():
        for param in command.params:
            names = [param.envvar] if isinstance(param.envvar, str) else param.envvar or []
            for name in names:
                long = [opt for opt in param.opts if opt.startswith("--")]
                shown = long[0] if long else str(param.name).upper()
                default = param.default
                plain = isinstance(default, str | int | float) and not isinstance(default, bool)
                found.setdefault(name, (shown, str(default) if plain else ""))
    return found


def env_example() -> str:
    lines = [
        "# Settings of geosr: copy to .env in the folder you work in, and uncomment what you need.",
        "# The command line wins over the environment, the environment over this file.",
        "",
        "# The main job without arguments: geosr superres",
        "IMAGES_PATH=scenes",
        "SR_IMAGES_PATH=out",
        "",
    ]
    lines += [
        f"# {shown}\n#{name}={default}"
        for name, (shown, default) in settings().items()
        if name not in ("IMAGES_PATH", "SR_IMAGES_PATH")
    ]
    return "\n".join(lines) + "\n"


def readme_with_help(text: str) -> str:
    blocks = "".join(
        f"<details><summary>geosr {name}</summary>\n\n```text\n{help_of(name)}\n```\n</details>\n"
        for name in commands()
    )
    before, rest = text.split("<!-- commands -->\n")
    return (
        before + "<!-- commands -->\n" + blocks + "<!-- end -->" + rest.split("<!-- end -->", 1)[1]
    )


def test_readme_shows_the_help_as_it_is():
    text = README.read_text()
    assert text == readme_with_help(text), "run python tests/test_docs.py"


def test_readme_shows_what_bench_told():
    text = README.read_text()
    assert text == readme_with_table(text), "run python tests/benchmarks/speed.py --table"


def test_env_example_lists_exactly_the_declared_variables():
    assert ENV_EXAMPLE.read_text() == env_example(), "run python tests/test_docs.py"
    assert set(DSEN2_KEYS) <= set(settings())


def test_every_command_help_is_short_has_an_example_and_documents_every_option():
    for name, command in commands().items():
        text = help_of(name)
        assert len(text.splitlines()) <= 160
        before_options = re.split(r"^(?:Options|Main options):$", text, flags=re.MULTILINE)[0]
        assert name == "info" or f"geosr {name}" in before_options.split("\n", 1)[1]
        for param in command.params:
            if isinstance(param, click.Option):
                assert param.help, f"{name} {param.opts}"


@pytest.mark.parametrize("name", COMMANDS)
def test_readme_names_every_command(name):
    assert f"geosr {name}" in README.read_text()


def test_the_python_example_does_what_the_command_does(geosr, tmp_path):
    scene = ROOT / "examples/scenes/farmland"
    script = ROOT / "examples/superres.py"
    done = subprocess.run([sys.executable, script, scene, tmp_path / "python.tif"],
                          capture_output=True, text=True, cwd=ROOT,
                          env={"PYTHONPATH": str(ROOT), "PATH": ""})  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = geosr("superres", scene, "shell.tif")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "python.tif").read_bytes() == (tmp_path / "shell.tif").read_bytes()


def test_the_guide_adds_a_model_that_trains_and_runs(geosr, tmp_path, monkeypatch):
    block = re.search(r"<!-- a whole model -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert block
    tiny = types.ModuleType("tiny")
    exec(block[1], tiny.__dict__)
    for design in tiny.DESIGNS:  # what naming it in _MODULES does
        monkeypatch.setitem(registry.DESIGNS, design.name, design)
        monkeypatch.setitem(registry._BUILDERS, design.arch, design.build)
    card = registry.design("tiny").card()
    assert registry.measured(card).margin == card.margin
    image = np.random.default_rng(0).integers(0, 255, (1, 48, 40)).astype(np.uint8)
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        with rasterio.open(tmp_path / f"images/{name}.tif", "w", driver="GTiff", width=40,
                           height=48, count=1, dtype="uint8", crs="EPSG:32633",
                           transform=Affine(10, 0, 5e5, 0, -10, 5e6)) as file:  # fmt: skip
            file.write(image)
    done = geosr("train", "--model", "tiny", "--data", "images", "--out", "run", "--steps", 2,
                 "--patch", 16, "--batch-size", 2)  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = geosr("superres", "images", "out", "--model", "run/best.safetensors")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "out/a.tif") as file:
        assert file.shape == (96, 80) and file.transform.a == 5


def test_the_bundled_scene_is_what_the_generator_writes(tmp_path):
    import make_scene
    import numpy as np
    import rasterio

    make_scene.write_folder(tmp_path / "farmland", size=240, seed=0)
    for name in ("10m.tif", "20m.tif", "60m.tif"):
        with (
            rasterio.open(ROOT / "examples/scenes/farmland" / name) as bundled,
            rasterio.open(tmp_path / "farmland" / name) as fresh,
        ):
            np.testing.assert_allclose(bundled.read(), fresh.read(), atol=1)
            assert bundled.transform == fresh.transform


if __name__ == "__main__":
    ENV_EXAMPLE.write_text(env_example())
    README.write_text(readme_with_help(README.read_text()))
