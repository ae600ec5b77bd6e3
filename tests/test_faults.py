"""What goes wrong: exit codes, messages, and that nothing half-made is ever left behind.

Rows of the fault matrix; every run is a process of its own, as exit codes and signals need one.
"""

import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import make_scene
import numpy as np
import pytest
import rasterio
import torch
from safetensors.torch import load_file, save_file

from geosr import batch, models, publish, raster, weights
from geosr.errors import GeosrError, WeightsError
from geosr.sensors import open_scene
from geosr.superres import superres

ROOT = Path(raster.__file__).resolve().parents[1]
SLOW = ("--model", "bicubic", "--tile-size", 6)  # hundreds of tiles: long enough to be stopped

_SERVER = """
import json, os, resource, signal, sys
import click, dotenv, filelock, numpy, safetensors.torch, torch, tqdm
for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if not pid:
        os.environ.clear()
        os.environ.update(job["env"])
        os.chdir(job["cwd"])
        for fd, path in enumerate((os.devnull, job["out"], job["err"])):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644), fd)
        if job["limit"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["limit"], job["limit"]))
        sys.argv = ["geosr", *job["args"]]
        from geosr.cli.main import main
        main()
        sys.exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Program:
    """Runs `geosr` in a process of its own, forked from one that has imported torch already.

    The import takes seconds and the program a fraction of one. Neither geosr nor rasterio is
    imported before the fork, as GDAL reads its settings once.
    """

    def __init__(self, scratch: Path) -> None:
        self.out, self.err = scratch / "stdout", scratch / "stderr"
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def start(self, args, *, env=None, cwd, limit=0) -> int:
        """Begin a run and give its process id; `limit` is the largest file it may write, bytes."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("GEOSR_")}
        job = {
            "args": [str(arg) for arg in args], "cwd": str(cwd), "limit": limit,
            "env": clean | (env or {}), "out": str(self.out), "err": str(self.err),
        }  # fmt: skip
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def wait(self):
        """The end of the run: returncode (minus the signal that killed it), stdout, stderr."""
        code = int(self._server.stdout.readline())
        return SimpleNamespace(
            returncode=code, stdout=self.out.read_text(), stderr=self.err.read_text()
        )

    def run(self, args, **settings):
        """Start and wait."""
        self.start(args, **settings)
        return self.wait()

    def close(self) -> None:
        """End the server."""
        self._server.stdin.close()
        self._server.wait(60)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    running = Program(tmp_path_factory.mktemp("program"))
    yield running
    running.close()


@pytest.fixture
def geosr(program, tmp_path):
    def run(*args, env=None, cwd=None, limit=0):
        return program.run(args, env=env, cwd=cwd or tmp_path, limit=limit)

    return run


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """Whole scenes to copy and break; never changed."""
    root = tmp_path_factory.mktemp("pristine")
    make_scene.write_folder(root / "good", size=60)
    make_scene.write_folder(root / "large", size=120)
    make_scene.write_stack(root / "stack.tif", size=60)
    return {
        "good": root / "good", "large": root / "large", "stack": root / "stack.tif",
        "safe": make_scene.write_safe(root, size=60),
    }  # fmt: skip


@pytest.fixture
def scene(pristine, tmp_path):
    """A folder scene of 60 × 60 pixels that a test may break."""
    return Path(shutil.copytree(pristine["good"], tmp_path / "in/scene"))


@pytest.fixture
def large(pristine, tmp_path):
    """One of 120 × 120 pixels."""
    return Path(shutil.copytree(pristine["large"], tmp_path / "in/large"))


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """Weights of an untrained dsen2-20."""
    torch.manual_seed(0)
    model = models.build(models.MODELS["dsen2-20"])
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    weights.save(path, model.card, model.net.state_dict())
    return path


def lines(said):
    """The JSON lines of a run."""
    return [json.loads(line) for line in said.stdout.splitlines()]


