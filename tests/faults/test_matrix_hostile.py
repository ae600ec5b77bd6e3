"""Hostile data, settings and surroundings that no other file tries, and a fuzz of 2,000 mutants."""

import http.server
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import scene_files
from click.testing import CliRunner
from conftest import ROOT, settings
from faulty import BICUBIC, fails, left, snapshot

from geosr.cli.main import cli

SECRET = "s3cret-of-another"
MUTANTS = 2_000
PER_CHILD = 50
CODES = {0, 2, 3, 4, 5, 6, 11}


@dataclass
class Server:
    """A loop-back server of the current folder that notes what it is asked for."""

    port: int
    hits: list[str] = field(default_factory=list)


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            found.hits.append(self.path)
            super().do_GET()

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    def handler(*args):
        return Handler(*args, directory=str(tmp_path))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        found = Server(running.server_port)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield found
        running.shutdown()


@pytest.fixture
def stack(tmp_path) -> Path:
    """A stack of 12 pixels."""
    return scene_files.write_stack(tmp_path / "in/a.tif", size=12)


# files that name other files


def vrt(source: str, *, raw: bool = False, bands: int = 12) -> str:
    """A VRT of 12 × 12 pixels that shows another file's bytes, or another raster."""
    if raw:
        kind, said = (
            ' subClass="VRTRawRasterBand"',
            (
                f'<SourceFilename relativetoVRT="0">{source}</SourceFilename><ImageOffset>0'
                "</ImageOffset><PixelOffset>1</PixelOffset><LineOffset>12</LineOffset>"
            ),
        )
    else:
        kind, said = (
            "",
            (
                f"<SimpleSource><SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand>"
                "</SimpleSource>"
            ),
        )
    body = "".join(
        f'<VRTRasterBand dataType="Byte" band="{i + 1}"{kind}>{said}</VRTRasterBand>'
        for i in range(bands)
    )
    return f'<VRTDataset rasterXSize="12" rasterYSize="12">{body}</VRTDataset>'


@pytest.fixture
def secret(tmp_path) -> Path:
    path = tmp_path / "private/secret"
    path.parent.mkdir()
    path.write_text((SECRET + " ") * 20)
    return path


def shows(folder: Path, path: Path) -> bool:
    """Whether outputs hold the bytes of a file, as they are or as counts of 16 bits."""
    from rasterio import open as open_raster

    start = path.read_bytes()[:12]
    for made in folder.rglob("*"):
        if made.is_file() and SECRET.encode() in made.read_bytes():
            return True
        if made.suffix == ".tif":
            with open_raster(made) as dataset:
                if any(bytes(band[0].astype("u1")) == start for band in dataset.read()):
                    return True
    return False


@pytest.mark.parametrize("before", ["", "\n", "<!-- " + "x" * 600 + " -->", "\ufeff"])
@pytest.mark.parametrize("name", ["a.tif", "a/20m.tif", "a/B02.jp2"])
def test_raw_vrts_in_disguise_show_nobodys_bytes(geosr, tmp_path, secret, before, name):
    path = tmp_path / "in" / name
    path.parent.mkdir(parents=True)
    path.write_text(before + vrt(str(secret), raw=True))
    done = geosr("superres", "in", "out", *BICUBIC, "--log-file", "log")
    assert done.returncode == 4, done.stderr
    assert SECRET not in done.stderr + (tmp_path / "log").read_text()
    assert left(tmp_path / "out") == []


def test_an_allowed_raw_vrt_shows_nobodys_bytes(program, tmp_path, secret):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.tif").write_text(vrt(str(secret), raw=True))
    program("superres", "in/a.tif", "out", *BICUBIC, "--allow-vrt")
    assert not shows(tmp_path / "out", secret)


