"""Ways to install geosr: what they name is what pyproject.toml declares."""

import re
import tomllib
from pathlib import Path

import pytest

from geosr.bench import doctor

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPE = ROOT / "examples/conda/recipe.yaml"
DOCKERFILE = ROOT / "examples/docker/Dockerfile"
_BY_CONDA = {"torch": "pytorch"}
_OF_CONDA = {"python", "libgdal-jp2openjpeg", "libgdal-hdf5"}  # of no use to pip


def bounds(requirements: list[str]) -> dict[str, str]:
    """Versions by name."""
    pairs = [re.fullmatch(r"([\w.-]+?) *([<>=~!][^ ]*)?", each) for each in requirements]
    return {match[1]: match[2] or "" for match in pairs if match}


DECLARED = bounds(PROJECT["dependencies"])


def recipe() -> dict:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(RECIPE.read_text())


def test_the_conda_recipe_needs_what_the_package_needs():
    told = recipe()
    run = bounds(told["requirements"]["run"])
    assert run["python"] == PROJECT["requires-python"]
    ours = {_BY_CONDA.get(name, name): version for name, version in DECLARED.items()}
    assert {name: run[name] for name in run if name not in _OF_CONDA} == ours
    assert told["context"]["version"] == PROJECT["version"]
    scripts = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert told["build"]["python"]["entry_points"] == scripts


def test_the_conda_recipe_renders():
    rattler = pytest.importorskip("rattler_build")
    (variant,) = rattler.Stage0Recipe.from_file(str(RECIPE)).render()
    assert "geosr" in repr(variant)


def test_the_dockerfile_copies_what_is_there_and_ends_with_the_stage_for_cpus():
    text = DOCKERFILE.read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    assert all((ROOT / name).exists() for line in copied for name in line.split())
    stages = re.findall(r"^FROM \S+ AS (\w+)$", text, re.MULTILINE)
    assert stages == ["wheel", "base", "cuda", "cpu"]
    torch = set(re.findall(r'"torch(\S+)"', text))
    assert torch == {DECLARED["torch"]}
    extras = set(re.findall(r"\[([\w,]+)\]\"", text))
    assert all(set(each.split(",")) <= set(PROJECT["optional-dependencies"]) for each in extras)
    python = re.search(r"^ARG PYTHON=3\.(\d+)$", text, re.MULTILINE)
    assert python and int(python[1]) >= 11


def test_the_doctor_knows_every_extra_that_a_user_may_want():
    declared = PROJECT["optional-dependencies"]
    wanted = set(declared) - {"test", "dev", "docs"}
    assert set(doctor.EXTRAS) == wanted
    for name, (distributions, _) in doctor.EXTRAS.items():
        assert set(distributions) <= set(bounds(declared[name]))


def test_the_doctor_says_which_extras_are_there(geosr, monkeypatch):
    versions = {"pystac": "1.15.2"}

    def version(name: str) -> str:
        if name in versions:
            return versions[name]
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    said = {finding.name: finding for finding in doctor._extras()}
    assert said["extra stac"].message == "pystac 1.15.2: superres --stac"
    assert "pip install 'geosr[onnx]'" in said["extra onnx"].message
    assert {finding.level for finding in said.values()} == {doctor.OK}


def test_pages_say_how_to_install_by_each_way():
    page = (ROOT / "docs/pages/index.md").read_text()
    for words in ("pipx run", "uv tool install", "examples/conda", "examples/docker"):
        assert words in page
    for name in doctor.EXTRAS:
        assert f"geosr[{name}]" in page
