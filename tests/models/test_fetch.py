"""Downloads from a server of our own that cuts, fails, lies and redirects."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from geosr.errors import WeightsError
from geosr.models import fetch as module
from geosr.models import weights
from geosr.models.fetch import fetch

BODY = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self.path)
        tries = self.server.seen.count(self.path)
        kind = self.path.strip("/")
        if kind in ("302", "away"):
            self.send_response(302)
            self.send_header("Location", "/good" if kind == "302" else "ftp://127.0.0.1/good")
            self.end_headers()
            return
        if kind == "404" or kind == "503" or (kind == "busy" and tries < 3):
            self.send_error(404 if kind == "404" else 503)
            return
        body = {"long": BODY + b"!", "other": BODY[::-1], "html": b"<html>log in"}.get(kind, BODY)
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if kind == "html" else "application/x-thing")
        if kind != "endless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = kind == "cut" or (kind == "once" and tries == 1)
        self.wfile.write(body[: len(body) // 2] if cut else body * (1 + (kind == "endless")))

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "_PAUSES", (0.0, 0.0, 0.0))
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.seen = []
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def entry(server, kind: str, **more) -> dict:
    url = f"http://127.0.0.1:{server.server_port}/{kind}"
    return {"name": "net", "file": "net.safetensors", "sha256": SHA256, "bytes": len(BODY),
            "url": url, **more}  # fmt: skip


def loop_back(url: str) -> bool:
    return url.startswith("http://127.0.0.1:")


def get(found: dict, folder: Path, **more) -> bool:
    return fetch(found, folder, _allowed=loop_back, **more)


@pytest.mark.parametrize("kind", ["good", "302", "once", "busy"])
def test_a_file_arrives_whole_over_redirects_cuts_and_busy_servers(server, tmp_path, kind):
    told = []
    found = entry(server, kind)
    assert get(found, tmp_path / "new", progress=lambda *about: told.append(about))
    assert (tmp_path / "new/net.safetensors").read_bytes() == BODY
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["net.safetensors"]
    label = told[-1][0]
    assert sum(n for name, n, _ in told if name == label) == told[-1][2] == len(BODY)
    seen = list(server.seen)
    assert not get(found, tmp_path / "new") and server.seen == seen  # no connection at all


@pytest.mark.parametrize(
    ("kind", "tries", "said"),
    [
        ("404", 1, "404"),
        ("html", 1, "got HTML"),
        ("long", 1, "longer than 256,000"),
        ("endless", 1, "longer than 256,000"),
        ("other", 1, "sha256 is"),
        ("away", 1, "only https"),
        ("503", 3, "status 503"),
        ("cut", 3, "cut at 128,000 of 256,000"),
    ],
)
def test_what_is_not_the_file_never_gets_its_name(server, tmp_path, kind, tries, said):
    with pytest.raises(WeightsError, match=said):
        get(entry(server, kind), tmp_path)
    assert list(tmp_path.iterdir()) == [] and len(server.seen) == tries


def test_without_a_connection_the_way_by_hand_is_told(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError) as caught:
        get(entry(server, "good"), tmp_path)
    assert str(tmp_path / "net.safetensors") in str(caught.value) and SHA256 in str(caught.value)


def test_a_damaged_file_is_replaced_and_kept_aside(server, tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError):
        get(entry(server, "404"), tmp_path)
    assert path.read_bytes() == b"damaged"
    assert get(entry(server, "good"), tmp_path)
    assert path.read_bytes() == BODY
    (kept,) = tmp_path.glob("*.bad")
    assert kept.read_bytes() == b"damaged"


def test_two_that_fetch_the_same_both_end_with_it(server, tmp_path):
    found, meet = entry(server, "good"), threading.Barrier(2, timeout=20)

    def once(name: str, done: int, total: int) -> None:
        if not waited.get(threading.get_ident()):
            waited[threading.get_ident()] = True
            meet.wait()  # both are on their way

    waited, fetched = {}, []
    both = [
        threading.Thread(target=lambda: fetched.append(get(found, tmp_path, progress=once)))
        for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert fetched == [True, True] and (tmp_path / "net.safetensors").read_bytes() == BODY
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "file:///etc/hostname", "https:///x", "x"])
def test_only_https_is_fetched(server, tmp_path, url):
    with pytest.raises(WeightsError, match="only https"):
        fetch(entry(server, "good", url=url), tmp_path)
    assert server.seen == [] and list(tmp_path.iterdir()) == []


def test_entries_that_name_a_path_or_no_address_are_refused(server, tmp_path):
    with pytest.raises(WeightsError, match="names a path"):
        get(entry(server, "good", file="../net.safetensors"), tmp_path)
    with pytest.raises(WeightsError, match="no address"):
        get(entry(server, "good", url=None), tmp_path)
    assert server.seen == []


@pytest.fixture
def listed(server, tmp_path, monkeypatch):
    """A manifest with one file that came with geosr and one that did not."""
    monkeypatch.setattr(module.fetch, "__kwdefaults__",
                        {**module.fetch.__kwdefaults__, "_allowed": loop_back})  # fmt: skip
    here = tmp_path / "weights"
    here.mkdir()
    (here / "own.safetensors").write_bytes(b"own")
    own = {"name": "own", "file": "own.safetensors", "sha256": hashlib.sha256(b"own").hexdigest()}
    (here / "manifest.json").write_text(json.dumps({"weights": [own, entry(server, "good")]}))
    monkeypatch.setattr(weights, "folder", lambda: here)
    weights.manifest.cache_clear()
    yield here
    weights.manifest.cache_clear()


def test_the_command_fetches_by_name_or_all_that_have_an_address(geosr, listed, tmp_path):
    assert json.loads(geosr("weights", "list", "--json").stdout)[1]["state"] == "not fetched"
    done = geosr("weights", "fetch", "net", "--dst", "nets")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "nets/net.safetensors").read_bytes() == BODY
    assert "fetched" in geosr("weights", "fetch", "--all").stderr
    assert "there already" in geosr("weights", "fetch", "--all").stderr
    assert geosr("weights", "fetch", "--all", "-q").stderr == ""
    assert "there already" in geosr("weights", "fetch", "own").stderr
    assert geosr("weights", "verify").returncode == 0
    (listed / "own.safetensors").unlink()
    done = geosr("weights", "fetch", "own")
    assert done.returncode == 6 and "comes with geosr" in done.stderr
    for wrong in ((), ("net", "--all"), ("nett",)):
        assert geosr("weights", "fetch", *wrong).returncode == 2


def test_nothing_but_the_command_fetches():
    root = Path(module.__file__).parents[1]
    users = [p.name for p in root.rglob("*.py") if "geosr.models.fetch" in p.read_text()]
    assert users == ["weights.py"]
