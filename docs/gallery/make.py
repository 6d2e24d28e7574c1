"""The gallery: `make gallery` runs the commands of FIGURES and writes their figures, and index.md,
beside this file.

A command is skipped where its figures are in `outputs/` already. Delete its folder there to run it
again. `python docs/gallery/make.py --page` writes index.md only."""

import json
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageChops

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WIDTH, COLORS = 850, 128  # pixels at most; of the palette
PAGE = 1080, 2000  # pixels of a page that the browser shows
MARGIN = 30  # pixels below the last thing on a page

UNIT = 13  # of layer 5, for the atlas
CKPT = "outputs/train/demo/checkpoints/last.ckpt"
ALEXNET_CKPT = "outputs/train/alexnet/checkpoints/last.ckpt"
SIX_CKPT = "outputs/train/six/checkpoints/last.ckpt"

DEMO = "python train.py experiment=demo name=demo"
ALEXNET = "python train.py experiment=demo model=alexnet name=alexnet"
SIX = "python train.py experiment=pretrain_creatures name=six"
TRANSFER = "python train.py experiment=transfer_creatures name=gallery_transfer"


def analyze(overrides: str) -> str:
    """The command of an analysis, which writes outputs/analysis/gallery_ANALYSIS."""
    name = overrides.split()[0].removeprefix("analysis=")
    return f"python analyze.py {overrides} name=gallery_{name}"


ATLAS = analyze(f"analysis=atlas ckpt={CKPT}")
COMPARED = f"python analyze.py analysis=atlas ckpt=[{ALEXNET_CKPT},{CKPT}] name=gallery_compared"
TOP = analyze(f"analysis=top_activations ckpt={CKPT} channels=[17,41,51,68]")
REPORT = analyze(
    "analysis=report runs=[outputs/sweeps/gallery_transfer,outputs/analysis/gallery_layer_probe]"
)


class Figure(NamedTuple):
    """One figure of the page."""

    title: str
    paper: str  # its counterpart in the paper; "" where there is none
    command: str
    file: str  # in the folder that the command writes; of an HTML page, a browser's image is shown
    text: str
    before: tuple[str, ...] = (DEMO,)  # commands whose results this one reads
    address: str = ""  # of a page of an HTML file, after "#"


FIGURES = [
    Figure(
        "Learning curves", "", DEMO, "curves.png",
        "Loss and top-1 error of ZFNet on both splits, by epoch.", (),
    ),
    Figure(
        "First-layer filters", "Figure 6(c)", DEMO, "filters.png",
        "The 7x7 filters of ZFNet's first layer on one scale. Gray is zero.", (),
    ),
    *(
        Figure(
            f"Evolution of features, {layer}", "Figure 4", DEMO, f"evolution/{layer}.png",
            "The strongest activation of each channel over the training images, projected to "
            "pixels "
            "after each epoch, above the image patch.",
            (),
        )
        for layer in ("conv1", "conv5")
    ),
    Figure(
        "Pages of the deconvnet during training", "Figure 2", DEMO, "top_activations/conv4.png",
        "The last page that training writes of layer 4.", (),
    ),
    *(
        Figure(
            f"Top activations, {layer}", "Figure 2", TOP, f"{layer}.png",
            "The nine strongest activations of four channels: projections on the left, "
            "the image patches on the right.",
        )
        for layer in ("conv1", "conv2", "conv3", "conv4", "conv5")
    ),
    *(
        Figure(
            f"Atlas, {name}", "", ATLAS, "index.html", text, address=address,
        )
        for name, address, text in (
            (
                "overview", "",
                "The first page of the atlas, a site with all channels of all layers.",
            ),
            ("a layer", "/conv4", "All channels of layer 4, by their strongest projections."),
            (
                "a unit", f"/conv5/{UNIT}",
                "One channel of layer 5: what activates it most, controls, ordinary images, "
                "statistics and connections.",
            ),
            ("a class", "class/7", "The channels that tell cats from the other classes."),
        )
    ),
    Figure(
        "Atlas, two networks", "", COMPARED, "index.html",
        "The channels of AlexNet and ZFNet, matched by their activations of the same images.",
        (DEMO, ALEXNET), address="compare",
    ),
    Figure(
        "Two first layers", "Figure 6(b)-(e)",
        analyze(f"analysis=filters ckpt=[{ALEXNET_CKPT},{CKPT}] names=[AlexNet,ZFNet]"),
        "filters.png",
        "Filters of layer 1, projections of layer 2, and the spectra of the filters.",
        (DEMO, ALEXNET),
    ),
    Figure(
        "Occlusion", "Figure 7", analyze(f"analysis=occlusion ckpt={CKPT} images=[44,5,4]"),
        "occlusion.png",
        "A gray square slides over an image. The maps show the strongest channel of layer 5, the "
        "probability of the true class and the most probable class, by the square's place.",
    ),
    Figure(
        "Invariance", "Figure 5", analyze(f"analysis=invariance ckpt={CKPT}"), "invariance.png",
        "How much features and the probability of the true class change when the image is shifted, "
        "scaled or rotated.",
    ),
    Figure(
        "Correspondence", "Figure 8, Table 1",
        analyze(f"analysis=correspondence ckpt={CKPT} classes=[dog]"), "correspondence.png",
        "Dogs with one part covered, with the change of sign of the features (lower: the same "
        "features change in all images).",
    ),
    Figure(
        "Sanity checks",
        "",
        analyze(f"analysis=sanity ckpt={CKPT} channels=6 k=1 images=16"),
        "sanity.png",
        "Projections with shuffled weights, of another channel and of another image. "
        "Where a row looks like the first one, the projection does not depend on what was "
        "exchanged.",
    ),
    Figure(
        "Networks together", "Table 2", analyze(f"analysis=ensemble ckpt=[{CKPT},{ALEXNET_CKPT}]"),
        "ensemble.png", "Errors with one crop, with ten crops, and of both networks together.",
        (DEMO, ALEXNET),
    ),
    Figure(
        "Linear probes of each layer", "Table 7",
        analyze(f"analysis=layer_probe ckpt={SIX_CKPT} data=creatures_few folds=3"),
        "layer_probe.png",
        "Accuracy of linear classifiers on the features of each layer, on classes that the network "
        "was not trained on.",
        (SIX,),
    ),
    Figure(
        "Few images per class", "Figure 9", REPORT, "images/01-figure9.png",
        "Accuracy against the number of training images per class, with pretrained features and "
        "from scratch.",
        (SIX, TRANSFER),
    ),
    Figure(
        "The report", "Tables 4 and 7", REPORT, "report.html",
        "All results beside the paper's numbers, on one HTML page.", (SIX, TRANSFER),
    ),
]  # fmt: skip


