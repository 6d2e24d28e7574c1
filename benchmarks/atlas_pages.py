"""The pages of an atlas of 10,000 units, from the disk, in headless Chromium.

The peer is the limit: a page that answers within a second, a first page of 500 kB, and 60 frames a
second while all tiles of a layer scroll by. The clock is the browser's, from the start of the
navigation until the page is shown and its keys work; for frames it is the processor time of the
page's thread. Without a program named chromium there are no rows."""

import shutil
import statistics
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlparse

from playwright.sync_api import Browser, CDPSession, sync_playwright

from benchmarks.measuring import REPEATS, Row, sized
from tests.helpers.made_atlas import MadeLayer, write_atlas

LAYERS, CHANNELS = sized(5, 2), sized(2048, 40)
SECONDS, BYTES, FRAME = 1.0, 500_000, 1000 / 60
FRAMES = sized(120, 3)
PAGES = {"overview": "", "layer": "#/layer%201", "unit": "#/layer%201/30"}

SCROLL = """frames => new Promise(done => {
    const step = () => {
        window.scrollBy(0, 120);
        frames-- > 0 ? requestAnimationFrame(step) : done();
    };
    step();
})"""


def bench() -> list[Row]:
    chromium = shutil.which("chromium")
    if chromium is None:
        return []
    layers = [MadeLayer(f"layer {i}", CHANNELS, tile=56) for i in range(LAYERS)]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = write_atlas(Path(folder), *layers, shared=True)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        rows = [_time(browser, site, kind) for kind in PAGES]
        rows += [_scroll(browser, site), _weigh(browser, site)]
        browser.close()
    return rows


def _time(browser: Browser, site: Path, kind: str) -> Row:
    seconds = statistics.median(
        _seconds_until_shown(browser, f"{site.as_uri()}{PAGES[kind]}")
        for _ in range(sized(REPEATS, 1))
    )
    units = f"{LAYERS * CHANNELS:,} units"
    name = f"atlas {kind} page, interactive, {units}"
    return Row(name, f"{seconds:.2f} s", f"{SECONDS:g} s", seconds / SECONDS, "<= 1")


def _seconds_until_shown(browser: Browser, url: str) -> float:
    page = browser.new_page()
    page.goto(url)
    page.wait_for_function("performance.getEntriesByName('atlas-shown').length")
    milliseconds = page.evaluate("performance.getEntriesByName('atlas-shown')[0].startTime")
    page.close()
    return milliseconds / 1000


def _scroll(browser: Browser, site: Path) -> Row:
    """One row of tiles a frame."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(f"{site.as_uri()}{PAGES['layer']}", wait_until="networkidle")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    before = _thread_seconds(session)
    page.evaluate(SCROLL, FRAMES)
    milliseconds = 1000 * (_thread_seconds(session) - before) / FRAMES
    page.close()
    name = f"atlas layer page, a frame while {CHANNELS:,} tiles scroll"
    return Row(name, f"{milliseconds:.1f} ms", f"{FRAME:.1f} ms", milliseconds / FRAME, "<= 1")


def _thread_seconds(session: CDPSession) -> float:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(each["value"] for each in metrics if each["name"] == "ThreadTime")


def _weigh(browser: Browser, site: Path) -> Row:
    """All files that the first page asks for, with the tiles on the screen."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    page.goto(site.as_uri(), wait_until="networkidle")
    page.close()
    files = [Path(unquote(urlparse(url).path)) for url in asked if url.startswith("file:")]
    size = sum(path.stat().st_size for path in files)
    return Row(
        "atlas, first page", f"{size / 1000:.0f} kB", f"{BYTES / 1000:g} kB", size / BYTES, "<= 1"
    )
