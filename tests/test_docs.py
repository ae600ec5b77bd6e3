"""README, docs, .env.example and help never drift apart; `python docs/generate.py` writes them."""

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
import scene_files
from affine import Affine

from geosr.cli.settings import COMMANDS, DSEN2_KEYS
from geosr.models import registry

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import generate  # noqa: E402
from generate import ENV_EXAMPLE, commands, env_example, help_of, settings  # noqa: E402

README = ROOT / "README.md"
ADD_A_MODEL = ROOT / "docs/pages/add-a-model.md"
METHODS = ROOT / "docs/pages/methods.md"


@pytest.mark.parametrize("path", generate.texts(), ids=lambda path: path.stem)
def test_generated_parts_are_what_the_code_gives(path):
    text = path.read_text()
    assert text == generate.filled(text), "run python docs/generate.py"


def test_every_generated_part_is_shown_somewhere():
    shown = re.findall(
        r"^<!-- generated: (\S+) -->$",
        "\n".join(p.read_text() for p in generate.texts()),
        re.MULTILINE,
    )
    assert set(shown) == set(generate.PARTS)


def test_readme_can_be_read_at_one_sitting():
    assert len(README.read_text().splitlines()) <= 250


@pytest.mark.parametrize("path", generate.texts(), ids=lambda path: path.stem)
def test_links_between_files_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        assert "://" in target or (path.parent / target).exists(), target


def test_a_docstring_becomes_markdown():
    def area(width: float, height: float, *, unit: str = "m") -> float:
        """The area of a rectangle.

        Two lines
        of text.

        Args:
            width: of the bottom,
                in units.
            height, unit: the rest.

        Raises:
            ValueError: a side is negative.
        """

    module = types.ModuleType("module")
    module.area, module.__all__ = area, ["area"]
    text = generate.api_reference(module)
    assert "area(width: float, height: float, *, unit: str = 'm') -> float" in text
    assert "**Args**\n\n- `width`: of the bottom, in units.\n- `height`, `unit`: the rest." in text
    assert "**Raises**\n\n- `ValueError`: a side is negative." in text
    assert "| `WeightsError` | 6 |" in text


def test_env_example_lists_exactly_the_declared_variables():
    assert ENV_EXAMPLE.read_text() == env_example(), "run python docs/generate.py"
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
    block = re.search(
        r"<!-- a whole model -->\n```python\n(.*?)```", ADD_A_MODEL.read_text(), re.DOTALL
    )
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
    import numpy as np
    import rasterio

    scene_files.write_folder(tmp_path / "farmland", size=240, seed=0)
    for name in ("10m.tif", "20m.tif", "60m.tif"):
        with (
            rasterio.open(ROOT / "examples/scenes/farmland" / name) as bundled,
            rasterio.open(tmp_path / "farmland" / name) as fresh,
        ):
            np.testing.assert_allclose(bundled.read(), fresh.read(), atol=1)
            assert bundled.transform == fresh.transform


def test_methods_have_every_row_of_the_catalogue_once():
    rows = re.findall(r"^\| (14[\d., ]+) \|", METHODS.read_text(), re.MULTILINE)
    numbers = [number for row in rows for number in row.split(", ")]
    expected = [f"14.{part}.{i}" for part, last in ((1, 17), (2, 42), (3, 21))
                for i in range(1, last + 1)]  # fmt: skip
    assert sorted(numbers, key=expected.index) == expected


def test_commands_of_methods_are_there_with_their_options_and_nets():
    written = re.findall(r"`geosr (\w+)([^`]*)`", METHODS.read_text())
    assert len(written) > 40
    for name, rest in written:
        full = " ".join([name, *rest.split()[:1]])
        full = full if full in commands() else name
        known = {text for option in commands()[full].params for text in option.opts}
        assert set(re.findall(r"--[\w-]+", rest)) <= known, (name, rest)
        for model in re.findall(r"--model ([\w-]+)(?= |$)", rest):
            assert registry.known(model), model


def test_the_tests_of_the_fault_matrix_are_there():
    named = re.findall(
        r"`([^\s`]+\.py)::(test_\w+)`", (ROOT / "tests/faults/README.md").read_text()
    )
    assert len(named) > 100
    for path, name in named:
        assert f"def {name}(" in (ROOT / "tests" / path).read_text(), (path, name)
