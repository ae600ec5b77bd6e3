"""MODIS and VIIRS surface reflectance for tests: names, tiles, layers, and ground of our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from make_landsat import ground, means, seen
from rasterio.crs import CRS

SINUSOIDAL = CRS.from_proj4("+proj=sinu +R=6371007.181 +units=m +no_defs")
SIDE = 1111950.5196666666  # metres of a tile; 4800 pixels of 250 m
LEFT, TOP = 0.0, 5 * SIDE  # of tile h18v04
FINE = SIDE / 4800
FILL = -28672
MODIS = "M{0}D09{1}.A2020001.h18v04.061.2020003032127.{2}.tif"
APPEEARS = "M{0}D09{1}.061_{2}_doy2020001_aid0001.tif"
VIIRS = "VNP09GA.A2020001.h18v04.002.2023105183328"
SHARES = {1: 1.0, 2: 2.5, 3: 0.5, 4: 0.8, 5: 1.6, 6: 1.2, 7: 0.7}
CLOUD, SHADOW, CLOUDY, MIXED, UNSET = 1 << 10, 1 << 2, 0b01, 0b10, 0b11
LAND = 1 << 3


def write(
    path: Path, values: np.ndarray, gsd: float, *, corner: float = 0.0, nodata: float | None = FILL
) -> Path:
    """One layer that begins `corner` metres down and right from the tile's corner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = Affine(gsd, 0, LEFT + corner, 0, -gsd, TOP - corner)
    height, width = values.shape
    with rasterio.open(path, "w", driver="GTiff", height=height, width=width, count=1,
                       dtype=values.dtype, nodata=nodata, crs=SINUSOIDAL,
                       transform=grid) as file:  # fmt: skip
        file.write(values, 1)
    return path


def counts(reflectance: np.ndarray) -> np.ndarray:
    return np.rint(10000 * reflectance).astype(np.int16)


