"""Small photos written where a test wants them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def paint(path: Path, seed: int = 0) -> None:
    """A photo of 24 x 20 pixels of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


@pytest.fixture(scope="session", name="paint")
def _paint() -> Callable[..., None]:
    return paint