def overrides(command: str) -> dict[str, str]:
    """The overrides of a command by key."""
    return dict(word.partition("=")[::2] for word in shlex.split(command)[2:])


def run_folder(command: str) -> Path:
    """Where a command writes."""
    kind = "analysis" if "analyze.py" in command else "sweeps" if command == TRANSFER else "train"
    return ROOT / "outputs" / kind / overrides(command)["name"]


def image_file(figure: Figure) -> Path:
    """The figure as the page shows it."""
    run = overrides(figure.command)["name"].removeprefix("gallery_")
    file = figure.address.strip("/") or figure.file.removeprefix("images/01-").rpartition(".")[0]
    stem = file.replace("/", "_")
    return HERE / (f"{run}.png" if stem == run else f"{run}_{stem}.png")


def shell_lines(command: str) -> list[str]:
    """A command in lines that a shell joins."""
    lines = textwrap.wrap(
        command, 96, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]


def page() -> str:
    """index.md."""
    lines = [
        "# Gallery",
        "",
        "Every kind of figure that the software makes, from the embedded data set. `make gallery`",
        "makes them again, with the commands below. Two analyses are missing: `doctor` writes "
        "text, and",
        "`overlap` draws near-duplicates, of which this data set has none.",
    ]
    for figure in FIGURES:
        known = f"{figure.paper} of the paper. " if figure.paper else ""
        commands = [*figure.before, figure.command]
        lines += [
            "",
            f"## {figure.title}",
            "",
            *textwrap.wrap(known + figure.text, 100),
            "",
            "```",
            *(line for command in commands for line in shell_lines(command)),
            "```",
            "",
            f"![{figure.title}]({image_file(figure).name})",
        ]
    return "\n".join(lines) + "\n"


def small_png(image: Image.Image, path: Path) -> None:
    """Writes at most WIDTH pixels and COLORS colors."""
    image = image.convert("RGB")
    image.thumbnail((WIDTH, 10 * WIDTH), Image.Resampling.LANCZOS)
    image.quantize(COLORS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def screenshot(address: str, path: Path) -> None:
    """The top of an HTML page as a browser shows it, when its scripts have run."""
    size = f"--window-size={PAGE[0]},{PAGE[1]}"
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", size, f"--screenshot={path}"]
    wait = "--virtual-time-budget=10000"
    subprocess.run(["chromium", *options, wait, address], check=True, capture_output=True)
    with Image.open(path) as image:
        page = image.convert("RGB")
    empty = Image.new("RGB", page.size, page.getpixel((0, page.height - 1)))
    box = ImageChops.difference(page, empty).getbbox()
    small_png(page.crop((0, 0, page.width, box[3] + MARGIN if box else page.height)), path)


def collect(figure: Figure) -> None:
    """Copies a figure from the folder of its command."""
    source = run_folder(figure.command) / figure.file
    if source.suffix != ".html":
        with Image.open(source) as image:
            small_png(image, image_file(figure))
    elif shutil.which("chromium"):
        address = f"#{figure.address}" if figure.address else ""
        screenshot(source.as_uri() + address, image_file(figure))
    else:
        print(f"{image_file(figure).name} stays as it is: there is no chromium to show {source}")


def main() -> None:
    (HERE / "index.md").write_text(page())
    if sys.argv[1:] == ["--page"]:
        return
    for figure in FIGURES:
        for command in (*figure.before, figure.command):
            if not done(command):
                print(command, flush=True)
                subprocess.run([sys.executable, *shlex.split(command)[1:]], cwd=ROOT, check=True)
        collect(figure)


def done(command: str) -> bool:
    """Whether its folder holds all that it writes."""
    folder = run_folder(command)
    if folder.parent.name == "sweeps":
        manifest = folder / "sweep.json"
        jobs = json.loads(manifest.read_text())["jobs"] if manifest.exists() else []
        return bool(jobs) and all(job["state"] == "finished" for job in jobs)
    last = (
        "result.json"
        if folder.parent.name == "train"
        else "*.html"
        if command in (REPORT, ATLAS, COMPARED)
        else "*.png"
    )
    return any(folder.glob(last))


if __name__ == "__main__":
    main()
