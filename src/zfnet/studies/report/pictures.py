"""Pictures of runs at a sensible size: one small file that report.md shows and report.html embeds.

Album(folder / "pictures", problems).add(Path("outputs/train/demo/curves.png"))      # Print(name="01-curves.png")
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from zfnet.io import save
from zfnet.studies.report.runs import Problem

WIDEST, TALLEST = 1400, 2800  # pixels
QUALITY = 86  # of JPEG
COSTS = {
    "png": 1,
    "jpeg": 2,
}  # of a byte: JPEG, which blurs lines, for photographs that it makes much smaller


@dataclass(frozen=True)
class Print:
    """A picture file as the report has it."""

    name: str
    kind: str  # of MIME
    data: bytes
    size: tuple[int, int]  # width, height


class Album:
    """A folder of numbered prints."""

    def __init__(self, folder: Path, problems: list[Problem]) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.problems, self.prints = folder, problems, 0

    def add(self, path: Path) -> Print | None:
        """Shrinks, numbers and writes it; a file that is no picture is a problem and None."""
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except (OSError, ValueError, SyntaxError) as error:
            self.problems.append(Problem(path, f"is no picture that can be read ({error})"))
            return None
        image.thumbnail((WIDEST, TALLEST), Image.Resampling.LANCZOS)
        kind, data = min(
            (_encoded(image, kind) for kind in COSTS), key=lambda pair: COSTS[pair[0]] * len(pair[1])
        )
        self.prints += 1
        name = f"{self.prints:02d}-{path.stem}.{kind}"
        save(self.folder / name, data)
        return Print(name, f"image/{kind}", data, image.size)

    def drawn(self, name: str, draw: Callable[[Path], None]) -> Print:
        """A picture that `draw` makes at a path, of the report's own."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            draw(path)
            print = self.add(path)
        assert print is not None
        return print


def _encoded(image: Image.Image, kind: str) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    image.save(buffer, kind, optimize=True, quality=QUALITY)
    return kind, buffer.getvalue()
