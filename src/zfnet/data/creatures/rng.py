"""Random numbers and smooth noise that are the same on every machine.

Only PCG64's raw words are used: NumPy promises that stream, and does not promise those of its
distributions. Noise is a small grid of random bytes enlarged by cubic B-splines, `rows @ grid @
columns.T`. The weights are integers out of 64, so every partial sum is an integer below 2^24, which
float32 holds exactly: the result does not depend on the order in which a BLAS adds.

    dice = Dice(seed, split, index)
    dice.between(0.5, 2.0)
    dice.noise(size=128, rows=8, columns=8)   # float32 (128, 128) in [-1, 1]
"""

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """A stream of random numbers that depends on `key` alone."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(key)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * (self._bits.random_raw() >> 11) * 2.0**-53

    def around_zero(self, reach: float) -> float:
        """In (-reach, reach), most often near 0: the difference of two uniform numbers."""
        return self.between(0, reach) - self.between(0, reach)

    def chance(self, probability: float) -> bool:
        return self.between(0, 1) < probability

    def count(self, low: int, high: int) -> int:
        return int(self.between(low, high + 1))

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.count(0, len(choices) - 1)]

    def bytes(self, *shape: int) -> np.ndarray:
        total = int(np.prod(shape))
        words = self._bits.random_raw(-(-total // 8)).astype("<u8")
        return words.view(np.uint8)[:total].reshape(shape)

    def noise(self, size: int, rows: int, columns: int) -> np.ndarray:
        """Smooth noise of `rows` x `columns` cells, stretched over (size, size), in about [-1,
        1]."""
        grid = self.bytes(rows + 3, columns + 3).astype(np.float32)
        # B-splines average neighbors: about half of the contrast is left.
        smooth = enlarge(grid, size)
        return np.clip((smooth - 127.5) * np.float32(1 / 64), -1, 1)


def enlarge(grid: np.ndarray, size: int) -> np.ndarray:
    """(rows + 3, columns + 3) or (..., rows + 3, columns + 3) integers in [0, 255] -> (..., size,
    size)."""
    rows, columns = grid.shape[-2:]
    return (
        spline_weights(size, rows - 3)
        @ grid
        @ spline_weights(size, columns - 3).T
        * np.float32(1 / 4096)
    )


@cache
def spline_weights(size: int, cells: int) -> np.ndarray:
    """(size, cells + 3) cubic B-spline weights of each pixel over the grid, as integers that add up
    to 64."""
    weights = np.zeros((size, cells + 3), np.float32)
    for pixel in range(size):
        cell, position = divmod((pixel + 0.5) * cells / size, 1.0)
        u, v = position, 1 - position
        outer = [round(64 / 6 * v * v * v), round(64 / 6 * u * u * u)]
        left = round(64 / 6 * (3 * u * u * u - 6 * u * u + 4))
        weights[pixel, int(cell) : int(cell) + 4] = [
            outer[0],
            left,
            64 - left - sum(outer),
            outer[1],
        ]
    return weights
