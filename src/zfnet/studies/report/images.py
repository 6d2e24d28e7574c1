"""Images of runs at a moderate size, shown by report.md and embedded by report.html.

Album(folder / "images", index).add(Path("outputs/train/demo/curves.png"), "Loss and error")
"""

import base64
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import PIL.Image

from zfnet.io import save
from zfnet.studies.report.runs import RunIndex

MAX_WIDTH, MAX_HEIGHT = 1400, 2800  # pixels
QUALITY = 86  # of JPEG
MAX_NAME = 60  # characters
WEIGHTS = {
    "png": 1,
    "jpeg": 2,
}  # of a byte: JPEG blurs lines, and must be much smaller to be chosen


@dataclass(frozen=True)
class Image:
    """An image file of the report and its caption."""

    name: str
    format: str  # png or jpeg
    data: bytes
    size: tuple[int, int]  # width, height
    caption: str

    @property
    def url(self) -> str:
        """The image itself as a data URL."""
        return f"data:image/{self.format};base64,{base64.b64encode(self.data).decode()}"


class Album:
    """A folder of numbered images.

    Args:
        folder: is created.
        index: gets the problems.
    """

    def __init__(self, folder: Path, index: RunIndex) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.index, self.count = folder, index, 0

    def add(self, path: Path, caption: str) -> Image | None:
        """Shrinks an image and writes it to the folder.

        Args:
            path: a PNG or JPEG file, whatever its name.
            caption: the text below the image.

        Returns:
            The image. None if the file cannot be read, which becomes a problem.
        """
        image = self.index.attempt(path, lambda: _open(path))
        if image is None:
            return None
        image.thumbnail((MAX_WIDTH, MAX_HEIGHT), PIL.Image.Resampling.LANCZOS)
        encoded = {format: _encode(image, format) for format in WEIGHTS}
        format = min(WEIGHTS, key=lambda format: WEIGHTS[format] * len(encoded[format]))
        self.count += 1
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem)[:MAX_NAME]
        name = f"{self.count:02d}-{stem}.{format}"
        save(self.folder / name, encoded[format])
        return Image(name, format, encoded[format], image.size, caption)

    def add_all(self, images: Iterable[tuple[Path, str]]) -> list[Image]:
        """Adds files with their captions, without those that cannot be read."""
        return [image for path, caption in images if (image := self.add(path, caption))]

    def draw(self, name: str, caption: str, draw: Callable[[Path], None]) -> Image:
        """Adds an image that `draw` writes to the path that it is given."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            draw(path)
            image = self.add(path, caption)
        assert image is not None
        return image


def _open(path: Path) -> PIL.Image.Image:
    """The pixels of a PNG or JPEG file, without its metadata."""
    with PIL.Image.open(path, formats=("PNG", "JPEG")) as file:
        image = file.convert("RGB")
    image.info = {}
    return image


def _encode(image: PIL.Image.Image, format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, optimize=True, quality=QUALITY)
    return buffer.getvalue()
