"""What a data set offers: the protocol that every class named by `data.source` follows.

A source is any object with `name`, `classes`, `ids`, `labels`, `len()` and `read(index)`. Two
things are optional: `targets`, for images that show several classes, and `annotation(index)`, for
images whose objects are known.

    class Shades:
        name, classes = "shades", ["dark", "light"]
        ids, labels = ["0", "1"], [0, 1]

        def __len__(self):
            return 2

        def read(self, index):
            return torch.full((3, 64, 64), 50 + 150 * index, dtype=torch.uint8)

A function or class that takes `split="train"` or `split="val"` and returns a source can be trained
on: `data.source._target_=mypackage.shades`. Its other arguments are keys of `data`."""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

from torch import Tensor

Split = Literal["train", "val"]
SPLITS: tuple[str, ...] = get_args(Split)


class Source(Protocol):
    """Images in a fixed order.

    Attributes:
        name: of the data set. It names the folder of its image store.
        classes: the class names.
        ids: one for each image: unique, without line breaks, the same in every process.
        labels: one for each image, its index into `classes`.
    """

    name: str
    classes: list[str]
    ids: list[str]
    labels: list[int]

    def __len__(self) -> int:
        """The number of images."""

    def read(self, index: int) -> Tensor:
        """One image (C, H, W): uint8, uint16, or floating-point in [0, 1]. Called from several
        threads. It is converted to data.channels and data.dtype (`zfnet.data.pixel_format`).

        Raises:
            UnreadableImage: it cannot be decoded. Up to `data.max_bad` such images are skipped.
        """


@runtime_checkable
class MultiLabelSource(Source, Protocol):
    """A source whose images show several classes each. Linear probes are fitted to it; nets are not
    trained on it.

    Attributes:
        targets: int8 (N, classes): 1 shows the class, 0 does not, -1 is not counted.
    """

    targets: Tensor


@dataclass(frozen=True)
class Annotation:
    """Where an image's object is. Pixel (x, y) has its center at (x, y), and y points down.

    Attributes:
        label: the image's class.
        mask: bool (H, W), the visible pixels of the object.
        box: (x0, y0, x1, y1), the bounds of the mask, with x1 and y1 excluded.
        parts: the centers (x, y) of the visible parts. Of a pair such as left_eye and right_eye,
            left has the smaller x.
        part_masks: bool (H, W), the visible pixels of the same parts.
    """

    label: int
    mask: Tensor
    box: tuple[int, int, int, int]
    parts: dict[str, tuple[float, float]]
    part_masks: dict[str, Tensor]


@runtime_checkable
class AnnotatedSource(Source, Protocol):
    """A source that knows where the objects are.

    Its images have the stored size (`stored_size(image_size)`) and are not resized,
    because annotations are in pixels of the stored image."""

    def annotation(self, index: int) -> Annotation:
        """Where the object of one image is."""
