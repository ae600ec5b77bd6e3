"""Sentinel-2 MSI: band table, SAFE products (folder or zip), and flat folders of JP2 bands.

Band names, GSDs and `band_id`s follow ESA's product specification (S2-PDGS-TAS-DI-PSD).
"""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from geosr.errors import SceneError
from geosr.raster.files import open_raster
from geosr.raster.grid import Grid
from geosr.scene.acquisition import told
from geosr.scene.band import Band
from geosr.scene.note import Note
from geosr.scene.scene import Scene
from geosr.sensors.options import OpenOptions

GSD = {
    "B1": 60, "B2": 10, "B3": 10, "B4": 10, "B5": 20, "B6": 20, "B7": 20,
    "B8": 10, "B8A": 20, "B9": 60, "B10": 60, "B11": 20, "B12": 20,
}  # fmt: skip
ESA_ORDER = tuple(GSD)
_COMMON_NAMES = {
    "coastal": "B1", "blue": "B2", "green": "B3", "red": "B4", "rededge1": "B5",
    "rededge2": "B6", "rededge3": "B7", "nir": "B8", "nir08": "B8A", "nir09": "B9",
    "cirrus": "B10", "swir16": "B11", "swir22": "B12",
}  # fmt: skip
_BAND = re.compile(r"^B0?([1-9]|1[0-2]|8A)$", re.IGNORECASE)
_BAND_IN_NAME = re.compile(
    r"(?:^|[_.\-])(B(?:0?[1-9]|1[0-2]|0?8A))(?:[_.\-](10|20|60)m)?(?=[_.\-]|$)", re.IGNORECASE
)
# until December 2016 the name was S2A_OPER_MTD_SAFL1C_….xml
_METADATA = re.compile(r"^(?:MTD_MSI|S2._OPER_MTD_SAF)L(1C|2A)(?:_.*)?\.xml$", re.IGNORECASE)
_LEVEL = re.compile(r"L(1C|2A)(?=_|\.|$)", re.IGNORECASE)
_BASELINE = re.compile(r"_N(\d\d)(\d\d)_")
_TOLD = (
    "DATATAKE_SENSING_START", "PRODUCT_START_TIME", "SPACECRAFT_NAME", "SENSING_ORBIT_NUMBER",
    "SENSING_ORBIT_DIRECTION", "PROCESSING_BASELINE",
)  # fmt: skip  # of a product's metadata, under the names that GDAL's driver gives them
_LARGEST_XML = 2**25  # bytes; a product's own metadata take less than one MiB
_LAST_BASELINE = 5  # of ESA's releases; N9999 and the like are users' own processing


def band_name(text: str | None) -> str | None:
    """ESA's name for "B05", "b8a", "red" or "B4, central wavelength 665 nm"; None if no band."""
    token = re.split(r"[,\s(]", (text or "").strip(), maxsplit=1)[0]
    match = _BAND.match(token)
    return f"B{match[1].upper()}" if match else _COMMON_NAMES.get(token.lower())


def band_in_file_name(stem: str) -> tuple[str | None, int | None]:
    """Band and resolution (metres, None if unsaid) that a file's name tells."""
    match = _BAND_IN_NAME.search(stem)
    if not match:
        return None, None
    return band_name(match[1].upper().replace("B08A", "B8A")), int(match[2]) if match[2] else None


def sort_bands(names: Iterable[str]) -> tuple[str, ...]:
    """In ESA's order."""
    return tuple(sorted(names, key=ESA_ORDER.index))


def level_of(name: str) -> str:
    """Processing level that a product or folder name tells, "" if none."""
    match = _LEVEL.search(name)
    return f"L{match[1].upper()}" if match else ""


# SAFE


@dataclass(frozen=True)
class _Product:
    """Names inside a SAFE product, and how to reach them."""

    path: Path
    root: PurePosixPath
    names: tuple[PurePosixPath, ...]

    def text(self, name: PurePosixPath) -> bytes:
        """What a file of the product holds, of a large one no more than `parse` refuses."""
        if self.path.is_file():
            with zipfile.ZipFile(self.path) as archive, archive.open(str(name)) as file:
                return file.read(_LARGEST_XML + 1)
        return head_of(self.path / name)

    def gdal_path(self, name: PurePosixPath) -> str:
        if self.path.is_file():
            return f"/vsizip/{self.path.resolve()}/{name}"
        return str(self.path / name)