def test_code_in_an_allowed_vrt_never_runs(program, stack, tmp_path):
    code = f"def f(*a, **k): open({str(tmp_path / 'ran')!r}, 'w')"
    band = (
        '<VRTRasterBand dataType="UInt16" band="{}" subClass="VRTDerivedRasterBand">'
        "<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python"
        f"</PixelFunctionLanguage><PixelFunctionCode>{code}</PixelFunctionCode>"
        f"<SimpleSource><SourceFilename>{stack}</SourceFilename></SimpleSource></VRTRasterBand>"
    )
    bands = "".join(band.format(i + 1) for i in range(12))
    (tmp_path / "in/b.tif").write_text(
        f'<VRTDataset rasterXSize="12" rasterYSize="12">{bands}</VRTDataset>'
    )
    env = {"GDAL_VRT_ENABLE_PYTHON": "YES"}
    program("superres", "in/b.tif", "out", *BICUBIC, "--allow-vrt", env=env)
    assert not (tmp_path / "ran").exists()


def callers(address: str) -> dict[str, str]:
    """Files that make GDAL call an address, by name."""
    wms = (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{address}/${{z}}/${{x}}/${{y}}.png</ServerUrl>'
        "</Service><DataWindow><UpperLeftX>0</UpperLeftX><UpperLeftY>12</UpperLeftY><LowerRightX>"
        "12</LowerRightX><LowerRightY>0</LowerRightY><SizeX>12</SizeX><SizeY>12</SizeY>"
        "</DataWindow><BandsCount>12</BandsCount></GDAL_WMS>"
    )
    stacta = {"type": "Feature", "stac_extensions": ["tiled-assets"], "asset_templates": {
        "x": {"href": f"{address}/x.tif"}}}  # fmt: skip
    return {
        "vrt": vrt(f"/vsicurl/{address}/a.tif"),
        "wms": wms,
        "stacta": json.dumps(stacta),
        "gti": f"<GDALTileIndexDataset><IndexDataset>/vsicurl/{address}/i.gpkg</IndexDataset>"
        "</GDALTileIndexDataset>",
        "wmts": f"<GDAL_WMTS><GetCapabilitiesUrl>{address}/c.xml</GetCapabilitiesUrl></GDAL_WMTS>",
        "url": f"{address}/a.tif",
    }