def names(folder):
    """Everything in a folder, hidden files too; nothing where there is no folder."""
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def snapshot(folder):
    """Name, size, time and content of every file below a folder."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {
        str(p.relative_to(folder)): (
            p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest()
        )
        for p in files
    }  # fmt: skip


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewrite(path, *, change=lambda values: values, **profile):
    """Write a raster again with other pixels or another header, band names kept."""
    with rasterio.open(path) as dataset:
        values, described = change(dataset.read()), dataset.descriptions
        profile = dataset.profile | {"dtype": values.dtype, "count": len(values)} | profile
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values)
        dataset.descriptions = described[: len(values)]


def assert_says(said, code, where, what, advice):
    """The exit code, and a message that says where, what was found, and what to do."""
    assert said.returncode == code, said.stderr
    text = " ".join(said.stderr.split())
    assert "Traceback" not in text and "internal error" not in text
    for part in (where, what, advice):
        assert str(part) in text, part


# broken scenes


def lose_band(scene):
    rewrite(scene / "20m.tif", change=lambda values: values[:-1], count=5)


def html(scene):
    (scene / "20m.tif").write_text("<html><body>404 Not Found</body></html>")


def empty(scene):
    (scene / "20m.tif").write_bytes(b"")


def garbage(scene):
    data = (scene / "20m.tif").read_bytes()
    (scene / "20m.tif").write_bytes(data[:8] + b"\xff" * (len(data) - 8))


def shift(scene):
    make_scene.write_folder(scene, size=60, nested=False)


def other_crs(scene):
    rewrite(scene / "20m.tif", crs="EPSG:32632")


def uneven(scene):
    with rasterio.open(scene / "20m.tif") as dataset:
        transform = dataset.transform @ rasterio.Affine.scale(20.5 / 20)
    rewrite(scene / "20m.tif", transform=transform)


def vrt(scene):
    (scene / "20m.tif").write_text('<VRTDataset rasterXSize="30" rasterYSize="30"/>')


def complex_numbers(scene):
    rewrite(scene / "20m.tif", change=lambda v: v.astype("complex64"), predictor=1)


FAULTS = {
    lose_band: ("lacks B12", "Add the band's file"),
    html: ("not a GeoTIFF, JP2 or PNG (starts with '<html><body>')", "Replace the file"),
    empty: ("is empty", "Replace the file"),
    garbage: ("cannot open", "Replace the file"),
    shift: ("does not nest", "Crop both"),
    other_crs: ("EPSG:32632", "Crop both"),
    uneven: ("does not nest", "Crop both"),
    vrt: ("content is VRT, not TIFF", "--allow-vrt"),
    complex_numbers: ("complex", "Convert it first"),
}
IN_FILE = (html, empty, garbage, vrt, complex_numbers)  # faults of one file, which must be named


@pytest.fixture(scope="module")
def broken(pristine, program, tmp_path_factory):
    """One run over a scene of every fault between two good ones."""
    root = tmp_path_factory.mktemp("broken")
    for name in ("aa_good", "zz_good", *(fault.__name__ for fault in FAULTS)):
        shutil.copytree(pristine["good"], root / "in" / name)
    for fault in FAULTS:
        fault(root / "in" / fault.__name__)
    shutil.copytree(pristine["good"], root / "in/truncated")
    halve(root / "in/truncated/20m.tif")
    product = shutil.copytree(pristine["safe"], root / "in" / pristine["safe"].name)
    halve(next(Path(product).rglob("*_B05.jp2")))
    before = snapshot(root / "in")
    args = ("superres", root / "in", root / "out", "-m", "bicubic-20", "--json")
    said = program.run(args, cwd=root)
    assert snapshot(root / "in") == before
    return SimpleNamespace(
        said=said, dst=root / "out", src=root / "in", product=Path(product).stem,
        outcomes={outcome["scene"]: outcome for outcome in lines(said)},
    )  # fmt: skip


def test_broken_scenes_among_good_ones_cost_only_themselves(broken):
    assert broken.said.returncode == 3
    assert broken.said.stderr.splitlines()[-1] == f"2 done, 0 skipped, {len(FAULTS) + 2} failed"
    assert names(broken.dst) == [
        "aa_good.geosr.json", "aa_good.tif", "zz_good.geosr.json", "zz_good.tif",
    ]  # fmt: skip
    good = [broken.outcomes[name] for name in ("aa_good", "zz_good")]
    assert [outcome["status"] for outcome in good] == ["done", "done"]
    with rasterio.open(broken.dst / "zz_good.tif") as dataset:
        assert dataset.read().any(axis=(1, 2)).all()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_broken_scene_is_told_with_its_cause_and_the_way_out(broken, fault):
    outcome = broken.outcomes[fault.__name__]
    what, advice = FAULTS[fault]
    where = broken.src / fault.__name__
    assert (outcome["status"], outcome["code"]) == ("failed", 3)
    assert str(where / "20m.tif" if fault in IN_FILE else where) in outcome["message"]
    assert what in outcome["message"] and advice in outcome["message"]
    assert outcome["message"] in broken.said.stderr


def test_truncated_files_are_named_with_the_window_that_cannot_be_read(broken):
    tif, jp2 = broken.outcomes["truncated"], broken.outcomes[broken.product]
    assert (tif["code"], jp2["code"]) == (3, 3)
    assert "truncated/20m.tif" in tif["message"] and "_B05.jp2" in jp2["message"]
    for outcome in (tif, jp2):
        assert "cannot" in outcome["message"] and "Replace the file" in outcome["message"]
        assert "See previous exception" not in outcome["message"]


@pytest.mark.parametrize("fault", [lose_band, html, shift], ids=lambda fault: fault.__name__)
def test_a_broken_scene_alone_is_a_failure_of_all(scene, geosr, tmp_path, fault):
    fault(scene)
    said = geosr("superres", scene, "out", "-m", "bicubic-20")
    assert_says(said, 4, scene, *FAULTS[fault])
    assert said.stderr.splitlines()[-1] == "0 done, 0 skipped, 1 failed"
    assert names(tmp_path / "out") == []


def test_a_truncated_image_alone_is_a_failure_of_all(pristine, scene, geosr, tmp_path):
    halve(scene / "20m.tif")
    said = geosr("superres", scene, "out", "-m", "bicubic")
    assert_says(said, 4, scene / "20m.tif", "cannot", "Replace the file")
    product = Path(shutil.copytree(pristine["safe"], tmp_path / pristine["safe"].name))
    image = next(product.rglob("*_B05.jp2"))
    halve(image)
    said = geosr("superres", product, "out", "-m", "bicubic")
    assert_says(said, 4, image, "cannot", "Replace the file")
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize("band", ["B11", "B9"])
def test_a_wanted_band_that_is_missing_is_named(geosr, tmp_path, band):
    kept = [name for name in make_scene.TWELVE if name != band]
    make_scene.write_folder(tmp_path / "in/lacking", size=60, bands=kept)
    said = geosr("superres", "in/lacking", "out", "-m", "bicubic", "--bands", band)
    assert_says(said, 4, "in/lacking", band, "found: B")
    assert names(tmp_path / "out") == []


def test_a_product_without_an_image_says_what_it_lacks(pristine, geosr, tmp_path):
    product = Path(shutil.copytree(pristine["safe"], tmp_path / pristine["safe"].name))
    next(product.rglob("*_B8A.jp2")).unlink()
    said = geosr("superres", product, "out", "-m", "bicubic-20")
    assert_says(said, 4, product, "lacks B8A (found: B1 ", "Add the band's file")
    assert names(tmp_path / "out") == []


def test_an_empty_folder_is_a_warning(geosr, tmp_path):
    (tmp_path / "none").mkdir()
    said = geosr("superres", "none", "out", "-m", "bicubic")
    assert (said.returncode, said.stdout) == (0, "")
    assert "warning: no scenes in none" in said.stderr and names(tmp_path / "out") == []


def test_8_bit_pictures_are_refused_by_nets_and_fine_for_bicubic(scene, net, geosr, tmp_path):
    for path in scene.iterdir():
        rewrite(path, change=lambda values: (values // 64).astype("uint8"))
    said = geosr("superres", scene, "out", "--model", net)
    assert_says(said, 4, scene, "8-bit", "Give the 16-bit product")
    assert names(tmp_path / "out") == []
    assert geosr("superres", scene, "out", "--model", "bicubic").returncode == 0
    with rasterio.open(tmp_path / "out/scene.tif") as dataset:
        assert set(dataset.dtypes) == {"uint8"}


# requests that cannot be run


def test_a_source_that_does_not_exist_is_a_usage_error(geosr, tmp_path):
    said = geosr("superres", "nowhere", "out", "-m", "bicubic")
    assert_says(said, 2, "nowhere", "no such file or folder", "Check the path")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "src, dst",
    [("in", "in"), ("in/scene", "in/scene"), ("in", "in/out"), ("in", "in/scene/x.tif"),
     ("in", "in/../in/out"), ("stack.tif", "stack.tif"), ("stack.tif", "."), ("in", "link")],
)  # fmt: skip
def test_outputs_in_the_input_are_refused(scene, pristine, geosr, tmp_path, src, dst):
    shutil.copy(pristine["stack"], tmp_path / "stack.tif")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    before = snapshot(tmp_path)
    said = geosr("superres", src, dst, "-m", "bicubic")
    assert_says(said, 2, src, "which is never written to", "Choose another DST")
    assert snapshot(tmp_path) == before


def test_one_file_for_two_scenes_is_refused(scene, large, geosr, tmp_path):
    said = geosr("superres", "in", "out.tif", "-m", "bicubic")
    assert_says(said, 2, "out.tif", "2 scenes", "Give a folder")
    assert names(tmp_path) == ["in"]


def test_two_scenes_of_one_name_are_refused(scene, pristine, geosr, tmp_path):
    shutil.copy(pristine["stack"], tmp_path / "in/scene.tif")
    said = geosr("superres", "in", "out", "-m", "bicubic")
    assert_says(said, 2, "in/scene.tif", "both be written to out/scene.tif", "Rename one")
    assert names(tmp_path) == ["in"]


@pytest.mark.parametrize("dst", ["file/out", "file/deep/out.tif", "file"])
def test_a_dst_that_cannot_be_a_folder_is_not_writable(scene, geosr, tmp_path, dst):
    (tmp_path / "file").write_bytes(b"mine")
    said = geosr("superres", scene, dst, "-m", "bicubic")
    assert_says(said, 2, "file", "not writable", "Choose another DST")
    assert (tmp_path / "file").read_bytes() == b"mine" and names(tmp_path) == ["file", "in"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_dst_is_not_writable(scene, geosr, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    said = geosr("superres", scene, "out", "-m", "bicubic")
    assert_says(said, 2, "out", "not writable", "Choose another DST")


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["plain", "overwrite"])
def test_a_folder_in_the_place_of_the_output_is_left_alone(scene, geosr, tmp_path, overwrite):
    (tmp_path / "out.tif").mkdir()
    said = geosr("superres", scene, "out.tif", "-m", "bicubic", *overwrite)
    assert said.returncode in (2, 4, 5), said.stderr
    assert "out.tif" in said.stderr and "internal error" not in said.stderr
    assert names(tmp_path) == ["in", "out.tif"] and names(tmp_path / "out.tif") == []


@pytest.mark.parametrize("device", ["cuda:7", "cuda:x", "gpu"])
def test_a_device_that_is_not_there_is_a_usage_error(scene, geosr, tmp_path, device):
    said = geosr("superres", scene, "out", "-m", "bicubic", "--device", device)
    assert said.returncode == 2 and device in said.stderr and "cpu" in said.stderr
    assert not (tmp_path / "out").exists()


# models and weights


def test_an_unknown_model_is_a_usage_error_with_a_suggestion(scene, geosr, tmp_path):
    said = geosr("superres", scene, "out", "--model", "bicubik")
    assert_says(said, 2, "bicubik", "known: dsen2, ", "Did you mean bicubic")
    assert not (tmp_path / "out").exists()


def test_a_net_without_weights_says_how_to_train_it(scene, geosr, tmp_path):
    said = geosr("superres", scene, "out", "--model", "vdsen2")
    assert_says(said, 6, "vdsen2-20", "no weights", "geosr train --model vdsen2-20")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["none.safetensors", "damaged.safetensors", "scene.safetensors"])
def test_weights_that_are_missing_or_damaged_are_refused(scene, net, geosr, tmp_path, name):
    data = net.read_bytes()
    (tmp_path / "damaged.safetensors").write_bytes(data[: len(data) // 2])
    shutil.copy(scene / "10m.tif", tmp_path / "scene.safetensors")
    said = geosr("superres", scene, "out", "--model", name)
    assert said.returncode == 6 and name in said.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1])
def test_truncated_weights_are_refused(net, tmp_path, kept):
    data = net.read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(data[: int(len(data) * kept) if kept == 0.5 else kept])
    with pytest.raises(WeightsError, match="cut.safetensors.*not a whole safetensors file"):
        weights.load(str(cut))


@pytest.mark.parametrize("seed", range(5))
def test_weights_with_other_tensor_names_are_refused(net, tmp_path, seed):
    rng = random.Random(seed)
    tensors = load_file(net)
    name = rng.choice(sorted(tensors))
    at = rng.randrange(len(name))
    flipped = name[:at] + chr(ord(name[at]) ^ 1 << rng.randrange(5)) + name[at + 1 :]
    tensors[flipped] = tensors.pop(name)
    card = models.MODELS["dsen2-20"].to_json()
    save_file(tensors, tmp_path / "other.safetensors", metadata={"card": card})
    with pytest.raises(WeightsError, match="its tensors are not those of 'dsen2-20'"):
        weights.load(str(tmp_path / "other.safetensors"))


def test_weights_of_another_net_are_refused(net, tmp_path):
    card = models.MODELS["dsen2-60"].to_json()
    save_file(load_file(net), tmp_path / "other.safetensors", metadata={"card": card})
    with pytest.raises(WeightsError, match="not those of 'dsen2-60'"):
        weights.load(str(tmp_path / "other.safetensors"))


def test_flipped_bits_in_the_header_of_weights_never_crash(net, tmp_path):
    data = net.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    damaged, rng, refused = tmp_path / "x.safetensors", random.Random(0), 0
    for _ in range(40):
        flipped = bytearray(data)
        flipped[rng.randrange(header)] ^= 1 << rng.randrange(8)
        damaged.write_bytes(flipped)
        try:
            weights.load(str(damaged))
        except GeosrError:
            refused += 1
    assert refused > 20


def test_bundled_weights_must_have_the_sha256_of_the_manifest(net, tmp_path):
    data = bytearray(net.read_bytes())
    data[-5] ^= 1
    (tmp_path / "x.safetensors").write_bytes(data)
    expected = hashlib.sha256(net.read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match=f"x.safetensors: damaged.*expected {expected[:12]}"):
        weights.load_file(tmp_path / "x.safetensors", sha256=expected)


@pytest.mark.parametrize("options", [{"evil": 1}, {"features": -1}, {"features": "x"}, []])
def test_a_card_with_wrong_options_is_refused(net, tmp_path, options):
    card = json.loads(models.MODELS["dsen2-20"].to_json()) | {"options": options}
    path = tmp_path / "odd.safetensors"
    save_file(load_file(net), path, metadata={"card": json.dumps(card)})
    with pytest.raises(WeightsError):
        weights.load(str(path))


def test_pickles_are_refused_unread(scene, geosr, tmp_path):
    (tmp_path / "evil.pt").write_bytes(b"cposix\nsystem\n(S'touch " + b"opened'\ntR.")
    said = geosr("superres", scene, "out", "--model", "evil.pt")
    assert_says(said, 6, "evil.pt", "pickle", "geosr weights convert evil.pt")
    assert names(tmp_path) == ["evil.pt", "in"]


# nothing but local files


@pytest.fixture
def server():
    """A server on this machine that counts its visitors."""
    hits = []

    class Count(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Count)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{running.server_port}", hits=hits)
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize(
    "src",
    ["{url}/x.tif", "https://127.0.0.1:1/x.tif", "s3://bucket/x.tif", "/vsicurl/{url}/x.tif",
     "/vsizip/vsicurl/{url}/x.zip", "vrt://{url}/x.tif", "zip+{url}/x.zip",
     "<VRTDataset><SourceFilename>/vsicurl/{url}/x.tif</SourceFilename></VRTDataset>"],
)  # fmt: skip
@pytest.mark.parametrize("command", ["superres", "info"])
def test_sources_beyond_this_machine_are_refused_unvisited(geosr, server, tmp_path, src, command):
    src = src.format(url=server.url)
    said = geosr(command, src, *(["out"] if command == "superres" else []), "-m", "bicubic")
    assert said.returncode == (2 if command == "superres" else said.returncode) != 0
    assert "local files only" in said.stderr and "--allow-remote" in said.stderr
    assert server.hits == [] and names(tmp_path) == []


def test_a_raster_with_a_remote_source_inside_visits_nobody(scene, geosr, server, tmp_path):
    (scene / "20m.tif").write_text(band_vrt(f"/vsicurl/{server.url}/x.tif"))
    (scene / "60m.tif").write_text(
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{server.url}</ServerUrl></Service></GDAL_WMS>'
    )
    said = geosr("superres", scene, "out", "-m", "bicubic")
    assert said.returncode == 4
    assert server.hits == [] and names(tmp_path / "out") == []


def band_vrt(source):
    """A VRT of six 20 m bands, all from one file."""
    band = (
        '<VRTRasterBand dataType="UInt16" band="{i}"><Description>{name}</Description>'
        '<SimpleSource><SourceFilename relativeToVRT="{relative}">{source}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
    )
    relative = 0 if str(source).startswith("/") else 1
    bands = "".join(
        band.format(i=i, name=name, source=source, relative=relative)
        for i, name in enumerate(("B5", "B6", "B7", "B8A", "B11", "B12"), 1)
    )
    return (
        '<VRTDataset rasterXSize="30" rasterYSize="30"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>399960, 20, 0, 5600040, 0, -20</GeoTransform>{bands}</VRTDataset>"
    )


def test_a_vrt_in_a_tif_reads_other_files_only_when_allowed(scene, geosr, tmp_path):
    secret = scene / "secret.dat"
    shutil.copy(scene / "20m.tif", secret)
    rewrite(secret, change=lambda values: np.full_like(values[:1], 4242))
    (scene / "20m.tif").write_text(band_vrt("secret.dat"))
    command = ("superres", scene, "out", "-m", "bicubic")
    said = geosr(*command)
    assert_says(said, 4, scene / "20m.tif", "content is VRT, not TIFF", "--allow-vrt")
    assert "4242" not in said.stdout + said.stderr and names(tmp_path / "out") == []
    said = geosr(*command, "--allow-vrt")
    assert said.returncode == 0, said.stderr
    with rasterio.open(tmp_path / "out/scene.tif") as dataset:
        assert (dataset.read(dataset.descriptions.index("B5") + 1) == 4242).all()


def test_a_vrt_in_a_jp2_of_a_product_is_refused(pristine, geosr, tmp_path):
    product = Path(shutil.copytree(pristine["safe"], tmp_path / pristine["safe"].name))
    image = next(product.rglob("*_B05.jp2"))
    image.write_text(band_vrt("/etc/passwd"))
    said = geosr("superres", product, "out", "-m", "bicubic")
    assert_says(said, 4, image, "cannot open", "Replace the file")
    assert "root:" not in said.stderr and names(tmp_path / "out") == []


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_a_hostile_gdal_environment_is_harmless(scene, geosr, tmp_path):
    marker, plugins = tmp_path / "loaded", tmp_path / "plugins"
    plugins.mkdir()
    source = tmp_path / "evil.c"
    source.write_text(
        "#include <stdio.h>\n"
        f'__attribute__((constructor)) void f(void) {{ FILE *m = fopen("{marker}", "w");'
        " if (m) fclose(m); }\nvoid GDALRegister_Evil(void) {}\n"
    )
    build = ["cc", "-shared", "-fPIC", source, "-o", plugins / "gdal_Evil.so"]
    subprocess.run(build, check=True)
    hostile = {"GDAL_DRIVER_PATH": str(plugins), "GDAL_VRT_ENABLE_PYTHON": "YES"}
    plain = "import rasterio\nwith rasterio.Env():\n    pass"
    subprocess.run([sys.executable, "-c", plain], env=os.environ | hostile, check=True)
    assert marker.exists()  # or the trap is no trap
    marker.unlink()
    assert geosr("superres", scene, "clean", "-m", "bicubic").returncode == 0
    said = geosr("superres", scene, "out", "-m", "bicubic", env=hostile)
    assert said.returncode == 0, said.stderr
    assert not marker.exists()
    assert (tmp_path / "out/scene.tif").read_bytes() == (tmp_path / "clean/scene.tif").read_bytes()


# outputs that are there already


@pytest.fixture
def finished(scene, geosr, tmp_path):
    """A finished output, its record, and the command that made them."""
    command = ("superres", scene, "out", "-m", "bicubic", "--json")
    assert geosr(*command).returncode == 0
    output = tmp_path / "out/scene.tif"
    return SimpleNamespace(
        command=command, output=output, record=batch.record_path(output), data=output.read_bytes()
    )


def test_a_foreign_output_is_left_alone(scene, geosr, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/scene.tif").write_bytes(b"mine")
    said = geosr("superres", scene, "out", "-m", "bicubic")
    assert_says(said, 4, "out/scene.tif", "was not made by geosr", "--overwrite")
    assert (tmp_path / "out/scene.tif").read_bytes() == b"mine"
    assert names(tmp_path / "out") == ["scene.tif"]


@pytest.mark.parametrize("change", [("--bands", "B5"), ("--only-sr",), ("--dn-offset", "-1000")])
def test_an_output_made_with_other_settings_is_left_alone(finished, geosr, change):
    said = geosr(*finished.command, *change)
    what = change[0][2:].replace("-", " ")
    assert_says(said, 4, finished.output.name, f"made with other settings ({what})", "--overwrite")
    assert finished.output.read_bytes() == finished.data


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_a_truncated_output_is_done_again(finished, geosr, kept):
    finished.output.write_bytes(finished.data[:kept])
    said = geosr(*finished.command)
    assert said.returncode == 0 and lines(said)[0]["status"] == "done"
    assert finished.output.read_bytes() == finished.data


def test_a_lost_output_is_done_again(finished, geosr):
    finished.output.unlink()
    said = geosr(*finished.command)
    assert said.returncode == 0 and lines(said)[0]["status"] == "done"
    assert finished.output.read_bytes() == finished.data


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "[" * 5000, '{"geosr_record": 2}', '{"geosr_record": 1}', "\udcff",
     '{"geosr_record": 1, "recipe": {}, "output": {"size": Infinity}}'],
    ids=["empty", "cut", "null", "list", "nested", "version", "bare", "binary", "infinity"],
)  # fmt: skip
def test_an_output_with_a_damaged_record_is_foreign(finished, geosr, text):
    finished.record.write_bytes(text.encode(errors="surrogateescape"))
    said = geosr(*finished.command)
    assert_says(said, 4, finished.output.name, "was not made by geosr", "--overwrite")
    assert finished.output.read_bytes() == finished.data


@pytest.mark.parametrize("key, value", [("inputs", None), ("inputs", 7), ("output", {"size": "x"})])
def test_a_record_with_a_damaged_field_never_passes_for_finished(finished, geosr, key, value):
    record = json.loads(finished.record.read_text())
    if value is None:
        del record[key]
    else:
        record[key] = value
    finished.record.write_text(json.dumps(record))
    said = geosr(*finished.command)
    assert "internal error" not in said.stderr
    assert lines(said)[0]["status"] in ("done", "failed")
    assert finished.output.read_bytes() == finished.data


# stopped on the way


@pytest.fixture(scope="module")
def undisturbed(pristine, program, tmp_path_factory):
    """The bytes of the slow run that nobody disturbs, and its seconds."""
    root = tmp_path_factory.mktemp("undisturbed")
    started = time.monotonic()
    said = program.run(("superres", pristine["large"], root / "out", *SLOW), cwd=root)
    assert said.returncode == 0, said.stderr
    data = (root / "out/large.tif").read_bytes()
    return SimpleNamespace(data=data, seconds=time.monotonic() - started)


def wait_for_part(folder, seconds=60):
    """Until a temporary file has appeared: the run is in the middle of its work."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if folder.is_dir() and any(".part" in name for name in names(folder)):
            return
        time.sleep(0.002)
    raise AssertionError("no temporary file has appeared")


