"""Sizes and receptive fields by arithmetic, nothing is run (design: 224 → 110 → 55 → 26 → 13 → 13 → 6).

One axis of a convolution or pooling with kernel k, stride s, padding p:

    size    n' = ⌊(n + 2p - k) / s⌋ + 1    (pooling in ceil mode: ⌈ ⌉, and the last window starts inside)
    field   r' = r + (k - 1) j             jump  j' = j s             start  o' = o - p j

A unit at position i of a layer sees the pixels o + i j ... o + i j + r - 1 of the input.

    >>> [g.size for g in geometry(ZFNET, 224).values()][:2]     # conv1, conv1.pool
    [110, 55]
"""

from dataclasses import dataclass

from zfnet.errors import InputError
from zfnet.models.architectures import Table
from zfnet.models.layers import Conv


@dataclass(frozen=True)
class Geometry:
    """One axis of a layer's output: `size` units, each seeing `field` pixels, `jump` apart from `start`."""

    size: int
    field: int
    jump: int
    start: int

    def window(self, kernel: int, stride: int, padding: int = 0, ceil: bool = False) -> "Geometry":
        """The geometry behind one more sliding window; a size below 1 means that it does not fit."""
        reach = self.size + 2 * padding - kernel
        size = (reach + (stride - 1 if ceil else 0)) // stride + 1
        if ceil and (size - 1) * stride >= self.size + padding:
            size -= 1
        return Geometry(
            size, self.field + (kernel - 1) * self.jump, self.jump * stride, self.start - padding * self.jump
        )

    def pixels(self, index: int) -> range:
        """The pixels of the input, beyond its border too, that unit `index` sees."""
        first = self.start + index * self.jump
        return range(first, first + self.field)


def geometry(table: Table, image_size: int) -> dict[str, Geometry]:
    """`conv1`, `conv1.pool`, `conv2`, ... → Geometry; InputError when the picture is too small for a layer."""
    here = Geometry(image_size, field=1, jump=1, start=0)
    result: dict[str, Geometry] = {}
    for name, row in table.items():
        if not isinstance(row, Conv):
            break
        here = result[name] = here.window(row.kernel, row.stride, row.padding)
        if row.pool and here.size >= 1:
            here = result[f"{name}.pool"] = here.window(row.pool.kernel, row.pool.stride, ceil=True)
        if here.size < 1:
            raise InputError(
                f"image_size={image_size} is too small: nothing is left after {list(result)[-1]}; "
                f"this net needs at least {smallest_image(table)} pixels"
            )
    return result


def smallest_image(table: Table) -> int:
    """The smallest image side that leaves 1x1 after the last convolutional layer."""
    size = 1
    for row in reversed([row for row in table.values() if isinstance(row, Conv)]):
        if row.pool:
            size = (size - 1) * row.pool.stride + max(1, row.pool.kernel - row.pool.stride + 1)
        size = max(1, (size - 1) * row.stride + row.kernel - 2 * row.padding)
    return size