@pytest.mark.parametrize("name", ["{}.tif", "{}.SAFE/MTD_MSIL1C.xml", "{}/B02.jp2"])
def test_files_that_call_elsewhere_call_nobody(geosr, program, server, tmp_path, name):
    for kind, text in callers(f"http://127.0.0.1:{server.port}").items():
        path = tmp_path / "in" / name.format(kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert geosr("superres", "in", "out", *BICUBIC).returncode == 4  # GDAL's drivers are all there
    if name == "{}.tif":
        assert program("superres", "in", "out", *BICUBIC).returncode == 4
    assert geosr("info", f"in/{name.format('vrt')}").returncode == 3
    assert left(tmp_path / "out") == [] and server.hits == []


def test_an_allowed_vrt_calls_nobody_while_addresses_are_not_allowed(program, server, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.tif").write_text(vrt(f"/vsicurl/http://127.0.0.1:{server.port}/a.tif"))
    assert program("superres", "in", "out", *BICUBIC, "--allow-vrt").returncode == 4
    assert server.hits == []


@pytest.mark.parametrize(
    "form", ["http://{}/a.tif", "s3://{}/a.tif", "/vsicurl/http://{}/a.tif", "vrt://http://{}/a.tif",
             "zip+http://{}/a.zip", "/vsizip//vsicurl/http://{}/a.zip", "HTTP://{}/a.tif",
             "<VRTDataset>http://{}</VRTDataset>", "/vsicurl_streaming/http://{}/a.tif"],
)  # fmt: skip
def test_addresses_are_no_local_files(geosr, server, stack, tmp_path, form):
    address = form.format(f"127.0.0.1:{server.port}")
    fails(geosr("superres", address, "out", *BICUBIC), 2, "local files only", "--allow-remote")
    for other in (("info", address), ("eval", *BICUBIC, "--data", address), ("verify", address)):
        assert geosr(*other).returncode in (2, 3)
    assert server.hits == [] and not (tmp_path / "out").exists()


def test_addresses_are_usage_errors_of_every_command(geosr):
    assert geosr("info", "http://127.0.0.1:9/a.tif").returncode == 2


def test_keys_in_addresses_are_told_nobody(geosr, server, stack, tmp_path):
    address = f"http://user:{SECRET}@127.0.0.1:{server.port}/none.tif?token={SECRET}"
    done = geosr("superres", address, "out", *BICUBIC, "--allow-remote", "--log-file", "log")
    assert done.returncode == 4 and server.hits
    assert SECRET not in done.stderr
    assert SECRET not in (tmp_path / "log").read_text()
    assert SECRET not in (tmp_path / "out/geosr-run.json").read_text()


def test_names_of_bands_that_are_no_text_cost_one_scene_at_most(geosr, stack, tmp_path):
    data = stack.read_bytes()
    assert data.count(b">B2<") == 1
    (tmp_path / "in/b.tif").write_bytes(data.replace(b">B2<", b">\xce2<"))
    assert geosr("superres", "in", "out", *BICUBIC).returncode in (0, 3)
    assert (tmp_path / "out/a.tif").exists()


@pytest.mark.parametrize("encoding", ["null", "utf-7", "idna"])
def test_metadata_in_no_known_encoding_fail_by_name(geosr, tmp_path, encoding):
    product = scene_files.write_safe(tmp_path / "in", size=12)
    text = (product / "MTD_MSIL1C.xml").read_text()
    (product / "MTD_MSIL1C.xml").write_text(text.replace('"UTF-8"', f'"{encoding}"', 1))
    done = fails(geosr("superres", "in", "out", *BICUBIC), 4, "MTD_MSIL1C.xml")
    assert "internal error" not in done.stderr


# names, records and settings


def test_control_codes_in_names_do_not_reach_the_terminal(geosr, stack, tmp_path):
    (tmp_path / "in/\x1b]0;evil\x07\x1b[2J.tif").write_text("<html>")
    done = geosr("superres", "in", "out", *BICUBIC)
    assert done.returncode == 3 and not re.search(r"[\x00-\x09\x0b-\x1f]", done.stderr)


def test_names_with_markup_stay_words_in_the_page(geosr, stack, tmp_path):
    stack.rename(stack.with_name("<script>alert(1)</script>&\"'.tif".replace("/", "")))
    fails(geosr("superres", "in", "out", *BICUBIC, "--report"), 0)
    (page,) = (tmp_path / "out").glob("*.html")
    assert "<script>alert" not in page.read_text() and "<" not in page.name


@pytest.mark.parametrize("version", [0, 2, "1", 1.5, None, [1]])
def test_records_of_other_versions_never_mean_finished(geosr, stack, tmp_path, version):
    fails(geosr("superres", "in", "out", *BICUBIC), 0)
    path = tmp_path / "out/a.geosr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"geosr_record": version}))
    fails(geosr("superres", "in", "out", *BICUBIC), 4, "not made by geosr")
    done = fails(geosr("superres", "in", "out", *BICUBIC, "--overwrite"), 0)
    assert "1 done" in done.stderr


def test_settings_of_other_programs_stay_theirs(geosr, stack, tmp_path):
    keys = ("LD_PRELOAD", "PYTHONPATH", "PYTHONSTARTUP", "GDAL_DATA", "PROJ_LIB", "OMP_NUM_THREADS")
    (tmp_path / ".env").write_text("".join(f"{key}={tmp_path}/evil\n" for key in keys))
    before = {key: os.environ.get(key) for key in keys}
    fails(geosr("superres", "in", "out", *BICUBIC), 0)
    assert {key: os.environ.get(key) for key in keys} == before


@pytest.mark.parametrize("text", [b"GEOSR_MODEL=\xff\n", b"\xff\xfeG\0E\0", bytes(range(256))])
def test_settings_that_are_no_text_are_a_usage_error(geosr, stack, tmp_path, text):
    (tmp_path / ".env").write_bytes(text)
    fails(geosr("superres", "in", "out", *BICUBIC), 2, ".env")


def test_a_bad_value_names_its_file_and_key(geosr, stack, tmp_path):
    (tmp_path / ".env").write_text("GEOSR_MODEL=bicubic\nGEOSR_TILE_SIZE=many\n")
    fails(geosr("superres", "in", "out"), 2, ".env", "GEOSR_TILE_SIZE", "many")


@pytest.mark.parametrize("source", ["environment", "file"])
def test_a_misspelt_setting_is_a_warning_with_the_nearest_name(geosr, stack, tmp_path, source):
    if source == "file":
        (tmp_path / ".env").write_text("GEOSR_TILE_SIZ=12\n")
    env = {"GEOSR_TILE_SIZ": "12"} if source == "environment" else {}
    done = fails(geosr("superres", "in", "out", *BICUBIC, env=env), 0)
    assert "GEOSR_TILE_SIZ" in done.stderr and "GEOSR_TILE_SIZE?" in done.stderr


# fuzz: children make mutants of a good input, run the program on each, and tell what was wrong

Mutate = Callable[[random.Random, bytes], bytes]
_WORDS = (b"", b"0", b"-1", b"nan", b"1e999", b"99999999999999999999", b"\xff\xfe", b"A" * 5000,
          b"../../x", b"<", b"%s%n", b"\x00", b"[[[[", b'"')  # fmt: skip
_VALUES = (b"", b"0", b"1", b"-1", b"7", b"13", b"0.5", b"nan", b"NaN", b"inf", b"1e999", b"null",
           b"true", b"[]", b"99999999999999999999", b"9" * 400, b"x", b"B5", b"../../x",
           b"/etc/passwd", b"&amp;", b"%s%n", "é".encode())  # fmt: skip


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Bits, runs, numbers and words of a file changed, left out or repeated."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice((_bits, _run, _number, _cut, _repeat, _word))(rng, data) or b"\0"
    return data


def _at(rng: random.Random, data: bytes) -> int:
    """Anywhere, more often in the head and in the tail, where headers are."""
    ends = min(len(data), 400)
    place = rng.random()
    if place < 0.3:
        return rng.randrange(ends)
    return rng.randrange(len(data) - ends if place < 0.6 else 0, len(data))


def _bits(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[_at(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _run(rng: random.Random, data: bytes) -> bytes:
    at, length = _at(rng, data), rng.randint(1, 64)
    return data[:at] + rng.randbytes(length) + data[at + length :]


def _number(rng: random.Random, data: bytes) -> bytes:
    at, size = _at(rng, data) // 2 * 2, rng.choice((2, 4))
    value = rng.choice((0, 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1, rng.getrandbits(8 * size)))
    return data[:at] + value.to_bytes(size, "little") + data[at + size :]


def _cut(rng: random.Random, data: bytes) -> bytes:
    at = _at(rng, data)
    return data[:at] + (data[at + rng.randint(1, 200) :] if rng.random() < 0.6 else b"")


def _repeat(rng: random.Random, data: bytes) -> bytes:
    at = _at(rng, data)
    return data[:at] + data[at : at + rng.randint(1, 300)] * rng.randint(2, 20) + data[at:]


def _word(rng: random.Random, data: bytes) -> bytes:
    words = list(re.finditer(rb"[\w.+-]+", data))
    if not words:
        return data
    match = rng.choice(words)
    return data[: match.start()] + rng.choice(_WORDS) + data[match.end() :]


def reword(rng: random.Random, data: bytes) -> bytes:
    """A text with other values, mostly as well-formed as before; now and then a mutant."""
    if rng.random() < 0.2:
        return mutate(rng, data)
    values = list(re.finditer(rb"(?<=[>\"= :\n,])[\w.+-]+(?=[<\",\s}])", data))
    for match in sorted(rng.sample(values, rng.choice((1, 1, 2, 5))), key=lambda m: -m.start()):
        data = data[: match.start()] + rng.choice(_VALUES) + data[match.end() :]
    return data


@dataclass(frozen=True)
class Kind:
    """What is mutated, how, and its share of all mutants."""

    share: float
    make: Callable[[], Path]
    mutate: Mutate = reword


def _stack() -> Path:
    return scene_files.write_stack(Path("in/a.tif"), size=12)


def _product() -> Path:
    return scene_files.write_safe(Path("in"), size=12, baseline="04.00") / "MTD_MSIL1C.xml"


def _record() -> Path:
    _stack()
    assert CliRunner().invoke(cli, ["superres", "in", "out", *BICUBIC]).exit_code == 0
    return Path("out/a.geosr.json")


def _settings() -> Path:
    _stack()
    Path(".env").write_text(
        "GEOSR_MODEL=bicubic\nGEOSR_TILE_SIZE=12\nGEOSR_OVERLAP=4\nGEOSR_BANDS=B5,B11 B2\n"
        "GEOSR_FORMAT=COG\nGEOSR_CO=LEVEL=6\nGEOSR_DN_OFFSET=-1000\nGEOSR_CHECK=1\n"
        "GEOSR_QUANTIFICATION=10000\nGEOSR_BOUNDS=399960,5599980,400020,5600040\n"
    )
    return Path(".env")


KINDS = {
    "geotiff": Kind(0.5, _stack, mutate),
    "safe": Kind(0.25, _product),
    "record": Kind(0.15, _record),
    "env": Kind(0.1, _settings),
}


def child(kind: str, first: int, count: int) -> None:
    """Run mutants `first` and on in this folder; a line of JSON for each on stdout."""
    warnings.simplefilter("ignore")
    mutated = KINDS[kind].make()
    shutil.copytree("out", "made") if Path("out").exists() else Path("made").mkdir()
    whole = mutated.read_bytes()
    args = () if kind == "env" else BICUBIC
    for number in range(first, first + count):
        print(json.dumps({"mutant": number}), flush=True)
        shutil.rmtree("out", ignore_errors=True)
        shutil.copytree("made", "out")
        mutated.write_bytes(KINDS[kind].mutate(random.Random(f"{kind} {number}"), whole))
        before = {path: seen for path, seen in snapshot(Path()).items() if path.parts[0] != "out"}
        done = CliRunner().invoke(cli, ["superres", "in", "out", *args])
        after = {path: seen for path, seen in snapshot(Path()).items() if path.parts[0] != "out"}
        ended = done.exception is None or isinstance(done.exception, SystemExit)
        print(json.dumps({
            "code": done.exit_code,
            "raised": "" if ended else repr(done.exception)[:300],
            "internal": re.findall("internal error.*", done.stderr),
            "outside": sorted(map(str, set(before.items()) ^ set(after.items()))),
            "left": [name for name in left(Path("out")) if name.startswith(".")],
        }), flush=True)  # fmt: skip


def little() -> None:
    """What a child may use: memory, and processor time of a second a mutant."""
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (20 + PER_CHILD,) * 2)


def children(folder: Path, kind: str, count: int) -> Iterator[dict]:
    """What became of each mutant; of one that took its child along, that child's code."""
    path = os.pathsep.join(
        map(str, (ROOT, ROOT / "tests", Path(__file__).parent, ROOT / "examples"))
    )
    first = 0
    while first < count:
        here = folder / f"{kind}{first}"
        here.mkdir()
        code = f"import test_matrix_hostile as m; m.child({kind!r}, {first}, " \
               f"{min(PER_CHILD, count - first)})"  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=here, capture_output=True, text=True,
            env=settings({"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}), preexec_fn=little,
        )  # fmt: skip
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, done.stderr
        numbers, told = lines[::2], lines[1::2]
        yield from (number | what for number, what in zip(numbers, told, strict=False))
        if len(told) < len(numbers):
            yield numbers[-1] | {"code": done.returncode, "raised": done.stderr[-300:]}
        first = numbers[-1]["mutant"] + 1
        shutil.rmtree(here)


LONG = (pytest.mark.slow, pytest.mark.timeout(3600))


def wrong(told: dict) -> bool:
    return bool(
        told["code"] not in CODES or told["raised"] or told.get("outside") or told.get("left")
    )


@pytest.mark.parametrize(
    "kind, mutants",
    [
        ("geotiff", 40),
        ("safe", 40),
        pytest.param("geotiff", MUTANTS, marks=LONG),
        pytest.param("safe", MUTANTS, marks=LONG),
        pytest.param("record", MUTANTS, marks=LONG),
        pytest.param("env", MUTANTS, marks=LONG),
    ],
)
def test_no_mutant_breaks_out(tmp_path, kind, mutants):
    found = list(children(tmp_path, kind, round(mutants * KINDS[kind].share)))
    print(kind, Counter(told["code"] for told in found), [t for t in found if t.get("internal")])
    assert [told for told in found if wrong(told)] == []