def test_a_run_killed_at_any_moment_leaves_its_output_whole_or_absent(
    large, program, geosr, undisturbed, tmp_path
):
    rng, out, caught = random.Random(), tmp_path / "out", 0
    command = ("superres", large, out, *SLOW)
    for attempt in range(10):
        pid = program.start(command, cwd=tmp_path)
        if attempt % 2:
            time.sleep(undisturbed.seconds * rng.uniform(0.05, 1.1))
        else:
            wait_for_part(out)
            time.sleep(undisturbed.seconds * rng.uniform(0, 0.7))
        os.kill(pid, signal.SIGKILL)
        caught += program.wait().returncode == -signal.SIGKILL
        output = out / "large.tif"
        assert not output.exists() or output.read_bytes() == undisturbed.data
        if (out / "large.geosr.json").exists():
            shutil.rmtree(out)
    assert caught >= 3
    said = geosr(*command)
    assert said.returncode == 0, said.stderr
    assert (out / "large.tif").read_bytes() == undisturbed.data
    assert names(out) == ["large.geosr.json", "large.tif"]


def test_an_output_that_was_killed_before_its_record_is_not_taken_for_finished(finished, geosr):
    finished.record.unlink()
    said = geosr(*finished.command)
    assert said.returncode == 0, said.stderr  # re-run to heal: no flag, no clean-up by hand
    assert finished.output.read_bytes() == finished.data


