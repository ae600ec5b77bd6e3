"""Write everything in README, docs/ and weights/README.md that is generated; .env.example too.

    python docs/generate.py

A generated part stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->`, in any of
the files of `texts`. What NAME gives is a function of this file, listed in `PARTS`. A test fails
where a part differs from what its function gives.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/benchmarks")]

from speed import table as bench  # noqa: E402

import geosr  # noqa: E402
from geosr import errors  # noqa: E402
from geosr.cli.main import cli  # noqa: E402
from geosr.cli.models import describe  # noqa: E402
from geosr.models.card import ANY_SCALE  # noqa: E402
from geosr.models.registry import DESIGNS  # noqa: E402

ENV_EXAMPLE = ROOT / ".env.example"
ON_TOP = ("IMAGES_PATH", "SR_IMAGES_PATH")  # settings that .env.example begins with
TASKS = {
    "sentinel2": "Sentinel-2: fine bands guide the coarse ones",
    "pair": "Landsat, and any raster with a finer guide",
    "image": "Any raster, one image",
    "series": "Any raster, several images of one place",
    "spectral": "Sentinel-2: few bands tell the others",
    "fits": "Any raster, one image, no training data: the net learns on the image itself",
    "change": "Two dates of one place: what changed",
}
_PART = re.compile(
    r"(?P<head><!-- generated: (?P<name>\S+) -->\n).*?(?P<tail><!-- end of (?P=name) -->)",
    re.DOTALL,
)
_SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")


def commands() -> dict[str, click.Command]:
    """Every command by its full name, "weights list" for those of a group."""
    context = click.Context(cli)
    names = cli.list_commands(context)
    return dict(pair for name in names for pair in _leaves(name, cli.get_command(context, name)))


def _leaves(name: str, command: click.Command | None) -> Iterator[tuple[str, click.Command]]:
    if command and not isinstance(command, click.Group):
        yield name, command
    for key, inner in getattr(command, "commands", {}).items():
        yield from _leaves(f"{name} {key}", inner)


def help_of(name: str) -> str:
    """What `geosr NAME --help` prints on a terminal of 98 columns."""
    context = click.Context(commands()[name], info_name=f"geosr {name}", max_content_width=98,
                            terminal_width=98, help_option_names=["-h", "--help"])  # fmt: skip
    return context.get_help()


def command_reference() -> str:
    """The help of every command, under a heading of its own."""
    return "".join(f"## geosr {name}\n\n```text\n{help_of(name)}\n```\n\n" for name in commands())


def settings() -> dict[str, tuple[str, str]]:
    """Every declared variable with the option it stands for and its default."""
    found: dict[str, tuple[str, str]] = {}
    for command in commands().values():
        for param in command.params:
            names = [param.envvar] if isinstance(param.envvar, str) else param.envvar or []
            for name in names:
                long = [opt for opt in param.opts if opt.startswith("--")]
                option = long[0] if long else str(param.name).upper()
                default = param.default
                plain = isinstance(default, str | int | float) and not isinstance(default, bool)
                found.setdefault(name, (option, str(default) if plain else ""))
    return found


def env_example() -> str:
    """The text of .env.example."""
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
        f"# {option}\n#{name}={default}"
        for name, (option, default) in settings().items()
        if name not in ON_TOP
    ]
    return "\n".join(lines) + "\n"


def model_tables() -> str:
    """Every net of the registry, by task."""
    return "\n".join(f"## {title}\n\n{_model_table(task)}" for task, title in TASKS.items())


def _model_table(task: str) -> str:
    rows = [
        "| name | scales | parameters | tiles | weights | source |",
        "|---|---|---|---|---|---|",
    ]
    rows += [_model_row(design) for design in DESIGNS.values() if _group(design) == task]
    return "\n".join(rows) + "\n"


def _group(design: Any) -> str:
    """The table that a net stands in: by what it does beside others of its scenes, else by them."""
    return design.task if design.task in TASKS else str(design.card().scenes)


def _model_row(design: Any) -> str:
    told = describe(design)
    weights = f"bundled × {told['scale']}" if told["shipped"] else "train your own"
    if told["shipped"] and told["scale"] not in design.reach:
        weights = "bundled"
    names = ", ".join(f"`{name}`" for name in (design.name, *design.aliases))
    cells = (
        names, _scales(design, told["scale"]), f"{told['parameters']:,}",
        "blended" if design.blend else f"exact, {told['margin']} px",
        "learns on each scene" if design.task == "fits"
        else weights if told["parameters"] else "needs none", design.source,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _scales(design: Any, default: int) -> str:
    """The scales on offer, the default one bold."""
    listed = sorted(scale for scale in design.reach if scale != ANY_SCALE)
    if ANY_SCALE in design.reach and default not in listed:
        listed.append(default)
    said = [f"**{scale}**" if scale == default else str(scale) for scale in listed]
    return ", ".join([*said, *(["any"] if ANY_SCALE in design.reach else [])])


def names_by_task() -> str:
    """The names of all nets, one row a task."""
    rows = ["| task | nets |", "|---|---|"]
    for task, title in TASKS.items():
        names = (f"`{d.name}`" for d in DESIGNS.values() if _group(d) == task)
        rows.append(f"| {title} | {' '.join(names)} |")
    return "\n".join(rows) + "\n"


def weights_table() -> str:
    """The bundled files, by the manifest."""
    entries = json.loads((ROOT / "weights/manifest.json").read_text())["weights"]
    rows = ["| file | net | parameters | sha256 |", "|---|---|---|---|"]
    rows += [
        f"| `{e['file']}` | {e['architecture']} | {e['parameters']:,} | `{e['sha256'][:16]}…` |"
        for e in entries
    ]
    return "\n".join(rows) + "\n"


def api_reference(module: ModuleType = geosr) -> str:
    """Signature and docstring of every public name, then the exceptions."""
    names = [name for name in getattr(module, "__all__", ()) if not name.startswith("_")]
    entries = [_entry(name, getattr(module, name)) for name in names]
    return "\n".join([*entries, _exceptions()])


def _entry(name: str, thing: Any) -> str:
    if isinstance(thing, ModuleType):
        return f"## {name}\n\n{docstring(thing)}\n"
    head = f"class {name}" if inspect.isclass(thing) else name
    return f"## {name}\n\n```py\n{_signature(head, thing)}\n```\n\n{docstring(thing)}\n"


def _signature(head: str, thing: Any) -> str:
    """A call on one line where it fits, else one parameter a line."""
    sign = inspect.signature(thing)
    params = []
    star = False
    for param in sign.parameters.values():
        if param.kind is param.KEYWORD_ONLY and not star:
            params.append("*")
        star = star or param.kind in (param.KEYWORD_ONLY, param.VAR_POSITIONAL)
        params.append(_parameter(param))
    plain = sign.return_annotation is sign.empty or inspect.isclass(thing)
    back = "" if plain else f" -> {_annotation(sign.return_annotation)}"
    line = f"{head}({', '.join(params)}){back}"
    if len(line) <= 88:
        return line
    return f"{head}(\n" + "".join(f"    {param},\n" for param in params) + f"){back}"


def _parameter(param: inspect.Parameter) -> str:
    stars = {param.VAR_POSITIONAL: "*", param.VAR_KEYWORD: "**"}.get(param.kind, "")
    text = f"{stars}{param.name}"
    typed = param.annotation is not param.empty
    if typed:
        text += f": {_annotation(param.annotation)}"
    if param.default is not param.empty:
        value = repr(param.default)
        value = "…" if " at 0x" in value or value.startswith("<") else value
        text += f" = {value}" if typed else f"={value}"
    return text


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def docstring(thing: Any) -> str:
    """A docstring with Google sections as Markdown."""
    blocks = []
    for block in re.split(r"\n\n(?=\S)", inspect.getdoc(thing) or ""):
        head, _, body = block.partition("\n")
        known = head.endswith(":") and head[:-1] in _SECTIONS
        blocks.append(f"**{head[:-1]}**\n\n{_section(body)}" if known else block)
    return "\n\n".join(blocks)


def _section(body: str) -> str:
    """Items `name: text` as a list; a plain paragraph as it is."""
    lines = inspect.cleandoc(body).splitlines()
    items: list[str] = []
    for line in lines:
        named = re.match(r"([\w.*, ]+?)(?: \(.*?\))?: (.*)", line)
        if named and not line.startswith(" "):
            keys = ", ".join(f"`{key.strip()}`" for key in named[1].split(","))
            items.append(f"- {keys}: {named[2]}")
        elif items:
            items[-1] += f" {line.strip()}"
        else:
            return "\n".join(lines)
    return "\n".join(items)


def _exceptions() -> str:
    rows = ["## Exceptions", "", "All of them are in `geosr.errors`.", "",
            "| exception | exit code of the command | meaning |", "|---|---|---|"]  # fmt: skip
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.GeosrError):
            rows.append(f"| `{name}` | {kind.exit_code} | {docstring(kind).splitlines()[0]} |")
    return "\n".join(rows) + "\n"


PARTS: dict[str, Callable[[], str]] = {
    "commands": command_reference,
    "models": model_tables,
    "names": names_by_task,
    "weights": weights_table,
    "api": api_reference,
    "bench": lambda: bench() + "\n",
}


def texts() -> list[Path]:
    """The files that may hold generated parts."""
    pages = sorted((ROOT / "docs/pages").rglob("*.md"))
    return [ROOT / "README.md", ROOT / "weights/README.md", *pages]


def filled(text: str) -> str:
    """A text with all its generated parts made anew."""
    return _PART.sub(
        lambda part: f"{part['head']}\n{PARTS[part['name']]().strip()}\n\n{part['tail']}", text
    )


def main() -> None:
    """Rewrite every file whose generated parts have changed, and name it."""
    wanted = {path: filled(path.read_text()) for path in texts()} | {ENV_EXAMPLE: env_example()}
    for path, text in wanted.items():
        if path.read_text() != text:
            path.write_text(text)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
