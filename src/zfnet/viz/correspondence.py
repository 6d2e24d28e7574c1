"""Figure 8: images with a part masked, beside the numbers of Table 1.

rows = [Row("nose", images, [("conv5:  0.07 ± 0.01", "[0.21 ± 0.02]")])]
save_png(correspondence_sheet(rows, 32), "parts.png")
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from zfnet.viz.grid import add_border, draw_text, fit, hstack, to_uint8, vstack
from zfnet.viz.page import page, words

SIDE = 224  # pixels, to which smaller images are enlarged, about
LEGEND = (
    "Small where masking changes the same features in all images, or changes few; in brackets, of "
    "the features "
    "that change in either image. p: how often random squares agree as well."
)


@dataclass(frozen=True)
class Row:
    """Images (N, C, H, W) in [0, 1] with the same part masked, and two lines of text for each
    layer."""

    name: str
    images: Tensor
    numbers: Sequence[tuple[str, str]]


def correspondence_sheet(rows: Sequence[Row], images: int) -> Tensor:
    """A row per part, a column per image → (H, W, 3) uint8; `images` is how many were measured."""
    labels: list[Tensor] = []
    strips: list[Tensor] = []
    for row in rows:
        lines = [draw_text(row.name, 16, bold=True)]
        for line, beneath in row.numbers:
            lines += [draw_text(line), add_border(draw_text(beneath), left=16)]
        labels.append(vstack(lines, gap=2))
        enlarged = fit(row.images, max(SIDE, *row.images.shape[-2:]))
        strips.append(hstack([to_uint8(image) for image in enlarged], gap=4))
    wide = max(label.shape[1] for label in labels) + 12
    labels = [add_border(label, right=wide - label.shape[1]) for label in labels]
    body = vstack([hstack(pair, gap=4) for pair in zip(labels, strips, strict=True)], gap=4)
    title = (
        "Sign change of the features when a part is masked: "
        f"mean ± std over pairs of {images} images"
    )
    return page(title, words(LEGEND), body)