def test_temporary_files_of_the_living_and_of_others_are_not_swept(scene, geosr, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    kept = [publish.part_path(out / "x.tif"), out / ".x.elsewhere.999999.0123abcd.part.tif",
            out / ".mine.part"]  # fmt: skip
    for path in kept:
        path.touch()
    assert geosr("superres", scene, out, "-m", "bicubic").returncode == 0
    assert set(names(out)) == {"scene.tif", "scene.geosr.json", *(path.name for path in kept)}


@pytest.mark.parametrize(
    "name, code", [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)], ids=lambda x: str(x)
)
def test_a_signal_ends_the_run_tidily(large, program, undisturbed, tmp_path, name, code):
    out = tmp_path / "out"
    pid = program.start(("superres", large, out, *SLOW), cwd=tmp_path)
    wait_for_part(out)
    os.kill(pid, getattr(signal, name))
    said = program.wait()
    assert said.returncode == code, said.stderr
    assert "Traceback" not in said.stderr and names(out) == []
    said = program.run(("superres", large, out, *SLOW), cwd=tmp_path)
    assert said.returncode == 0 and (out / "large.tif").read_bytes() == undisturbed.data


def test_a_second_run_of_the_same_output_is_turned_away(large, program, geosr, tmp_path):
    out = tmp_path / "out"
    with batch._locked(check(out) / "large.tif"):
        said = geosr("superres", large, out, "-m", "bicubic")
    assert_says(said, 11, "out/large.tif", "written by another run", "Wait for it to end")
    assert geosr("superres", large, out, "-m", "bicubic").returncode == 0


