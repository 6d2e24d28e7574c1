"""Sizes and receptive fields of a table's layers, computed without running the network.

Along one axis of a convolution or pooling with kernel k, stride s and padding p:

    size    n' = ⌊(n + 2p - k) / s⌋ + 1
    field   r' = r + (k - 1) j             jump  j' = j s             start  o' = o - p j

In ceil mode ⌊ ⌋ is ⌈ ⌉, and the last window starts inside the input.

The unit at position i of a layer sees the pixels o + i j ... o + i j + r - 1 of the image.

    >>> from zfnet.models import ZFNET, geometry
    >>> geometry(ZFNET, 224)["conv5"]
    Geometry(size=13, field=139, jump=16, start=-49)
"""

from dataclasses import dataclass

from zfnet.errors import InputError
from zfnet.models.architectures import Table
from zfnet.models.layers import Conv


@dataclass(frozen=True)
class Geometry:
    """One axis of a layer's output.

    Attributes:
        size: number of units.
        field: pixels that a unit sees (its receptive field).
        jump: pixels between the fields of neighboring units.
        start: first pixel that unit 0 sees; negative where it lies in the padding.
    """

    size: int
    field: int
    jump: int
    start: int

    def window(self, kernel: int, stride: int, padding: int = 0, ceil: bool = False) -> "Geometry":
        """Returns the geometry after one more window; its size is below 1 if it does not fit."""
        reach = self.size + 2 * padding - kernel
        size = (reach + (stride - 1 if ceil else 0)) // stride + 1
        if ceil and (size - 1) * stride >= self.size + padding:
            size -= 1
        return Geometry(
            size,
            self.field + (kernel - 1) * self.jump,
            self.jump * stride,
            self.start - padding * self.jump,
        )

    def pixels(self, index: int) -> range:
        """Returns the pixels that unit `index` sees, including those beyond the border."""
        first = self.start + index * self.jump
        return range(first, first + self.field)


def geometry(table: Table, image_size: int) -> dict[str, Geometry]:
    """Computes the geometry of every convolution and pooling: "conv1", "conv1.pool", "conv2", ...

    Args:
        table: the layers, such as `ZFNET`.
        image_size: height or width of the images, in pixels.

    Raises:
        InputError: the image is too small for a layer.
    """
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
    """Returns the smallest image side, in pixels, that leaves 1x1 after the last `Conv`."""
    size = 1
    for row in reversed([row for row in table.values() if isinstance(row, Conv)]):
        if row.pool:
            size = (size - 1) * row.pool.stride + max(1, row.pool.kernel - row.pool.stride + 1)
        size = max(1, (size - 1) * row.stride + row.kernel - 2 * row.padding)
    return size
