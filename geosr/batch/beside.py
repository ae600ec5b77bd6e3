"""What goes beside a finished output for people and catalogues: pictures, a STAC Item, a page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from pathlib import Path

from geosr import __version__, report
from geosr.batch import items, records
from geosr.errors import GeosrError
from geosr.report import pages, quicklook

log = logging.getLogger("geosr")


def make(
    output: Path, wanted: Collection[str], *, overwrite: bool = False, missing: bool = False
) -> None:
    """Make what is wanted; what cannot be made is warned of, and the output stands.

    Args:
        wanted: some of "quicklook", "STAC Item", "report".
        overwrite: replace files of others too.
        missing: make only what is not there.
    """
    parts: dict[str, tuple[Path, Callable[[Path, bool], object]]] = {
        "quicklook": (quicklook.paths(output)[0], _quicklook),
        "STAC Item": (items.item_path(output), _item),  # it names the pictures
        "report": (pages.page_path(output), _page),
    }
    for what, (path, made) in parts.items():
        if what not in wanted or (missing and path.exists()):
            continue
        try:
            made(output, overwrite)
        except GeosrError as error:
            log.warning("no %s of %s: %s", what, output, error)


def _quicklook(output: Path, overwrite: bool) -> None:
    quicklook.draw(output, overwrite=overwrite)


def _item(output: Path, overwrite: bool) -> None:
    items.write(output, records.require(output), overwrite=overwrite)


def _page(output: Path, overwrite: bool) -> None:
    page = pages.of_output(output, records.require(output))
    html = report.render(output.stem, [page], facts={"geosr": __version__}, definitions={})
    report.write(pages.page_path(output), html, overwrite=overwrite)
