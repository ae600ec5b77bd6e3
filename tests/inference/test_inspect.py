"""What `geosr info` tells without running a net."""

import rasterio
import scene_files

from geosr.inference import inspect
from geosr.raster.grid import Grid
from geosr.sensors import open_scene


def test_a_large_grid_is_looked_at_in_windows_a_small_one_whole(tmp_path):
    scene_files.write_folder(tmp_path / "s", size=60)
    grid = open_scene(tmp_path / "s").grid
    assert sum(w.height * w.width for w in inspect._looks(grid, 512)) == 60 * 60
    wide = Grid(grid.crs, grid.transform, 200_000, 200_000)
    windows = inspect._looks(wide, 512)
    assert len(windows) == 9 and {w[2:] for w in windows} == {(512, 512)}
    assert max(w.row for w in windows) == max(w.col for w in windows) == 200_000 - 512


def test_the_share_of_nodata_is_that_of_the_pixels(tmp_path):
    scene_files.write_folder(tmp_path / "s", size=60)
    with rasterio.open(tmp_path / "s/10m.tif", "r+") as dataset:
        values = dataset.read()
        values[:, :15] = 0
        dataset.write(values)
    facts = inspect.inspect(open_scene(tmp_path / "s"), [])
    assert facts["gsd"][10]["nodata_share"] == 0.25
