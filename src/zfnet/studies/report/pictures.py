"""Pictures of runs at a sensible size: one small file that report.md shows and report.html embeds.

Album(folder / "pictures", found).add(Path("outputs/train/demo/curves.png"))      # Copy(name="01-curves.png")
"""

import base64
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from zfnet.io import save
from zfnet.studies.report.runs import Found

WIDEST, TALLEST = 1400, 2800  # pixels
QUALITY = 86  # of JPEG
LONGEST_NAME = 60  # characters
COSTS = {
    "png": 1,
    "jpeg": 2,
}  # of a byte: JPEG, which blurs lines, for photographs that it makes much smaller


@dataclass(frozen=True)
class Copy:
    """A picture file as the report has it."""

    name: str
    kind: str  # png or jpeg
    data: bytes
    size: tuple[int, int]  # width, height

    @property
    def address(self) -> str:
        """The picture itself, as a page embeds it."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.data).decode()}"


class Album:
    """A folder of numbered prints."""

    def __init__(self, folder: Path, found: Found) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.found, self.prints = folder, found, 0

    def add(self, path: Path) -> Copy | None:
        """Shrinks, numbers and writes it; a file that holds neither PNG nor JPEG is a problem and None."""
        image = self.found.attempt(path, lambda: _opened(path))
        if image is None:
            return None
        image.thumbnail((WIDEST, TALLEST), Image.Resampling.LANCZOS)
        kind, data = min(
            (_encoded(image, kind) for kind in COSTS), key=lambda pair: COSTS[pair[0]] * len(pair[1])
        )
        self.prints += 1
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem)[:LONGEST_NAME]
        name = f"{self.prints:02d}-{stem}.{kind}"
        save(self.folder / name, data)
        return Copy(name, kind, data, image.size)

    def drawn(self, name: str, draw: Callable[[Path], None]) -> Copy:
        """A picture that `draw` makes at a path, of the report's own."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            draw(path)
            print = self.add(path)
        assert print is not None
        return print


def _opened(path: Path) -> Image.Image:
    """By what the file holds, whatever its name says; its pixels only."""
    with Image.open(path, formats=("PNG", "JPEG")) as file:
        image = file.convert("RGB")
    image.info = {}
    return image


def _encoded(image: Image.Image, kind: str) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    image.save(buffer, kind, optimize=True, quality=QUALITY)
    return kind, buffer.getvalue()
