"""Crops of images that hold all that units see, for networks with branches.

A crop that contains the window of a unit gives the same projection as the whole image, if it starts
at a multiple of the layer's stride, and ends at the border of the image or beyond the window. The
cells that the unit depends on then see nothing outside the crop. Padding inside the network only
changes other cells.

    >>> from zfnet.deconv.crops import crop_span
    >>> crop_span(top=50, bottom=93, stride=4, size=224)  # of 43 rows, at most 46 from a multiple
    (48, 96)
    >>> crop_span(top=-21, bottom=22, stride=4, size=224)
    (0, 48)
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zfnet.deconv.graph import Path
from zfnet.deconv.rules import Pair
from zfnet.deconv.units import Unit, Window
from zfnet.models.introspection import capture_outputs, eval_mode, find_modules
from zfnet.models.unit_axes import UnitAxes

Crop = Window


def crop_span(top: int, bottom: int, stride: int, size: int) -> tuple[int, int]:
    """Returns the rows of the crop for a window.

    Crops of all windows of a layer have the same length, if that is smaller than the image.

    Args:
        top: the first row of the window. It may lie beyond the border, like `bottom`.
        bottom: the row after its last.
        stride: the number of rows between neighboring units of the layer.
        size: the rows of the image.

    Returns:
        The first row, and the row after the last.
    """
    needed = bottom - top + stride - 1
    length = size - max(0, size - needed) // stride * stride  # the rest of the image divides
    if length >= size:
        start = max(0, top // stride * stride)
        return start, min(size, start + -(-(bottom - start) // stride) * stride)
    start = min(max(0, top // stride * stride), size - length)
    return start, start + length


def crop_of(path: Path, window: Window, size: Pair) -> Crop:
    """Returns the crop for a unit that sees `window` of an image of `size`."""
    vertical, horizontal = path.fields
    top, bottom = crop_span(window.top, window.bottom, vertical.jump, size[0])
    left, right = crop_span(window.left, window.right, horizontal.jump, size[1])
    return Crop(top, left, bottom, right)


def move(unit: Unit, path: Path, crop: Crop, image: int) -> Unit:
    """Returns the same unit in a crop, which is image number `image`."""
    vertical, horizontal = path.fields
    y, x = unit.y - crop.top // vertical.jump, unit.x - crop.left // horizontal.jump
    return Unit(image, unit.channel, y, x)


def group_by_size(crops: Sequence[Crop]) -> dict[Pair, list[int]]:
    """Returns the indices of crops by their height and width."""
    groups: dict[Pair, list[int]] = {}
    for place, crop in enumerate(crops):
        shape = (crop.bottom - crop.top, crop.right - crop.left)
        groups.setdefault(shape, []).append(place)
    return groups


def gives_same_values(
    model: nn.Module, layer: str, image: Tensor, path: Path, axes: UnitAxes
) -> bool:
    """Whether a network computes the same activations from crops of an image.

    It does not if it adds something to each position, or only takes images of one size. Three units
    of an image of noise are compared: at two corners, and in the middle.

    Args:
        model: any model.
        layer: name of the layer.
        image: (1, C, H, W), any image of this size.
        path: from the layer to the pixels.
        axes: of the layer's units.
    """
    size, found = (image.shape[2], image.shape[3]), list[Tensor]()
    # Other images may look the same at different positions.
    image = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).to(image)

    def read(_: str, output: Tensor) -> bool:
        found.append(axes.maps(output))
        return True

    def units(images: Tensor) -> Tensor:
        with torch.no_grad(), eval_mode(model), capture_outputs(modules, read):
            model(images)
        return found.pop()

    modules = find_modules(model, [layer])
    maps = units(image.clone())
    height, width = maps.shape[2:]
    for y, x in ((0, 0), (height // 2, width // 2), (height - 1, width - 1)):
        unit = Unit(0, 0, y, x)
        vertical, horizontal = (
            field.cells(index, side)
            for field, index, side in zip(path.fields, (y, x), size, strict=True)
        )
        window = Window(vertical.start, horizontal.start, vertical.stop, horizontal.stop)
        crop = crop_of(path, window, size)
        moved = move(unit, path, crop, 0)
        try:
            other = units(cut_crops(image, [0], [crop]))
        except (RuntimeError, AssertionError, ValueError, TypeError, IndexError):
            return False
        if not (moved.y < other.shape[2] and moved.x < other.shape[3]):
            return False
        same = other[0, :, moved.y, moved.x], maps[0, :, y, x]
        if not torch.allclose(*same, rtol=1e-3, atol=1e-4 * float(maps.abs().max())):
            return False
    return True


def cut_crops(images: Tensor, which: Sequence[int], crops: Sequence[Crop]) -> Tensor:
    """Cuts crops of one size out of images (B, C, H, W): (N, C, h, w)."""
    return torch.stack(
        [
            images[image, :, crop.top : crop.bottom, crop.left : crop.right]
            for image, crop in zip(which, crops, strict=True)
        ]
    )
