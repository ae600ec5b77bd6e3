"""Get the weights that the manifest lists with an address: https only, whole or not at all."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from email.message import Message
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from geosr import __version__
from geosr.errors import WeightsError, cause
from geosr.models import weights
from geosr.raster import flock, publish

log = logging.getLogger("geosr")

Progress = Callable[[str, int, int], None]
_PAUSES = (0.5, 1.0, 0.0)  # seconds after a try that failed for a reason that may pass
_TIMEOUT = 20.0
_CHUNK = 2**16
_LARGEST = 2**31  # bytes, where the manifest does not say how many


class _BrokenError(Exception):
    """A try that failed for a reason that may pass."""


def _is_https(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" and bool(parts.hostname)


def fetch(
    entry: Mapping[str, Any],
    folder: Path,
    *,
    progress: Progress = lambda name, done, total: None,
    _allowed: Callable[[str], bool] = _is_https,
) -> bool:
    """Bring the file of a manifest entry into `folder`; False where it lies there intact.

    The file gets its name after its sha256 was checked. What lay there under that name is kept
    as NAME.SHA256.bad. Three tries.

    Args:
        progress: called with a name, the bytes since the last call, and all of them.

    Raises:
        WeightsError: no address, no connection, or not the file that the manifest means.
        StoppedError: the disk is full.
    """
    name, url = str(entry["name"]), str(entry.get("url") or "")
    path = folder / weights.file_name(entry)
    if path.is_file() and weights.digest(path) == entry["sha256"]:
        return False
    if not url:
        raise WeightsError(
            f"'{name}' has no address in the manifest: it comes with geosr, in {weights.folder()}. "
            "Install geosr again if it is not there."
        )
    _require_allowed(url, _allowed)
    _prepare(folder, path, entry)
    reason = ""
    for number, pause in enumerate(_PAUSES, 1):
        label = name if number == 1 else f"{name}, try {number}"
        try:
            _download(url, path, entry, partial(progress, label), _allowed)
            return True
        except _BrokenError as error:
            reason = str(error)
            time.sleep(pause)
    raise WeightsError(
        f"could not get {url} ({reason}). Check the connection and run the same command again; or "
        f"bring the file by other means to {path} (sha256 {entry['sha256']})."
    )


def _require_allowed(url: str, allowed: Callable[[str], bool]) -> None:
    if not allowed(url):
        raise WeightsError(f"{url}: only https addresses are fetched. Install geosr again.")


def _prepare(folder: Path, path: Path, entry: Mapping[str, Any]) -> None:
    """A folder that can be written to, with room."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise WeightsError(
            f"{folder} is not writable. Choose another folder with --dst, then name the file in it "
            f"as the model: --model DIR/{path.name}"
        )
    publish.sweep_parts(folder)
    publish.require_space(path, int(entry.get("bytes", 0)))


def _download(
    url: str,
    path: Path,
    entry: Mapping[str, Any],
    progress: Callable[[int, int], None],
    allowed: Callable[[str], bool],
) -> None:
    part, sha256 = publish.part_path(path), hashlib.sha256()
    try:
        with _opened(url, allowed) as response, part.open("xb") as file, flock.held(part):
            for chunk in _chunks(url, response, entry.get("bytes"), progress):
                sha256.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if sha256.hexdigest() != entry["sha256"]:
            raise WeightsError(
                f"{url}: sha256 is {sha256.hexdigest()[:12]}…, expected {entry['sha256'][:12]}…: "
                "not the file that this geosr means. Install the newest geosr."
            )
        _set_aside(path, entry["sha256"])
        publish.publish(part, path)
    except OSError as error:
        raise publish.not_written(path, error) from error
    finally:
        publish.discard(part)


def _set_aside(path: Path, sha256: str) -> None:
    """Another file of that name is not lost; the same one may have been fetched meanwhile."""
    with suppress(FileNotFoundError):
        found = weights.digest(path)
        if found == sha256:
            return
        kept = path.with_name(f"{path.name}.{found[:8]}.bad")
        path.replace(kept)
        log.warning("%s was not the file that geosr means; it is kept as %s", path, kept.name)


class _Redirects(HTTPRedirectHandler):
    """Follows to allowed addresses only."""

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self.allowed = allowed

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        """As the parent does, once the new address is allowed."""
        _require_allowed(newurl, self.allowed)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _opened(url: str, allowed: Callable[[str], bool]) -> Any:
    """The response, once it is clear that it is no page."""
    request = Request(url, headers={"User-Agent": f"geosr/{__version__}"})
    try:
        response = build_opener(_Redirects(allowed)).open(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code >= 500 or error.code == 429:
            raise _BrokenError(f"status {error.code}") from error
        raise WeightsError(
            f"{url}: the server says {error.code} {error.reason}. Install the newest geosr."
        ) from error
    except (OSError, HTTPException) as error:
        raise _BrokenError(cause(error) or type(error).__name__) from error
    if response.headers.get_content_type() == "text/html":
        response.close()
        raise WeightsError(
            f"{url}: got HTML, not weights. Is this network waiting for a login? Log in, then run "
            "the same command again."
        )
    return response


def _chunks(
    url: str, response: Any, size: int | None, progress: Callable[[int, int], None]
) -> Iterator[bytes]:
    """The body, which must be as long as was said."""
    declared = response.length or size or 0
    largest, done = size or _LARGEST, 0
    while chunk := _next(response):
        done += len(chunk)
        if max(done, declared) > largest:
            raise WeightsError(
                f"{url}: longer than {largest:,} bytes, so not the file that this geosr means. "
                "Install the newest geosr."
            )
        progress(len(chunk), size or declared)
        yield chunk
    if done < max(declared, size or 0):
        raise _BrokenError(f"cut at {done:,} of {max(declared, size or 0):,} bytes")


def _next(response: Any) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, HTTPException) as error:
        raise _BrokenError(cause(error) or type(error).__name__) from error