def modis(
    path: Path, *, side: int = 48, fine: bool = True, state: np.ndarray | None = None,
    names: str = MODIS, corner: float = 0.0,
) -> Path:  # fmt: skip
    """MOD09GA's bands of `side` pixels of 500 m and MOD09GQ's, in one folder.

    Args:
        state: of pixels of 1 km; None is clear land.
        corner: metres that the 250 m bands begin down and right from the others.
    """
    field = ground(side)
    for number, share in SHARES.items():
        values = counts(share * seen(field))
        values[0, 0] = FILL
        write(path / names.format("O", "GA", f"sur_refl_b0{number}_1"), values, 2 * FINE)
    if state is None:
        state = np.full((side // 2, side // 2), LAND, np.uint16)
    write(path / names.format("O", "GA", "state_1km_1"), state, 4 * FINE, nodata=65535)
    shown = field[1:-1, 1:-1] if corner else field
    for number in (1, 2) if fine else ():
        values = counts(SHARES[number] * means(shown, 2))
        write(path / names.format("O", "GQ", f"sur_refl_b0{number}_1"), values, FINE,
              corner=corner)  # fmt: skip
    return path


_STRUCTURE = """GROUP=GridStructure
{grids}END_GROUP=GridStructure
END
"""
_GRID = """\tGROUP=GRID_{number}
\t\tGridName="{name}"
\t\tXDim={side}
\t\tYDim={side}
\t\tUpperLeftPointMtrs=({left:f},{top:f})
\t\tLowerRightMtrs=({right:f},{bottom:f})
\t\tProjection=HE5_GCTP_SNSOID
\t\tProjParams=(6371007.181000,0,0,0,0,0,0,0,0,0,0,0,0)
\t\tSphereCode=-1
\t\tGridOrigin=HE5_HDFE_GD_UL
\t\tGROUP=Dimension
{dimensions}\t\tEND_GROUP=Dimension
\t\tGROUP=DataField
{fields}\t\tEND_GROUP=DataField
\tEND_GROUP=GRID_{number}
"""


def viirs_layers(side: int, cloud: bool) -> dict[str, tuple[int, np.ndarray]]:
    """Layers by name: pixels of 1 km along one of theirs, and values; `side` pixels of 1 km."""
    field = ground(side)
    layers = {f"I{n}": (2, counts(s * means(field, 2))) for n, s in ((1, 1.0), (2, 2.5), (3, 1.2))}
    layers |= {f"M{n}": (1, counts(s * seen(field)))
               for n, s in ((3, 0.5), (5, 1.0), (8, 1.6), (11, 0.7))}  # fmt: skip
    layers["M3"][1][0, 0] = FILL
    quality = np.zeros((side, side), np.uint8)
    if cloud:
        quality[:4, :6] = 0b1000  # probably cloudy
        quality[6, 6] = 0b0100  # probably clear
    layers["QF1"] = (1, quality)
    return layers


def viirs(
    folder: Path,
    *,
    side: int = 48,
    cloud: bool = False,
    grid: str = "VIIRS",
    structure: bool = True,
) -> Path:
    """VNP09GA in HDF5, and its path.

    Args:
        grid: "VIIRS" of collection 2, "VNP" of collection 1.
        structure: whether the file says where its grids lie.
    """
    import h5py

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{VIIRS}.h5"
    layers = viirs_layers(side, cloud)
    with h5py.File(path, "w") as file:
        for name, (k, values) in layers.items():
            where = f"HDFEOS/GRIDS/{grid}_Grid_{'500m' if k == 2 else '1km'}_2D/Data Fields"
            layer = file.create_dataset(f"{where}/SurfReflect_{name}_1", data=values,
                                        compression="gzip")  # fmt: skip
            if name != "QF1":
                layer.attrs["_FillValue"] = np.int16(FILL)
                layer.attrs["scale_factor"], layer.attrs["add_offset"] = 1e-4, 0.0
        if structure:
            text = _STRUCTURE.format(grids="".join(
                _grid(number, f"{grid}_Grid_{name}_2D", k * side,
                      [n for n, (own, _) in layers.items() if own == k])
                for number, (name, k) in enumerate((("500m", 2), ("1km", 1)), 1)
            ))  # fmt: skip
            data = np.bytes_(text.ljust(32000, "\0"))
            file.create_dataset("HDFEOS INFORMATION/StructMetadata.0", data=data)
    return path


def _grid(number: int, name: str, side: int, fields: list[str]) -> str:
    extent = side * (2 * FINE if "500m" in name else 4 * FINE)
    dimensions = "".join(
        f'\t\t\tOBJECT=Dimension_{i}\n\t\t\t\tDimensionName="{axis}"\n\t\t\t\tSize={side}\n'
        f"\t\t\tEND_OBJECT=Dimension_{i}\n"
        for i, axis in enumerate(("YDim", "XDim"), 1)
    )
    listed = "".join(
        f'\t\t\tOBJECT=DataField_{i}\n\t\t\t\tDataFieldName="SurfReflect_{field}_1"\n'
        f'\t\t\t\tDataType=H5T_NATIVE_SHORT\n\t\t\t\tDimList=("YDim","XDim")\n'
        f'\t\t\t\tMaxdimList=("YDim","XDim")\n\t\t\tEND_OBJECT=DataField_{i}\n'
        for i, field in enumerate(fields, 1)
    )
    return _GRID.format(number=number, name=name, side=side, left=LEFT, top=TOP,
                        right=LEFT + extent, bottom=TOP - extent, dimensions=dimensions,
                        fields=listed)  # fmt: skip


def viirs_geotiffs(path: Path, *, side: int = 48, cloud: bool = False) -> Path:
    """The same as GeoTIFFs, a layer each, in one folder."""
    for name, (k, values) in viirs_layers(side, cloud).items():
        nodata = 255 if name == "QF1" else FILL
        write(path / f"{VIIRS}.SurfReflect_{name}_1.tif", values, 4 * FINE / k, nodata=nodata)
    return path