def told_by(path: Path) -> Path:
    """The product whose metadata (MTD_MSIL*.xml, manifest.safe) a path is; else the path."""
    told = _METADATA.match(path.name) or path.name.lower() == "manifest.safe"
    return path.parent if told and path.is_file() else path


def is_safe(path: Path) -> bool:
    """A folder with MTD_MSIL*.xml or named .SAFE, or a zip file."""
    if path.is_file():
        return path.suffix.lower() == ".zip"
    return path.is_dir() and (
        path.suffix.upper() == ".SAFE" or any(_METADATA.match(p.name) for p in path.iterdir())
    )


def open_safe(path: Path, options: OpenOptions) -> Scene:
    """A SAFE product, L1C or L2A, of any satellite and processing baseline.

    Raises:
        SceneError: metadata or bands are missing or unreadable.
    """
    product = _product(path)
    metadata = _metadata(product)
    level = level_of(metadata.stem) or "L2A"
    root = _parse(product, metadata)
    files = _native_files(product.names)
    granules = {file.parts[file.parts.index("GRANULE") + 1] for file in files.values()
                if "GRANULE" in file.parts}  # fmt: skip
    if len(granules) > 1:
        raise SceneError(f"{path} holds {len(granules)} granules. Give one tile's product.")
    if not files:
        raise SceneError(
            f"{path}: no band images found in GRANULE/*/IMG_DATA (looked for *_B02.jp2 or "
            "*_B02_10m.jp2 and so on). Download the product again."
        )
    offsets, notes = _offsets(path, root, options)
    bands = [
        Band(name, GSD[name], product.gdal_path(file), offset=offsets.get(name, 0.0),
             driver="JP2OpenJPEG")
        for name, file in files.items()
    ]  # fmt: skip
    name = path.name.removesuffix(".zip").removesuffix(".SAFE")
    quantification = options.quantification or _quantification(path, root)
    scene = _scene(name, path, level, bands, notes=notes, quantification=quantification)
    return replace(
        scene, metadata=() if path.is_file() else (str(path / metadata),),
        acquisition=told(name, {tag: root.findtext(f".//{tag}") or "" for tag in _TOLD}),
    )  # fmt: skip


def _product(path: Path) -> _Product:
    if path.is_dir():
        found = sorted(p.relative_to(path) for p in path.rglob("*") if p.is_file())
        return _Product(path, PurePosixPath(), tuple(PurePosixPath(p) for p in found))
    try:
        with zipfile.ZipFile(path) as archive:
            listed = (PurePosixPath(name) for name in sorted(archive.namelist()))
            names = tuple(name for name in listed if ".." not in name.parts)  # none leads out
    except (zipfile.BadZipFile, OSError) as error:
        raise SceneError(f"{path}: not a readable zip ({error}). Download it again.") from error
    return _Product(path, PurePosixPath(), names)


def _metadata(product: _Product) -> PurePosixPath:
    found = [name for name in product.names if _METADATA.match(name.name)]
    if not found:
        raise SceneError(
            f"{product.path}: no SAFE metadata (looked for MTD_MSIL1C.xml and MTD_MSIL2A.xml). "
            "Download the product again, or give its GeoTIFFs."
        )
    return min(found, key=lambda name: len(name.parts))


def _parse(product: _Product, name: PurePosixPath) -> ElementTree.Element:
    return parse(lambda: product.text(name), f"{product.path}/{name}")


