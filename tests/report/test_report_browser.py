"""Reports in a real browser: the slider by key, mouse and touch; phone, paper, no script."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from reports import crop, page, render

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.actions.action_builder import ActionBuilder  # noqa: E402
from selenium.webdriver.common.actions.pointer_input import PointerInput  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not CHROMIUM or not DRIVER:
    pytest.skip("chromium and chromedriver are not installed", allow_module_level=True)

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --disable-dev-shm-usage"
)
LONG = "runs/a-very-long-folder-name/with_no_place_to_break/best.safetensors"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def html() -> str:
    shown = page("scene", crop(side=128, model=LONG), crop(1, side=128, truth=False))
    metrics = {"bicubic": {"rmse": 1.0}, LONG: {"rmse": 2.0}}
    facts = {"path": "/data/" + "x" * 200}
    return render(shown, page("two", crop(), metrics=metrics, facts=facts), table={"20": metrics})


def show(browser, path: Path, text: str, *, width: int = 1100, media: str = "") -> None:
    """A fresh page at a width; the log starts empty."""
    path.write_text(text, encoding="utf-8")
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})
    browser.get_log("browser")
    browser.get(path.as_uri())


def one(browser, css: str):
    return browser.find_element(By.CSS_SELECTOR, css)


def now(browser) -> int:
    return int(one(browser, ".bar").get_attribute("aria-valuenow"))


def clip(browser) -> int:
    """Per cent of the left image that are cut away on its right."""
    value = one(browser, ".stage figure.left").value_of_css_property("clip-path")
    return int(re.fullmatch(r"inset\(0(?:px)? (\d+)(?:%|px) 0(?:px|%)? 0(?:px|%)?\)", value)[1])


def pull(browser, kind: str, share: float) -> None:
    """Press the divider, move it by a share of the stage, let go."""
    stage, bar = one(browser, ".stage"), one(browser, ".bar")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", bar)
    builder = ActionBuilder(browser, mouse=PointerInput(kind, kind))
    builder.pointer_action.move_to(bar)
    builder.pointer_action.pointer_down()
    builder.pointer_action.move_to(bar, x=int(stage.size["width"] * share / 2))
    builder.pointer_action.pointer_up()
    builder.perform()


def test_the_slider_moves_by_key(browser, tmp_path):
    show(browser, tmp_path / "r.html", html())
    bar = one(browser, ".bar")
    assert (now(browser), clip(browser)) == (50, 50)
    for key, place in (
        (Keys.ARROW_RIGHT, 52), (Keys.ARROW_LEFT, 50), (Keys.ARROW_LEFT, 48), (Keys.HOME, 0),
        (Keys.ARROW_LEFT, 0), (Keys.END, 100), (Keys.ARROW_RIGHT, 100), (Keys.PAGE_DOWN, 90),
    ):  # fmt: skip
        bar.send_keys(key)
        assert (now(browser), clip(browser)) == (place, 100 - place)
    assert bar.get_attribute("aria-valuetext").startswith("90 % LR, 10 % runs/")
    assert browser.get_log("browser") == []


def test_the_slider_is_reached_by_tab(browser, tmp_path):
    show(browser, tmp_path / "r.html", html())
    for _ in range(10):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        if browser.switch_to.active_element.get_attribute("role") == "slider":
            return
    pytest.fail("no slider in the order of tabs")


@pytest.mark.parametrize("kind", ["mouse", "touch"])
def test_the_slider_follows_a_pointer(browser, tmp_path, kind):
    show(browser, tmp_path / "r.html", html(), width=375 if kind == "touch" else 1100)
    pull(browser, kind, 0.5)
    assert 72 <= now(browser) <= 78 and clip(browser) == 100 - now(browser)
    pull(browser, kind, -1)
    assert 22 <= now(browser) <= 28
    assert browser.get_log("browser") == []


def test_a_pointer_that_only_passes_does_not_move_it(browser, tmp_path):
    show(browser, tmp_path / "r.html", html())
    ActionChains(browser).move_to_element_with_offset(one(browser, ".stage"), 90, 20).perform()
    assert now(browser) == 50


def test_the_selects_choose_both_sides(browser, tmp_path):
    show(browser, tmp_path / "r.html", html())
    left, right = (Select(one(browser, f"select.{side}")) for side in ("left", "right"))
    assert left.first_selected_option.text == "LR"
    assert right.first_selected_option.text == LONG
    left.select_by_visible_text("bicubic")
    right.select_by_visible_text("truth")
    shown = [
        figure.find_element(By.TAG_NAME, "img").get_attribute("alt")
        for figure in browser.find_elements(By.CSS_SELECTOR, ".compare")[0].find_elements(
            By.TAG_NAME, "figure"
        )
        if figure.value_of_css_property("visibility") == "visible"
    ]
    assert shown == ["bicubic", "truth"]
    left.select_by_visible_text("truth")
    assert one(browser, ".stage figure.left").value_of_css_property("clip-path") == "none"


@pytest.mark.parametrize("width", [320, 375])
def test_a_phone_needs_no_sideways_scrolling(browser, tmp_path, width):
    show(browser, tmp_path / "r.html", html(), width=width)
    wide = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    assert browser.execute_script(wide) == [width, width]
    assert one(browser, ".stage").size["width"] == width
    assert browser.get_log("browser") == []


def test_without_script_and_on_paper_all_images_are_there(browser, tmp_path):
    bare = re.sub(r"<script>.*?</script>", "", html(), flags=re.DOTALL)
    for text, media in ((bare, ""), (html(), "print")):
        show(browser, tmp_path / "r.html", text, media=media)
        stage = one(browser, ".stage")
        figures = stage.find_elements(By.TAG_NAME, "figure")
        assert len(figures) == 4 and all(figure.is_displayed() for figure in figures)
        assert {f.value_of_css_property("clip-path") for f in figures} == {"none"}
        assert len({(f.location["x"], f.location["y"]) for f in figures}) == 4
        assert not one(browser, ".bar").is_displayed()
        assert not one(browser, ".pick").is_displayed()


def test_every_picture_loads(browser, tmp_path):
    show(browser, tmp_path / "r.html", html())
    widths = browser.execute_script("return [...document.images].map((i) => i.naturalWidth)")
    assert len(widths) == 11 and min(widths) > 0
