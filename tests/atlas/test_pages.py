"""The pages of an atlas, in headless Chromium from file://, on a made atlas with nasty names."""

import json
import re
import shutil
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
from axe_core_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.helpers.made_atlas import CLASSES, NASTY, MadeLayer, MadeNet, write_atlas
from zfnet.atlas.pages import write_pages
from zfnet.errors import InputError

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
browses = pytest.mark.skipif(CHROMIUM is None, reason="needs a program named chromium")

SECOND = f"features.9/{NASTY} 50%"
LAYERS = (
    MadeLayer("conv1", 12, size=12, window=7, tile=7),
    MadeLayer(SECOND, 200, tile=8, window=15, dead=(1, 2), saturated=(7, 9), evolution=True,
              rules="GELU x 3", warnings=(f"pool1: {NASTY}",)),
    MadeLayer("fc6", 20, size=1, window=None),
)  # fmt: skip
PAPER = (253, 253, 251)  # of the light scheme
NETS = (f"net 1 {NASTY}", f"net 2 {NASTY}")
PAGES = {
    "overview": "",
    "layer": f"#/{quote(SECOND, safe='')}",
    "unit": f"#/{quote(SECOND, safe='')}/13",
    "unit that sees all": "#2/fc6/3",
    "dead unit": f"#/{quote(SECOND, safe='')}/1",
    "class": "#class/0",
    "classes": "#class",
    "compare": "#compare",
    "compared layer": "#compare/conv1",
    "pair": "#compare/conv1/3/conv1/8",
    "nothing": "#/no%20such",
}

SHIFT = """() => new Promise(done => new PerformanceObserver((list, observer) => {
    observer.disconnect();
    const shifts = list.getEntries().filter(each => each.entryType === "layout-shift");
    done(shifts.reduce((sum, each) => sum + each.value, 0));
}).observe({type: "layout-shift", buffered: true}) || setTimeout(() => done(0), 50))"""


