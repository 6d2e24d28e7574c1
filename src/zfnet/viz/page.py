"""What the sheets of Figures 2 and 4 share: sizes, tiles, words, the scale bar, the page."""

import torch
from torch import Tensor

from zfnet.errors import InputError
from zfnet.viz.grid import (
    add_border,
    add_frame,
    center,
    draw_text,
    fit,
    flow,
    hstack,
    to_uint8,
    vstack,
)

WIDTH = 2200  # pixels of a sheet, at most about
# Sides of a tile: none is reduced below the one nor enlarged beyond the other.
SMALLEST, LARGEST = 32, 84
GAP, GRID_GAP, MARGIN = 2, 8, 12
NARROWEST = 480  # room for title and legend above a narrow sheet


def shape(tensor: Tensor) -> str:
    """A tensor's shape, for messages."""
    return str(tuple(tensor.shape))


def check_projections(name: str, projections: Tensor, patches: Tensor, wanted: str) -> None:
    """Raises InputError unless projections and patches are finite and of the same shape,
    `wanted`."""
    if projections.dim() != wanted.count(",") + 1 or 0 in projections.shape[-3:]:
        raise InputError(f"{name} projections are {wanted}, not {shape(projections)}")
    if patches.shape != projections.shape:
        raise InputError(
            f"{name} patches {shape(patches)} do not match the projections {shape(projections)}"
        )
    check_numbers(f"{name} projections", projections)
    check_numbers(f"{name} patches", patches)


def check_numbers(name: str, tensor: Tensor) -> None:
    """Raises InputError unless all values are finite floating-point numbers."""
    if not tensor.is_floating_point() or not tensor.isfinite().all():
        raise InputError(f"{name} must be finite floating-point numbers")


def plain(images: Tensor) -> Tensor:
    """float32 on the CPU, without a gradient."""
    return images.detach().float().cpu()


def box(image: Tensor, side: int) -> Tensor:
    """(C, h, w) in [0, 1] → its box, the longer side at most `side` pixels."""
    return to_uint8(fit(image[None], side)[0])


def tile_side(room: float, images: Tensor) -> int:
    """The longer side of a tile, at most `room` pixels: a multiple of the images' longer side where
    that fits."""
    longer = max(images.shape[-2:])
    side = max(SMALLEST, min(int(room), max(LARGEST, longer)))
    return side if side < longer else side // longer * longer


def words(text: str, size: int = 13, bold: bool = False) -> list[Tensor]:
    """A box for each word of a text."""
    return [draw_text(word, size, bold) for word in text.split()]


def gray_key() -> Tensor:
    """A scale bar from black (−) to white (+), with 0 in the middle."""
    low, zero, high = draw_text("−"), draw_text("0", bold=True), draw_text("+")
    bar = (
        torch.linspace(0, 255, 100)
        .round()
        .to(torch.uint8)[None, :, None]
        .repeat(zero.shape[0], 1, 3)
    )
    return add_border(
        hstack([low, torch.minimum(bar, center(zero, width=100)), high], gap=4), right=GRID_GAP
    )


def page(title: str, legend: list[Tensor], body: Tensor) -> Tensor:
    """A page, (H, W, 3) uint8: title and legend, in lines as wide as the body, above the body."""
    width = max(NARROWEST, body.shape[1])
    heading = flow(words(title, size=20, bold=True) or [draw_text("", 20)], width, gap=6)
    lines = [heading, flow(legend, width, gap=4), body]
    return add_frame(vstack(lines, gap=MARGIN), MARGIN).contiguous()
