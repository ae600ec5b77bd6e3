"""Is this machine fit for geosr? Libraries, devices, drivers, weights, disk."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from geosr import __version__
from geosr.batch import locks, records
from geosr.errors import GeosrError, cause
from geosr.raster import publish

OK, WARN, FAIL = "ok", "warn", "FAIL"
_NEEDED = {"GTiff": "no raster can be read or written"}
_WANTED = {
    "COG": "--format COG is not possible",
    "JP2OpenJPEG": "Sentinel-2 products (.SAFE) cannot be read",
    "PNG": "PNG images cannot be read",
    "HDF5": "Proba-V products cannot be read",
}
EXTRAS = {  # by name: distributions of the extra, and what it is for
    "classic": (("scikit-learn",), "training rfsr"),
    "convert": (("h5py",), "converting Keras weights"),
    "dask": (("dask", "distributed"), "a cluster as the executor of a batch"),
    "onnx": (("onnx", "onnxruntime", "onnxscript"), "geosr export, and running ONNX files"),
    "stac": (("pystac",), "superres --stac"),
    "xarray": (("xarray", "rioxarray"), "geosr.sharpen of DataArrays"),
}
_BF16_FLAGS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "bf16": "ARM BF16"}
_CPU_FACTS = Path("/proc/cpuinfo")
_SPACE = 5 * 2**30  # a whole Sentinel-2 scene at 10 m is 2.9 GB before compression


@dataclass(frozen=True)
class Finding:
    """One line of the report; `level` is OK, WARN or FAIL."""

    level: str
    name: str
    message: str


def diagnose(folder: Path) -> Iterator[Finding]:
    """Look at everything; what breaks is a finding, never an error.

    Args:
        folder: where outputs are to go; if it is not there, the nearest one above it is tried.
            A small file is written, locked and removed.
    """
    folder = _nearest(folder)
    probes: dict[str, Callable[[], Iterator[Finding]]] = {
        "torch": _torch,
        "cpu": _cpu,
        "gdal": _gdal,
        "extras": _extras,
        "weights": _weights,
        "space": partial(_space, folder),
        "write": partial(_write, folder),
        "lock": partial(_lock, folder),
    }
    yield Finding(OK, "geosr", f"{__version__}, Python {platform.python_version()}")
    for name, probe in probes.items():
        try:
            yield from probe()
        except (ImportError, OSError, RuntimeError, GeosrError) as error:
            yield Finding(FAIL, name, cause(error) or type(error).__name__)


def _nearest(folder: Path) -> Path:
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _torch() -> Iterator[Finding]:
    import torch

    yield Finding(OK, "torch", f"{torch.__version__}, {torch.get_num_threads()} threads")
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without"
        yield Finding(OK, "cuda", f"no device ({built}); nets run on the CPU")
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        yield Finding(
            OK, f"cuda:{index}",
            f"{facts.name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, "
            f"capability {facts.major}.{facts.minor}",
        )  # fmt: skip


def _cpu() -> Iterator[Finding]:
    import torch

    yield Finding(OK, "cpu", f"{torch.backends.cpu.get_cpu_capability()}, {_bf16()}")


def _bf16() -> str:
    """What the CPU has for --precision bf16, by the kernel's list of its flags."""
    if not _CPU_FACTS.exists():
        return "bf16 unknown (no /proc/cpuinfo)"
    lines = _CPU_FACTS.read_text(errors="replace").splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "").split()
    found = [name for flag, name in _BF16_FLAGS.items() if flag in flags]
    return f"bf16 by {' and '.join(found)}" if found else "no bf16 instructions: fp32 is faster"


def _gdal() -> Iterator[Finding]:
    import rasterio

    yield Finding(OK, "gdal", f"{rasterio.__gdal_version__}, rasterio {rasterio.__version__}")
    with rasterio.Env() as env:
        drivers = env.drivers()
    for name, loss in (_NEEDED | _WANTED).items():
        if name in drivers:
            yield Finding(OK, f"driver {name}", drivers[name])
        else:
            yield Finding(FAIL if name in _NEEDED else WARN, f"driver {name}", f"missing: {loss}")


def _extras() -> Iterator[Finding]:
    """Which extras are installed; none is needed, so none is missed."""
    for name, (distributions, purpose) in EXTRAS.items():
        found = {each: _version(each) for each in distributions}
        if all(found.values()):
            said = ", ".join(f"{each} {version}" for each, version in found.items())
        else:
            said = f"not installed (pip install 'geosr[{name}]')"
        yield Finding(OK, f"extra {name}", f"{said}: {purpose}")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _weights() -> Iterator[Finding]:
    from geosr.models import weights

    folder, entries = weights.folder(), weights.manifest()
    if not entries:
        yield Finding(WARN, "weights", f"none are bundled (looked in {folder}); give --model FILE")
    for name, entry in entries.items():
        path, expected = folder / Path(str(entry.get("file"))).name, str(entry.get("sha256"))
        if not path.is_file():
            yield Finding(FAIL, f"weights {name}", f"{path} is missing. Install geosr again.")
        elif (actual := records.sha256(path)) != expected:
            yield Finding(
                FAIL, f"weights {name}",
                f"{path}: sha256 is {actual[:12]}…, expected {expected[:12]}…. "
                "Install geosr again.",
            )  # fmt: skip
        else:
            yield Finding(OK, f"weights {name}", f"{path.name}, sha256 {actual[:12]}…")


def _space(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    level = OK if free >= _SPACE else WARN
    note = "" if level == OK else "; a whole Sentinel-2 scene may not fit"
    yield Finding(level, "space", f"{free / 2**30:.1f} GiB free in {folder}{note}")


def _write(folder: Path) -> Iterator[Finding]:
    path = publish.part_path(folder / "probe")
    try:
        publish.write_bytes(path, b"geosr")
        same = path.read_bytes() == b"geosr"
    finally:
        path.unlink(missing_ok=True)
    said = "files are written whole" if same else "a file reads back otherwise than written"
    yield Finding(OK if same else FAIL, "write", f"{said} in {folder}")


def _lock(folder: Path) -> Iterator[Finding]:
    probe = publish.part_path(folder / "probe")
    with locks.locked(probe):
        held = locks.is_locked(probe)
    if held:
        yield Finding(OK, "lock", f"locks hold in {folder}")
    else:
        note = "a network folder? Outputs stay whole, but two runs may do the same work twice"
        yield Finding(WARN, "lock", f"locks do not hold in {folder} ({note})")
