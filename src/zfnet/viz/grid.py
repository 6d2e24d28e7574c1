"""Images of signed numbers: 0 is mid-gray, and one symmetric scale holds for all colors.

    save_png(filter_sheet(net.conv1.conv.weight), "filters.png")

A sheet is composed of boxes, (H, W, 3) uint8 on white: images and lines of text, joined by `hstack`
and `vstack`."""

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

SHEET_SIDE = 600  # pixels, to which a sheet of filters is enlarged, about
Color = tuple[int, int, int]  # red, green, blue, 0 to 255
WHITE: Color = (255, 255, 255)
MARK: Color = (214, 39, 40)
Part = tuple[float, float, float, float]  # top, left, bottom and right edge, fractions of the sides


def normalize_signed(images: Tensor) -> Tensor:
    """Any real values → [0, 1], with 0 at 0.5 and the largest magnitude at 0 or 1."""
    largest = images.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return images / (2 * largest) + 0.5


def stretch_contrast(image: Tensor) -> Tensor:
    """`normalize_signed` for one projection, whose strongest 1 % is saturated so that it does not
    hide the rest."""
    nonzero = image[image != 0].abs()
    if not len(nonzero):
        return normalize_signed(image)
    strong = nonzero.kthvalue(math.ceil(0.99 * len(nonzero))).values
    return (image / (2 * strong) + 0.5).clamp(0, 1)


def to_rgb(images: Tensor) -> Tensor:
    """Images of any number of channels as red, green and blue, (..., C, H, W) → (..., 3, H, W).

    One channel is gray. Of two, the second is green and blue. Of more than three, the first three
    are shown."""
    channels = images.shape[-3]
    if channels == 3:
        return images
    chosen = [min(channel, channels - 1) for channel in range(3)]
    return images[..., chosen, :, :]


def tile(images: Tensor, gap: int = 1) -> Tensor:
    """(N, C, H, W) in [0, 1] → one nearly square (C, H', W'), white in gaps and empty cells."""
    count, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = torch.ones(channels, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for i, image in enumerate(images):
        y, x = i // columns * (height + gap), i % columns * (width + gap)
        sheet[:, y : y + height, x : x + width] = image
    return sheet


def to_uint8(image: Tensor) -> Tensor:
    """(C, H, W) in [0, 1] → (H, W, 3) uint8; see `to_rgb`."""
    return (
        to_rgb(image).mul(255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()
    )


def fit(images: Tensor, side: int) -> Tensor:
    """Resizes images to a longer side of at most `side` pixels.

    Args:
        images: (N, C, H, W) in [0, 1].
        side: in pixels.

    Returns:
        The largest integer enlargement, without smoothing, or an antialiased reduction. 0.5 stays
        exactly 0.5.
    """
    height, width = images.shape[-2:]
    longer = max(height, width)
    if longer <= side:
        return F.interpolate(images, scale_factor=side // longer, mode="nearest")
    size = [max(1, round(length * side / longer)) for length in (height, width)]
    return F.interpolate(images - 0.5, size, mode="bicubic", antialias=True) + 0.5


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and is therefore the same on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def draw_text(text: str, size: int = 13, bold: bool = False) -> Tensor:
    """The box of one line of black text, `size` pixels high; all lines of a size have the same
    height."""
    font, text = _font(size, bold), printable(text)
    width, height = math.ceil(font.getlength(text)) + 1, sum(font.getmetrics())
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((0, 0), text, fill="black", font=font)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(height, width, 3)


def add_border(
    box: Tensor, left: int = 0, right: int = 0, top: int = 0, bottom: int = 0, color: Color = WHITE
) -> Tensor:
    """The box with a border of some pixels on each side."""
    height, width, _ = box.shape
    out = torch.tensor(color, dtype=torch.uint8).repeat(
        top + height + bottom, left + width + right, 1
    )
    out[top : top + height, left : left + width] = box
    return out


def add_frame(box: Tensor, thickness: int, color: Color = WHITE) -> Tensor:
    """The box with the same border on all sides."""
    return add_border(box, thickness, thickness, thickness, thickness, color)


def draw_frame(image: Tensor, part: Part, color: Color = MARK) -> Tensor:
    """Draws a frame of one pixel around a part of an image.

    Args:
        image: (3, H, W) in [0, 1], which is left as it is.
        part: top, left, bottom and right edge of the part, as fractions of the image's sides.
        color: of the frame.

    Returns:
        The image with the frame. Where the part reaches the border, the frame lies inside it.
    """
    out, (height, width) = image.clone(), image.shape[1:]
    top, left = max(0, round(part[0] * height) - 1), max(0, round(part[1] * width) - 1)
    bottom = min(height - 1, round(part[2] * height))
    right = min(width - 1, round(part[3] * width))
    paint = torch.tensor(color)[:, None, None] / 255
    out[:, [top, bottom], left : right + 1] = paint
    out[:, top : bottom + 1, [left, right]] = paint
    return out


def center(box: Tensor, height: int = 0, width: int = 0) -> Tensor:
    """The box in the middle of white, with at least this height and width."""
    more, wider = max(0, height - box.shape[0]), max(0, width - box.shape[1])
    return add_border(box, wider // 2, wider - wider // 2, more // 2, more - more // 2)


def hstack(boxes: Sequence[Tensor], gap: int = 0) -> Tensor:
    """Boxes from left to right, aligned at the top."""
    height, last = max(box.shape[0] for box in boxes), len(boxes) - 1
    columns = [
        add_border(b, right=gap * (i < last), bottom=height - b.shape[0])
        for i, b in enumerate(boxes)
    ]
    return torch.cat(columns, dim=1)


def vstack(boxes: Sequence[Tensor], gap: int = 0) -> Tensor:
    """Boxes from top to bottom, aligned at the left."""
    return hstack([box.transpose(0, 1) for box in boxes], gap).transpose(0, 1)


def flow(boxes: Sequence[Tensor], width: int, gap: int) -> Tensor:
    """Boxes in lines, like words, of at most `width` pixels each, unless a single box is wider."""
    lines: list[list[Tensor]] = [[]]
    for box in boxes:
        if lines[-1] and sum(b.shape[1] + gap for b in lines[-1]) + box.shape[1] > width:
            lines.append([])
        lines[-1].append(box)
    return vstack([hstack(line, gap) for line in lines])


def filter_sheet(filters: Tensor) -> Tensor:
    """First-layer filters (N, C, kh, kw) on one scale → (H, W, 3) uint8, enlarged without
    smoothing."""
    sheet = tile(normalize_signed(filters.detach().float().cpu()))
    factor = max(1, SHEET_SIDE // sheet.shape[-1])
    return to_uint8(F.interpolate(sheet[None], scale_factor=factor, mode="nearest")[0])


def save_png(image: Tensor, path: str | Path) -> None:
    """Writes (H, W, 3) uint8 as a PNG, whole or not at all.

    Raises:
        InputError: the disk is full, or the folder cannot be written.
    """
    png = io.BytesIO()
    Image.fromarray(image.numpy()).save(png, format="png")
    save(Path(path), png.getvalue())
