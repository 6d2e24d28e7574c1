"""How the output of a layer holds its units: which axes are channels, and which are positions.

    >>> from zfnet.models.unit_axes import parse_axes
    >>> parse_axes("BHWC")
    UnitAxes(order='BHWC', grid=(1, 1), prefix=0, suffix=0)
    >>> parse_axes("BTC@1+14x14")  # a class token, and 14 rows of 14 tokens
    UnitAxes(order='BTC', grid=(14, 14), prefix=1, suffix=0)

`layout.py` recognizes them. Where it cannot, the user gives them (`given_axes.py`).
"""

import math
import re
from dataclasses import dataclass

from torch import Tensor, nn

from zfnet.errors import InputError

ORDERS = ("BCHW", "BHWC", "BTC", "BCT", "TBC", "BC")
ATTRIBUTE = "_unit_axes"  # of a module whose axes were given; holds their text
TEXT = re.compile(r"([A-Z]+)(?:@(?:(\d+)\+)?(\d+)x(\d+)(?:\+(\d+))?)?", re.ASCII)


@dataclass(frozen=True)
class UnitAxes:
    """How the output of a layer holds its units.

    Attributes:
        order: its axes, one of ORDERS. T are tokens in rows of a grid.
        grid: (H, W) of the tokens.
        prefix: the number of tokens before them, such as class and register tokens.
        suffix: the number of tokens after them.
    """

    order: str
    grid: tuple[int, int] = (1, 1)
    prefix: int = 0
    suffix: int = 0

    def __str__(self) -> str:
        """Returns the text that `parse_axes` reads."""
        if "T" not in self.order:
            return self.order
        before = f"{self.prefix}+" if self.prefix else ""
        after = f"+{self.suffix}" if self.suffix else ""
        return f"{self.order}@{before}{self.grid[0]}x{self.grid[1]}{after}"

    def maps(self, output: Tensor) -> Tensor:
        """Returns the output as feature maps (B, C, H, W), which share its memory.

        Args:
            output: the output of the layer. Tokens before and after the grid are left out.
        """
        if self.order == "BCHW":
            return output
        if self.order == "BHWC":
            return output.permute(0, 3, 1, 2)
        if self.order == "BC":
            return output[:, :, None, None]
        tokens = output.permute([self.order.index(axis) for axis in "BCT"])
        count = math.prod(self.grid)
        return tokens[:, :, self.prefix : self.prefix + count].unflatten(2, self.grid)


def parse_axes(text: str) -> UnitAxes:
    """Reads the axes of a layer as users give them.

    Args:
        text: "BCHW", "BHWC" or "BC"; for tokens "BTC@1+14x14" or "TBC@14x14+2": the order, then the
            numbers of tokens before the grid, of its rows and columns, and after it.

    Raises:
        InputError: the text is none of these.
    """
    found = TEXT.fullmatch(text)
    if found is None or found[1] not in ORDERS:
        raise InputError(
            f"axes {text!r}: give BCHW, BHWC, BC, or for tokens BTC@14x14, BCT@14x14 or TBC@14x14 "
            "with the rows and columns of their grid, and BTC@1+14x14 if one token comes before it"
        )
    order, prefix, height, width, suffix = found.groups()
    if (height is not None) != ("T" in order) or "0" in (height, width):
        need = f"{order} has no tokens" if "T" not in order else "the tokens need a grid"
        example = f"{order}@14x14" if "T" in order else order
        raise InputError(f"axes {text!r}: {need}: give {example}")
    if height is None:
        return UnitAxes(order)
    return UnitAxes(order, (int(height), int(width)), int(prefix or 0), int(suffix or 0))


def given_axes(layer: str, module: nn.Module, output: Tensor) -> UnitAxes | None:
    """Returns the axes that were given for a module, or None.

    Args:
        layer: its name, for messages.
        module: the module.
        output: its output.

    Raises:
        InputError: the output has another number of axes, or of tokens.
    """
    text = getattr(module, ATTRIBUTE, None)
    if text is None:
        return None
    axes, shape = parse_axes(text), tuple(output.shape)
    problem = ""
    if len(shape) != len(axes.order):
        problem = f"{len(shape)} axes, not {len(axes.order)}"
    elif "T" in axes.order:
        expected = axes.prefix + math.prod(axes.grid) + axes.suffix
        if (tokens := shape[axes.order.index("T")]) != expected:
            problem = f"{tokens} tokens, not {expected}"
    if problem:
        raise InputError(
            f"layer {layer!r} gives {shape}, and the axes {text} that were given for it do not "
            f"fit: it has {problem}"
        )
    return axes
