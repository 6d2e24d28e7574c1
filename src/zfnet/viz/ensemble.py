"""Table 2: errors of single nets and of combinations, the paper's rows below.

ours = ErrorRow("zfnet", crops=10, top1=0.384, top5=0.165)
rows = [ours, None, ErrorRow("the paper's", None, 0.384, 0.165)]
save_png(errors_table("Error (%) on val", rows), "ensemble.png")
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zfnet.viz.grid import add_border, draw_text, hstack, vstack
from zfnet.viz.page import page

SIZE = 16  # of letters
GAP = 24  # between columns
AIR = 5  # above and below a line
RULE = (0, 0, 0)


@dataclass
class ErrorRow:
    """One line; errors are fractions, None where there is none."""

    name: str
    crops: int | None
    top1: float
    top5: float | None


def errors_table(title: str, rows: Sequence[ErrorRow | None]) -> Tensor:
    """The rows in their order, a rule for each None → (H, W, 3) uint8."""
    head = ("net", "crops", "top-1", "top-5")
    lines = [
        row and (row.name, str(row.crops or ""), _percent(row.top1), _percent(row.top5))
        for row in rows
    ]
    boxes = [[draw_text(word, SIZE, bold=True) for word in head]]
    boxes += [[draw_text(word, SIZE) for word in line] for line in lines if line]
    widths = [max(line[column].shape[1] for line in boxes) for column in range(len(head))]
    drawn = iter([_line(line, widths) for line in boxes])
    body = [next(drawn), _rule(widths)]
    body += [next(drawn) if line else _rule(widths) for line in lines]
    return page(title, [draw_text("")], vstack(body))


def _percent(error: float | None) -> str:
    return "" if error is None else f"{100 * error:.1f}"


def _line(boxes: list[Tensor], widths: list[int]) -> Tensor:
    """The name at its column's left, the numbers at the right of theirs."""
    name, *numbers = boxes
    cells = [add_border(name, right=widths[0] - name.shape[1])]
    cells += [
        add_border(box, left=width - box.shape[1])
        for box, width in zip(numbers, widths[1:], strict=True)
    ]
    return add_border(hstack(cells, GAP), top=AIR, bottom=AIR)


def _rule(widths: list[int]) -> Tensor:
    width = sum(widths) + GAP * (len(widths) - 1)
    return torch.tensor(RULE, dtype=torch.uint8).expand(1, width, 3)