class Visitor:
    """A page of the browser that notes errors and every request."""

    def __init__(self, page: Page, site: Path) -> None:
        self.page, self.site = page, site
        self.faults: list[str] = []
        page.on("console", lambda message: self.faults.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("requestfailed", lambda request: self.faults.append(f"missing: {request.url}"))
        page.on("request", lambda request: self._asked(request.url))

    def _asked(self, url: str) -> None:
        if not url.startswith(("file:", "data:")):
            self.faults.append(f"request: {url}")

    def open(self, address: str = "") -> Page:
        """Opens an address as if from a bookmark, and waits until it is shown."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.site.as_uri()}{address}")
        self.page.wait_for_selector("main h1")
        return self.page

    @property
    def heading(self) -> str:
        return self.page.inner_text("main h1").strip()

    def wait_for(self, heading: str) -> None:
        self.page.wait_for_function(
            "text => document.querySelector('main h1').innerText.trim() === text", arg=heading
        )

    def channels(self) -> list[int]:
        """The channels of the grid's tiles, in their order."""
        labels = self.page.locator(".grid li .label span:first-child").all_inner_texts()
        return [int(label) for label in labels]


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module", name="site")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_atlas(tmp_path_factory.mktemp("atlas"), *LAYERS, two=True, shared=True)


@pytest.fixture(name="visitor")
def _visitor(browser: Browser, site: Path) -> Iterator[Visitor]:
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    visitor = Visitor(context.new_page(), site)
    yield visitor
    context.close()
    assert not visitor.faults


@browses
@pytest.mark.parametrize("kind", PAGES)
def test_every_page_is_shown_and_accessible(visitor: Visitor, kind: str) -> None:
    """No serious fault in both color schemes, at the width of a phone and of a desk; nothing is
    wider than the screen; headings do not skip a level."""
    page = visitor.open(PAGES[kind])
    page.wait_for_load_state("networkidle")
    assert page.evaluate(SHIFT) < 0.01
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    for width, scheme, rules in ((360, "dark", ["color-contrast"]), (1200, "light", None)):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
        found = Axe().run(page, options=options)["violations"]
        serious = [
            (each["id"], [node["html"] for node in each["nodes"]][:3])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert not serious
    levels = page.eval_on_selector_all(
        "main h1, main h2, main h3", "all => all.map(each => Number(each.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.title() != "broken"
    assert not page.locator("main script, main b").count()


@browses
def test_a_unit_shows_what_its_data_say(visitor: Visitor) -> None:
    page = visitor.open(PAGES["unit"])
    unit = _data(visitor.site, "net_1/layer_1/units_0.js")["13"]
    assert visitor.heading == f"{SECOND} 13"
    projections = page.locator("ul[aria-label=Projections] .tile")
    assert projections.count() == page.locator("ul[aria-label=Patches] .tile").count() == 9
    assert NASTY in projections.first.get_attribute("aria-label")
    bars = page.locator("section[aria-label='Mean activation by class'] .bars li")
    means = sorted(zip(unit["class_means"], CLASSES, strict=True), reverse=True)
    assert bars.locator(".name").all_inner_texts() == [name for _, name in means]
    fed = page.locator(".connections").first.locator("a")
    assert [link.get_attribute("href") for link in fed.all()] == [
        f"#/conv1/{each['channel']}" for each in unit["feeds"]
    ]
    assert page.locator(".examples li").count() == 5
    last = page.locator(".examples li").last.locator(".tile").first  # its activation is 0
    assert last.get_attribute("aria-label") == "no projection: the activation is 0"
    assert page.locator(".evolution li p").all_inner_texts()[2].endswith("jump")
    assert "checkpoint 0123456789abcde1" in page.inner_text(".cite")


@browses
def test_tiles_are_the_pixels_of_the_sheet(browser: Browser, tmp_path: Path) -> None:
    """The third patch of a unit, and the 70th channel's tile of the layer, are photographed. No
    color of a neighbor enters."""
    layer = MadeLayer("conv1", 70, tile=20)
    site = write_atlas(tmp_path, layer, images=12)
    for file, rows, columns, row, column in (("unit_69", 5, 9, 1, 2), ("tiles_1", 2, 8, 0, 5)):
        sheet = Image.new("RGB", (columns * 20, rows * 20), "lime")
        sheet.paste("red", (column * 20, row * 20, column * 20 + 20, row * 20 + 20))
        sheet.save(tmp_path / f"net_1/layer_0/{file}.webp", lossless=True)
    page = browser.new_page()
    visitor = Visitor(page, site)

    def color(selector: str) -> object:
        page.mouse.move(0, 0)
        page.wait_for_selector(f"{selector}[style*='url']")
        shot = Image.open(BytesIO(page.locator(selector).screenshot())).convert("RGB")
        colors = {color for _, color in shot.getcolors()} - {PAPER}  # of a border, by rounding
        assert len(colors) == 1
        return colors.pop()

    visitor.open("#/conv1/69")
    assert color("ul[aria-label=Patches] li:nth-child(3) .tile") == (255, 0, 0)
    assert color("ul[aria-label=Patches] li:nth-child(2) .tile") == (0, 255, 0)
    visitor.open("#/conv1?text=69")
    assert color(".grid .tile") == (255, 0, 0)
    page.close()
    assert not visitor.faults


@browses
def test_the_layer_sorts_and_filters(visitor: Visitor) -> None:
    page = visitor.open(PAGES["layer"])
    summary = _data(visitor.site, "net_1/layer_1/summary.js")
    form, status = page.locator("form.controls"), page.locator("p.status")
    shown = visitor.channels()
    assert 0 < len(shown) < 200  # the others are not in the document
    assert shown == list(range(len(shown)))
    for sort, key in (("largest", "largest"), ("auc", "auc"), ("active", "active"),
                      ("object", "energy_on_object"), ("jump", "last_jump")):  # fmt: skip
        form.get_by_label("Sort by").select_option(sort)
        values = [summary[key][channel] for channel in range(200)]
        known = [c for c in range(200) if values[c] is not None and (sort != "jump" or values[c])]
        order = sorted(known, key=lambda c: -values[c])
        first = visitor.channels()[:20]
        assert first == order[:20]
    form.get_by_label("reversed").check()
    assert summary["last_jump"][visitor.channels()[0]] == 1
    form.get_by_label("reversed").uncheck()
    form.get_by_label("Sort by").select_option("number")

    form.get_by_label("Best class").select_option("3")
    best = [c for c in range(200) if summary["best_class"][c] == 3]
    assert visitor.channels() == best
    assert status.inner_text() == f"{len(best)} of 200 channels"
    form.get_by_label("Best class").select_option("")
    form.get_by_label("Show").select_option("dead")
    assert visitor.channels() == [1, 2]
    form.get_by_label("Show").select_option("saturated")
    assert visitor.channels() == [7, 9]
    form.get_by_label("Show").select_option("")
    for text, expected in {
        "20-23": [20, 21, 22, 23],
        "ünï": best,
        "199": [199],
        "no such": [],
    }.items():
        form.get_by_label("Find").fill(text)
        assert visitor.channels() == expected
    assert page.get_by_text("No channel matches.").is_visible()
    form.get_by_label("Find").fill("20-23")
    page.reload()  # the choices are part of the address
    page.wait_for_selector(".grid li")
    assert visitor.channels() == [20, 21, 22, 23]


@browses
def test_a_saturated_unit_says_so(visitor: Visitor) -> None:
    page = visitor.open(f"{PAGES['layer']}/7")
    largest = page.locator(".facts dd").first.inner_text()
    said = f"40 of 40 images reach the largest activation, {largest}. The 9 shown are the first"
    assert page.get_by_text(said).is_visible()
    page = visitor.open(PAGES["unit"])
    assert page.get_by_text("reach the largest activation").count() == 0


@browses
def test_a_long_layer_shows_the_tiles_near_the_screen(visitor: Visitor) -> None:
    page = visitor.open(PAGES["layer"])
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    page.wait_for_function(
        "[...document.querySelectorAll('.grid .label span')].some(each => each.innerText === '199')"
    )
    assert 5 not in visitor.channels()


@browses
def test_going_back_returns_to_the_same_place(visitor: Visitor) -> None:
    page = visitor.open(f"{PAGES['layer']}?sort=largest")
    order = visitor.channels()
    page.mouse.wheel(0, 500)
    page.wait_for_function("window.scrollY > 300")
    before = page.evaluate("window.scrollY")
    place = len(order) // 2
    page.locator(".grid a").nth(place).evaluate("each => each.click()")
    visitor.wait_for(f"{SECOND} {order[place]}")
    page.keyboard.press("ArrowRight")  # in the order of the layer
    visitor.wait_for(f"{SECOND} {order[place + 1]}")
    page.go_back()
    visitor.wait_for(f"{SECOND} {order[place]}")
    page.locator(".connections a").first.click()
    page.wait_for_function("document.querySelector('h1').innerText.startsWith('conv1')")
    page.go_back()
    visitor.wait_for(f"{SECOND} {order[place]}")  # the layer focuses the unit that was shown
    page.go_back()
    visitor.wait_for(SECOND)
    assert page.get_by_label("Sort by").input_value() == "largest"
    page.wait_for_function("y => Math.abs(window.scrollY - y) < 150", arg=before)
    name = f"{SECOND} {order[place]},"
    page.wait_for_function(
        "name => (document.activeElement.getAttribute('aria-label') ?? '').includes(name)", arg=name
    )
    page.go_forward()
    visitor.wait_for(f"{SECOND} {order[place]}")
    assert page.evaluate("document.activeElement.tagName") == "H1"


@browses
def test_keys(visitor: Visitor) -> None:
    visitor.page.set_viewport_size({"width": 600, "height": 800})
    page = visitor.open("#/conv1")
    press = page.keyboard.press
    active = "document.activeElement.querySelector('.label span')?.innerText"
    columns = page.evaluate(
        "[...document.querySelectorAll('.grid li')].filter(li => li.getBoundingClientRect().top"
        " === document.querySelector('.grid li').getBoundingClientRect().top).length"
    )
    for key, channel in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowDown", 1 + columns),
                         ("ArrowUp", 1), ("End", 11), ("Home", 0)):  # fmt: skip
        press(key)
        assert page.evaluate(active) == str(channel)
    press("Enter")
    visitor.wait_for("conv1 0")
    press("ArrowRight")
    visitor.wait_for("conv1 1")
    press("c")
    assert "ours, not the paper’s" in page.locator(".note[role=status]").inner_text()
    press("w")
    assert page.locator("ul[aria-label='Whole images'] .frame").count() == 9
    press("w")
    press("d")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()
    press("Escape")
    assert not page.get_by_role("dialog").is_visible()
    press("Escape")
    visitor.wait_for("conv1")
    press("Escape")
    page.wait_for_selector(".diagram")


@browses
def test_letters_can_be_switched_off(visitor: Visitor) -> None:
    page = visitor.open("#/conv1")
    box = page.get_by_role("dialog", name="Keys").get_by_role("checkbox")
    for acts in (False, True):
        page.get_by_role("button", name="Keys").click()
        box.set_checked(acts)
        page.get_by_role("button", name="Close").click()
        page.reload()
        visitor.wait_for("conv1")
        before = page.evaluate("document.documentElement.dataset.theme")
        page.keyboard.press("d")
        assert (page.evaluate("document.documentElement.dataset.theme") != before) == acts
        page.keyboard.press("/")
        assert page.get_by_role("dialog").is_visible() == acts


@browses
def test_search_finds_units_layers_and_classes(visitor: Visitor) -> None:
    page = visitor.open()
    for text, first in {
        "conv1 11": "conv1 11",
        "fc6/3": "fc6 3",
        "fc6": "fc6",
        "features": SECOND,
        '"quoted"': 'a "quoted" one',
        "猫": CLASSES[3],
    }.items():
        page.keyboard.press("/")
        page.keyboard.insert_text(text)
        assert page.locator("#search li span").first.inner_text() == first
        page.keyboard.press("Enter")
        visitor.wait_for(first)
    page.keyboard.press("/")
    page.keyboard.insert_text("nobody")
    assert page.get_by_text("Nothing has this name.").is_visible()
    page.keyboard.press("Escape")
    assert visitor.heading == CLASSES[3]


@browses
def test_a_chosen_color_scheme_is_remembered(visitor: Visitor) -> None:
    page = visitor.open()
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.get_by_role("button", name="Dark").click()
    dark = page.evaluate(paper)
    assert dark != light
    visitor.open("#/conv1/3")
    assert page.evaluate(paper) == dark
    page.get_by_role("button", name="Light").click()
    assert page.evaluate(paper) == light


@browses
@pytest.mark.parametrize("kind", ["unit", "unit that sees all"])
def test_a_unit_prints_on_one_page(visitor: Visitor, kind: str) -> None:
    page = visitor.open(PAGES[kind])
    pdf = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1


@browses
def test_compare_lists_what_became_of_the_channels(visitor: Visitor) -> None:
    page = visitor.open("#compare")
    pair = _data(visitor.site, "compare.js")["pairs"][0]

    def score(channel: int) -> str:
        return f"{pair['score'][channel]:.2f}"

    row = page.locator("table.counts tbody tr").first
    assert row.locator("td a").all_inner_texts() == [
        str(pair["counts"][kind]) for kind in ("kept", "changed", "lost", "new")
    ]
    row.get_by_role("link", name="conv1", exact=True).click()
    visitor.wait_for("conv1")
    labels = page.locator(".grid .label span:first-child")
    kept = [c for c, status in enumerate(pair["status"]) if status == "kept"]
    assert labels.all_inner_texts() == [f"{c} · {pair['partner'][c]}" for c in kept]
    form = page.locator("form.controls")
    form.get_by_label("List").select_option("new")
    assert labels.all_inner_texts() == [f"– · {c}" for c in pair["new"]]
    form.get_by_label("List").select_option("lost")
    assert all(label.endswith(" · –") for label in labels.all_inner_texts())
    form.get_by_label("List").select_option("changed")
    page.locator(".grid a").first.click()
    visitor.wait_for("conv1 1 and conv1 10")
    assert page.url.endswith("#compare/conv1/1/conv1/10")
    assert page.locator(".side-by-side .nine .tile").count() == 4 * 9
    for address, said in {
        "#/conv1/1": f"changed. Its partner in 2. {NETS[1]} is conv1 10, r = {score(1)}.",
        "#2/conv1/10": f"changed. Its partner in 1. {NETS[0]} is conv1 1, r = {score(1)}.",
        "#/conv1/2": f"lost. It has no partner in 2. {NETS[1]}.",
        "#2/conv1/9": f"new. It has no partner in 1. {NETS[0]}.",
    }.items():
        visitor.open(address)
        assert page.inner_text("section[aria-label='In the other network'] p") == said


@browses
@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (MadeLayer("only", 3), {"classes": [], "images": 5}),
        (MadeLayer("gray", 3), {"gray": True, "images": 1, "classes": ["one"]}),
        (MadeLayer("dead", 3, dead=(0, 1, 2)), {}),
        (MadeLayer("many", 3), {"classes": [f"class {i}" for i in range(1000)]}),
        (MadeLayer("..", 1, size=1, window=None), {"images": 2}),
    ],
    ids=["no classes", "gray, one image", "a dead layer", "1,000 classes", "one channel"],
)
def test_unusual_networks(
    browser: Browser, tmp_path: Path, layer: MadeLayer, options: dict[str, object]
) -> None:
    page = browser.new_page()
    visitor = Visitor(page, write_atlas(tmp_path, layer, **options))
    visitor.open()
    page.locator(".diagram a").click()
    visitor.wait_for(layer.name)
    page.locator(".grid a").first.click()
    visitor.wait_for(f"{layer.name} 0")
    text = page.inner_text("body")
    assert not re.search(r"undefined|NaN|null|Infinity", text)
    if options.get("classes") != []:
        visitor.open("#class/0")
        assert visitor.heading == MadeNet(tmp_path, 1, [layer], **options).classes[0]
    else:
        assert not page.get_by_role("link", name="Classes").count()
    page.close()
    assert not visitor.faults


