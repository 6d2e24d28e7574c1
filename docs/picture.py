"""README's pictures from a finished demo: `python docs/picture.py outputs/train/demo SHEET`.

report.png is cut from a browser's picture of report.html, after `make table3 report` and the same
with seed=1. SHEET is conv5.png of `analyze.py analysis=top_activations ckpt=... layers=[conv5]
channels=[13,55,80,81,105,172]`."""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from zfnet.data import Creatures
from zfnet.viz import tile

COUNT = 36


WIDTH = 1600


def main(run: Path, sheet: Path) -> None:
    figure_2(sheet)
    demo(run)


def figure_2(sheet: Path) -> None:
    with Image.open(sheet) as picture:
        smaller = picture.resize(
            (WIDTH, round(WIDTH * picture.height / picture.width)), Image.Resampling.LANCZOS
        )
    smaller.save(Path(__file__).with_name("figure2.jpg"), quality=88)


def demo(run: Path) -> None:
    source = Creatures(COUNT, split="val", size=128)
    pictures = torch.stack([source.read(i) for i in range(COUNT)]) / 255
    figure = Figure(figsize=(11, 7.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.35, 1))
    left, right = top.subplots(1, 2)
    left.imshow(tile(pictures, gap=3).permute(1, 2, 0))
    left.set_title("creatures, the embedded data set")
    right.imshow(np.asarray(Image.open(run / "filters.png")))
    right.set_title("ZFNet's first layer, 7x7 filters on one scale")
    curves = bottom.subplots()
    curves.imshow(np.asarray(Image.open(run / "curves.png")))
    for axes in (left, right, curves):
        axes.axis("off")
    figure.savefig(Path(__file__).with_name("demo.png"), dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
