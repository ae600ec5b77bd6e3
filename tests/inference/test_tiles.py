"""Laws of windows and tiles."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geosr.inference.tiles import TileGrid, best_shape, spread
from geosr.raster.window import Window

settings.register_profile("calm", deadline=None)
settings.load_profile("calm")
sides = st.integers(1, 300)


@given(sides, st.integers(1, 400))
def test_spans_cover_every_pixel_once_between_their_seams(extent, size):
    spans = spread(extent, size)
    owned = [pixel for span in spans for pixel in range(span.first, span.last)]
    assert owned == list(range(extent))


@given(sides, st.integers(1, 400))
def test_spans_are_equally_long_no_longer_than_asked_and_inside(extent, size):
    spans = spread(extent, size)
    assert len({span.stop - span.start for span in spans}) == 1
    for span in spans:
        assert 0 <= span.start <= span.first < span.last <= span.stop <= extent
        assert span.stop - span.start <= size


@given(sides, sides, st.integers(5, 90), st.integers(-50, 50), st.integers(-50, 50))
def test_tiles_are_row_major_counted_and_inside_the_window(height, width, size, row, col):
    window = Window(row, col, height, width)
    grid = TileGrid(window, size)
    tiles = list(grid)
    assert len(tiles) == len(grid)
    assert [(t.row, t.col) for t in tiles] == sorted((t.row, t.col) for t in tiles)
    assert sum(t.core.height * t.core.width for t in tiles) == height * width
    assert all(t.window.intersect(window) == t.window for t in tiles)


@given(st.integers(-40, 40), st.integers(-40, 40), sides, sides, st.integers(1, 7))
def test_a_finer_window_is_the_same_ground(row, col, height, width, k):
    window = Window(row, col, height, width)
    assert window.at(k).coarse(k) == window
    assert window.at(k).height == k * height


@given(st.integers(-40, 40), st.integers(-40, 40), sides, sides, st.integers(1, 7))
def test_a_coarse_window_covers_and_is_smallest(row, col, height, width, k):
    window = Window(row, col, height, width)
    cover = window.coarse(k).at(k)
    assert cover.intersect(window) == window
    assert 0 <= window.row - cover.row < k
    assert 0 <= cover.row + cover.height - window.row - window.height < k


@given(sides, sides, st.integers(0, 20), st.integers(1, 40_000), st.integers(1, 300))
def test_the_best_shape_keeps_its_limits_and_covers(height, width, margin, area, rows):
    tall, wide = best_shape((height, width), margin, area, rows)
    assert 1 <= tall <= max(height, 1) and 1 <= wide <= width
    assert tall <= rows
    if (tall, wide) != (1, 1):
        assert (tall + 2 * margin) * (wide + 2 * margin) <= area


def test_the_best_shape_computes_little_twice():
    """10980 px at 10 m in 60 m pixels: less than a tenth is computed again."""
    tall, wide = best_shape((1830, 1830), 3, 2**30 // 31904, 91)
    assert (tall + 6) * (wide + 6) / (tall * wide) < 1.1
    assert best_shape((183, 183), 3, 10**6, 10**6) == (183, 183)
    assert best_shape((183, 183), 3, 10**6, 61) == (61, 183)


def test_tiles_may_be_wider_than_high():
    grid = TileGrid(Window(0, 0, 10, 30), 5, 15)
    assert [t.core for t in grid] == [Window(r, c, 5, 15) for r in (0, 5) for c in (0, 15)]


@given(sides, sides, st.integers(5, 90), st.integers(5, 90), st.sets(st.integers(1, 300)))
def test_panels_cover_every_pixel_once_and_are_counted(height, width, size, across, borders):
    window = Window(-3, 7, height, width)
    inside = tuple(sorted(at for at in borders if at < width))
    grid = TileGrid(window, size, across, inside)
    assert [p.window.col - 7 for p in grid.panels] == [0, *inside]
    assert len(list(grid)) == len(grid)
    seen = np.zeros((height, width), int)
    for tile in grid:
        seen[tile.core.within(window)] += 1
    assert (seen == 1).all()
    assert [strip for panel in grid.panels for strip in panel.strips()] == list(grid.strips())