@browses
def test_a_missing_file_is_said(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page()
    visitor = Visitor(page, write_atlas(tmp_path, MadeLayer("conv1", 3), images=3))
    (tmp_path / "net_1/layer_0/units_0.js").unlink()
    visitor.open("#/conv1/2")
    assert "net_1/layer_0/units_0.js cannot be read" in page.inner_text("main")
    page.close()


def test_the_overviews_are_checked(tmp_path: Path) -> None:
    overview = MadeNet(tmp_path, 1, [MadeLayer("conv1", 3)], images=1, pictures=False).write()
    with pytest.raises(InputError, match="one or two networks, not 3"):
        write_pages(tmp_path, [overview] * 3, compare=False)
    with pytest.raises(InputError, match="a comparison needs two networks"):
        write_pages(tmp_path, [overview], compare=True)
    with pytest.raises(ValueError, match="JSON"):
        write_pages(tmp_path, [overview | {"title": float("nan")}], compare=False)


def test_the_same_bytes_are_written_again(tmp_path: Path) -> None:
    overview = MadeNet(tmp_path, 1, [MadeLayer("conv1", 3)], images=1, pictures=False).write()
    names = ("index.html", "atlas.css", "atlas.js")
    write_pages(tmp_path, [overview], compare=False)
    before = [(tmp_path / name).read_bytes() for name in names]
    write_pages(tmp_path, [json.loads(json.dumps(overview))], compare=False)
    assert before == [(tmp_path / name).read_bytes() for name in names]
    assert f"<title>{NASTY}" not in before[0].decode()


def _data(site: Path, name: str) -> dict:
    """The value in a data file."""
    text = (site.parent / name).read_text()
    return json.loads(text.removeprefix(f'atlas.receive("{name}",').removesuffix(");\n"))