def parse(text: Callable[[], bytes], name: str) -> ElementTree.Element:
    """XML that a product brought, of bounded size and without a document type.

    Only a document type declares entities, and it stands before the first element, in whatever
    encoding.

    Args:
        text: reads it, or of a large one `head_of`.
        name: for messages.

    Raises:
        SceneError: it is missing, broken, too large or has a document type.
    """
    try:
        read = text()
        if len(read) > _LARGEST_XML:
            raise SceneError(
                f"{name}: more than {_LARGEST_XML >> 20} MiB, so no metadata. Replace the file."
            )
        if _has_doctype(read):
            raise SceneError(
                f"{name}: XML document types and entities are refused. Replace the file."
            )
        return ElementTree.fromstring(read)
    except (
        ElementTree.ParseError, OSError, LookupError, ValueError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise SceneError(
            f"{name}: not readable as XML ({error}). Download the product again."
        ) from error


def head_of(path: Path | zipfile.Path) -> bytes:
    """A file for `parse`: whole, or as much of it as shows that it is too large."""
    with path.open("rb") as file:
        return file.read(_LARGEST_XML + 1)


class _FirstElement(Exception):
    """The part before the first element has ended."""


def _has_doctype(text: bytes) -> bool:
    """Whether a document type comes before the first element; reads no further than that."""
    found: list[str] = []

    def doctype(*_: object) -> None:
        found.append("doctype")
        raise _FirstElement

    def element(*_: object) -> None:
        raise _FirstElement

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler, parser.StartElementHandler = doctype, element
    with suppress(_FirstElement, expat.ExpatError):  # what is broken, who parses it says
        parser.Parse(text, True)
    return bool(found)


def _native_files(names: Sequence[PurePosixPath]) -> dict[str, PurePosixPath]:
    """The image of each band at its native GSD, in ESA order."""
    found: dict[str, PurePosixPath] = {}
    for name in names:
        if name.suffix.lower() != ".jp2" or "QI_DATA" in name.parts:
            continue
        band, gsd = band_in_file_name(name.stem)
        folder = re.fullmatch(r"R(10|20|60)m", name.parent.name)
        gsd = gsd or (int(folder[1]) if folder else None)
        if band and gsd in (None, GSD[band]):
            found.setdefault(band, name)
    return {band: found[band] for band in sort_bands(found)}


def _offsets(
    path: Path, root: ElementTree.Element, options: OpenOptions
) -> tuple[dict[str, float], tuple[Note, ...]]:
    """Offset by band from the product's XML; an absent element means 0."""
    if options.dn_offset is not None:
        return dict.fromkeys(GSD, options.dn_offset), (
            Note(f"DN offset {options.dn_offset:g} as asked"),
        )
    offsets = {}
    for element in root.iter():
        if element.tag in ("RADIO_ADD_OFFSET", "BOA_ADD_OFFSET") and element.text:
            offsets[_band_of(path, element)] = _number(
                element.text.split(), f"{path}: {element.tag}"
            )
    said = " ".join(f"{value:g}" for value in sorted(set(offsets.values()))) or "0"
    baseline = root.findtext(".//PROCESSING_BASELINE") or "unknown"
    return offsets, (Note(f"DN offset {said} from the product's XML (baseline {baseline})"),)


def _band_of(path: Path, element: ElementTree.Element) -> str:
    number = element.get("band_id", "")
    if not number.isdigit() or int(number) >= len(ESA_ORDER):
        raise SceneError(
            f"{path}: {element.tag} of band_id '{number}', not one of 0 to 12. "
            "Say --dn-offset N instead."
        )
    return ESA_ORDER[int(number)]


def _quantification(path: Path, root: ElementTree.Element) -> float:
    for tag in ("QUANTIFICATION_VALUE", "BOA_QUANTIFICATION_VALUE"):
        text = root.findtext(f".//{tag}")
        if text:
            value = _number(text.split(), f"{path}: {tag}")
            if value <= 0:
                raise SceneError(f"{path}: {tag} is {value:g}. Correct the file.")
            return value
    return 10000.0


# flat folders of JP2 bands, as on AWS


def is_flat(path: Path) -> bool:
    """A folder with band images such as B02.jp2, directly or in R10m, R20m, R60m."""
    return path.is_dir() and bool(_native_files(_flat_names(path)))


def open_flat(path: Path, options: OpenOptions) -> Scene:
    """A folder of `B02.jp2` … without SAFE metadata."""
    files = _native_files(_flat_names(path))
    offset, note = known_offset(path, options, {}) or NO_OFFSET
    bands = [
        Band(name, GSD[name], str(path / file), offset=offset, driver="JP2OpenJPEG")
        for name, file in files.items()
    ]
    name, quantification = path.resolve().name, options.quantification or 10000.0
    return _scene(name, path, level_of(name), bands, notes=(note,), quantification=quantification)


def _flat_names(path: Path) -> tuple[PurePosixPath, ...]:
    found = [*path.glob("*.jp2"), *path.glob("R[126]0m/*.jp2")]
    return tuple(PurePosixPath(p.relative_to(path)) for p in sorted(found))


NO_OFFSET = (
    0.0,
    Note(
        "no DN offset known, 0 assumed; say --dn-offset -1000 for counts of processing "
        "baseline 04.00 or later",
        warning=True,
    ),
)


ASSUMED = {"GEOSR_DN_OFFSET_SOURCE": "assumed"}  # of outputs whose offset is known no better


def known_offset(
    path: Path, options: OpenOptions, tags: Mapping[str, str]
) -> tuple[float, Note] | None:
    """Offset of files that have no product XML and how it is known; None where nothing tells it.

    Order: what the user said; known tags; the processing baseline in the product's or a parent
    folder's name. Never the sensing date: reprocessed archives carry the offset too.

    Raises:
        SceneError: a tag is no number.
    """
    if options.dn_offset is not None:
        return options.dn_offset, Note(f"DN offset {options.dn_offset:g} as asked")
    for tag in ("GEOSR_DN_OFFSET", "RADIO_ADD_OFFSET", "BOA_ADD_OFFSET"):
        if tag in tags and not ASSUMED.items() <= tags.items():
            if len(set(tags[tag].split())) > 1:
                raise SceneError(
                    f"{path}: tag {tag} says several offsets ('{tags[tag][:40]}'). "
                    "Say which one holds: --dn-offset N"
                )
            return _number(tags[tag].split(), f"{path}: tag {tag}"), Note(
                f"DN offset {tags[tag]} from tag {tag}"
            )
    for part in reversed(path.resolve().parts):
        match = _BASELINE.search(part)
        if match and int(match[1]) <= _LAST_BASELINE:
            offset = -1000.0 if int(match[1]) >= 4 else 0.0
            return offset, Note(f"DN offset {offset:g} from the baseline in {part}", guess=True)
    return None


def _number(words: Sequence[str], where: str) -> float:
    with suppress(ValueError, IndexError):
        value = float(words[0])
        if math.isfinite(value):
            return value
    found = " ".join(words)[:40]
    raise SceneError(f"{where} is no number ('{found}'). Correct the file.")


def _scene(
    name: str,
    path: Path,
    level: str,
    bands: Sequence[Band],
    *,
    notes: tuple[Note, ...],
    quantification: float,
) -> Scene:
    """A scene of one JP2 per band; the grids are those of the files."""
    grids: dict[int, Grid] = {}
    dtypes = set()
    for band in bands:
        with open_raster(band.path, driver=band.driver) as dataset:
            grid = Grid.of(dataset)
            dtypes.add(np.dtype(dataset.dtypes[0]))
        check_same(path, band, grids.setdefault(band.gsd, grid), grid)
    finest, named = min(grids), f"{name} {PurePosixPath(bands[0].path).stem}"
    return Scene(
        name, str(path), "sentinel2", level, tuple(bands), grids, grids[finest].window,
        np.result_type(*dtypes), quantification, notes, acquisition=told(named, {}),
    )  # fmt: skip


def check_same(path: Path, band: Band, grid: Grid, other: Grid) -> None:
    """All bands of one GSD must lie on one grid.

    Raises:
        SceneError: names the band and both grids.
    """
    if grid.ratio(other) != 1:
        raise SceneError(
            f"{path}: {band.name} lies on another grid ({other}) than the other {band.gsd} m bands "
            f"({grid}). Warp it onto theirs first; geosr does not resample inputs."
        )