def check(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# a full disk

FULL = 60_000  # bytes: less than an output of 120 × 120 pixels


@pytest.mark.parametrize("kind", ["GTiff", "COG"])
@pytest.mark.parametrize("threads", [None, "ALL_CPUS", "1"])
def test_a_full_disk_stops_the_run(large, geosr, tmp_path, kind, threads):
    env = {"GDAL_NUM_THREADS": threads} if threads else {}
    args = ("superres", large, "out", "-m", "bicubic", "--format", kind)
    said = geosr(*args, *(["--threads", 1] if threads == "1" else []), env=env, limit=FULL)
    assert_says(said, 5, "out/large.tif", "bytes free", "run the same command again")
    assert "No space" in said.stderr or "could not verify" in said.stderr
    assert names(tmp_path / "out") == []
    assert geosr(*args).returncode == 0


def test_a_disk_that_is_full_for_the_cog_only_stops_the_run(large, geosr, tmp_path):
    args = ("superres", large, "out", "-m", "bicubic", "--format", "COG")
    said = geosr(*args, "--co", "COMPRESS=NONE", limit=345_000)
    assert_says(said, 5, "out/large.tif", "bytes free", "run the same command again")
    assert names(tmp_path / "out") == []


def test_a_full_disk_keeps_what_was_finished_and_tries_nothing_more(scene, large, geosr, tmp_path):
    small, last = tmp_path / "in/a_small", tmp_path / "in/z_last"
    scene.rename(small)
    shutil.copytree(small, last)
    said = geosr("superres", "in", "out", "-m", "bicubic", "--json", limit=100_000)
    assert_says(said, 5, "out/large.tif", "bytes free", "run the same command again")
    assert [outcome["scene"] for outcome in lines(said)] == ["a_small", "large"]
    assert names(tmp_path / "out") == ["a_small.geosr.json", "a_small.tif"]


@pytest.mark.parametrize("kind", ["GTiff", "COG"])
def test_overwriting_on_a_full_disk_keeps_the_old_file(large, geosr, tmp_path, kind):
    (tmp_path / "out.tif").write_bytes(b"mine")
    args = ("superres", large, "out.tif", "-m", "bicubic", "--overwrite", "--format", kind)
    said = geosr(*args, limit=FULL)
    assert_says(said, 5, "out.tif", "bytes free", "run the same command again")
    assert (tmp_path / "out.tif").read_bytes() == b"mine"
    assert names(tmp_path) == ["in", "out.tif"]


def test_an_overwrite_that_fails_keeps_the_old_output(finished, scene, geosr, tmp_path):
    halve(scene / "60m.tif")
    said = geosr(*finished.command, "--overwrite")
    assert_says(said, 4, "60m.tif", "cannot", "Replace the file")
    assert finished.output.read_bytes() == finished.data
    assert names(tmp_path / "out") == ["scene.geosr.json", "scene.tif"]


# order of durability, and the input


@pytest.fixture
def calls(monkeypatch):
    """What reaches the disk, in order: ("fsync" or "replace", file)."""
    seen = []
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def note_fsync(fd):
        seen.append(("fsync", Path(f"/proc/self/fd/{fd}").resolve()))
        fsync(fd)

    def note(call):
        def noted(src, dst, **settings):
            seen.append(("replace", Path(src), Path(dst)))
            call(src, dst, **settings)

        return noted

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note(replace))
    monkeypatch.setattr(os, "rename", note(rename))
    return seen


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_raster_is_on_the_disk_before_it_has_its_name(scene, tmp_path, calls):
    superres(open_scene(scene), tmp_path / "x.tif", weights.load("bicubic"))
    (renamed,) = [call for call in calls if call[0] == "replace"]
    part, final = renamed[1], renamed[2]
    assert final == tmp_path / "x.tif" and part.parent == tmp_path
    order = [calls.index(("fsync", part)), calls.index(renamed), calls.index(("fsync", tmp_path))]
    assert order == sorted(order)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_record_is_written_last(scene, tmp_path, calls):
    output = tmp_path / "x.tif"
    job = batch.Job(weights.load("bicubic"))
    (outcome,) = batch.run({scene: output}, job)
    assert outcome.status == "done", outcome.message
    renamed = [call for call in calls if call[0] == "replace"]
    assert [call[2] for call in renamed] == [output, batch.record_path(output)]
    part = renamed[1][1]
    assert calls.index(("fsync", part)) < calls.index(renamed[1])
    assert calls[-1] == ("fsync", tmp_path)


def test_a_file_that_does_not_read_back_is_not_published(scene, tmp_path, monkeypatch):
    def damage(part):
        with part.open("r+b") as file:
            file.seek(-200, os.SEEK_END)
            file.write(b"\0" * 200)

    monkeypatch.setattr(raster.publish, "flush", damage)
    with pytest.raises(GeosrError, match="could not verify"):
        superres(open_scene(scene), tmp_path / "x.tif", weights.load("bicubic"))
    assert names(tmp_path) == ["in"]


@pytest.mark.parametrize("kind", ["good", "safe", "stack"])
def test_the_input_is_never_touched(pristine, geosr, tmp_path, kind):
    before = snapshot(pristine["good"].parent)
    assert geosr("info", pristine[kind], "-m", "bicubic").returncode == 0
    assert geosr("superres", pristine[kind], "out", "-m", "bicubic").returncode == 0
    assert snapshot(pristine["good"].parent) == before
