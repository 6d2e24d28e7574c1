"""Pictures of numbers: 0 is mid-grey, one symmetric scale over red, green and blue.

save_png(filter_sheet(net.conv1.conv.weight), "filters.png")

A sheet is put together from boxes, (H, W, 3) uint8 on white: pictures and lines of text, `hstack` and `vstack`
one another.
"""

import io
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from zfnet.errors import printable
from zfnet.io import save

SHEET_SIDE = 600  # pixels that a sheet of filters is enlarged to, about
Colour = tuple[int, int, int]  # red, green, blue, 0 to 255
WHITE: Colour = (255, 255, 255)


def normalize_signed(pictures: Tensor) -> Tensor:
    """Any real values → [0, 1] with 0 at 0.5 and the largest magnitude of all at 0 or 1."""
    largest = pictures.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return pictures / (2 * largest) + 0.5


def stretch_contrast(picture: Tensor) -> Tensor:
    """`normalize_signed` for one projection: its strongest 1 % saturates, so that it does not hide the rest."""
    there = picture[picture != 0].abs()
    if not len(there):
        return normalize_signed(picture)
    strong = there.kthvalue(math.ceil(0.99 * len(there))).values
    return (picture / (2 * strong) + 0.5).clamp(0, 1)


def tile(pictures: Tensor, gap: int = 1) -> Tensor:
    """(N, 3, H, W) in [0, 1] → one (3, H', W') of nearly square shape, white between and in the empty cells."""
    count, channels, height, width = pictures.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = torch.ones(channels, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for i, picture in enumerate(pictures):
        y, x = i // columns * (height + gap), i % columns * (width + gap)
        sheet[:, y : y + height, x : x + width] = picture
    return sheet


def to_uint8(picture: Tensor) -> Tensor:
    """(3, H, W) in [0, 1] → (H, W, 3) uint8."""
    return picture.mul(255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()


def fit(pictures: Tensor, side: int) -> Tensor:
    """(N, 3, H, W) in [0, 1] with the longer side at most `side` pixels: the largest whole enlargement without
    smoothing or, where even the picture itself is too big, an antialiased reduction. 0.5 stays exactly 0.5."""
    height, width = pictures.shape[-2:]
    longer = max(height, width)
    if longer <= side:
        return F.interpolate(pictures, scale_factor=side // longer, mode="nearest")
    size = [max(1, round(length * side / longer)) for length in (height, width)]
    return F.interpolate(pictures - 0.5, size, mode="bicubic", antialias=True) + 0.5


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: the same letters on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def draw_text(text: str, size: int = 13, bold: bool = False) -> Tensor:
    """One line in black, letters of `size` pixels → its box; all lines of a size have one height."""
    font, text = _font(size, bold), printable(text)
    width, height = math.ceil(font.getlength(text)) + 1, sum(font.getmetrics())
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((0, 0), text, fill="black", font=font)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(height, width, 3)


def add_border(
    box: Tensor, left: int = 0, right: int = 0, top: int = 0, bottom: int = 0, colour: Colour = WHITE
) -> Tensor:
    """The box with so many pixels of one colour on each side."""
    height, width, _ = box.shape
    out = torch.tensor(colour, dtype=torch.uint8).repeat(top + height + bottom, left + width + right, 1)
    out[top : top + height, left : left + width] = box
    return out


def add_frame(box: Tensor, thickness: int, colour: Colour = WHITE) -> Tensor:
    """The box with the same border all round."""
    return add_border(box, thickness, thickness, thickness, thickness, colour)


def center(box: Tensor, height: int = 0, width: int = 0) -> Tensor:
    """The box in the middle of white, at least so high and so wide."""
    more, wider = max(0, height - box.shape[0]), max(0, width - box.shape[1])
    return add_border(box, wider // 2, wider - wider // 2, more // 2, more - more // 2)


def hstack(boxes: Sequence[Tensor], gap: int = 0) -> Tensor:
    """From left to right, tops in one line."""
    height, last = max(box.shape[0] for box in boxes), len(boxes) - 1
    columns = [add_border(b, right=gap * (i < last), bottom=height - b.shape[0]) for i, b in enumerate(boxes)]
    return torch.cat(columns, dim=1)


def vstack(boxes: Sequence[Tensor], gap: int = 0) -> Tensor:
    """From top to bottom, left edges in one line."""
    return hstack([box.transpose(0, 1) for box in boxes], gap).transpose(0, 1)


def flow(boxes: Sequence[Tensor], width: int, gap: int) -> Tensor:
    """In lines like words, each line at most `width` pixels where its first box is no wider."""
    lines: list[list[Tensor]] = [[]]
    for box in boxes:
        if lines[-1] and sum(b.shape[1] + gap for b in lines[-1]) + box.shape[1] > width:
            lines.append([])
        lines[-1].append(box)
    return vstack([hstack(line, gap) for line in lines])


def filter_sheet(filters: Tensor) -> Tensor:
    """First-layer filters (N, 3, k, k) on one scale → (H, W, 3) uint8, enlarged without smoothing."""
    sheet = tile(normalize_signed(filters.detach().float().cpu()))
    factor = max(1, SHEET_SIDE // sheet.shape[-1])
    return to_uint8(F.interpolate(sheet[None], scale_factor=factor, mode="nearest")[0])


def save_png(picture: Tensor, path: str | Path) -> None:
    """Writes (H, W, 3) uint8, as a PNG, whole or not at all.

    Raises:
        InputError: the disk is full, or the folder cannot be written.
    """
    png = io.BytesIO()
    Image.fromarray(picture.numpy()).save(png, format="png")
    save(Path(path), png.getvalue())
