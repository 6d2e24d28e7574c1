"""The outlines that all is cut from: closed polygons in the square [-1, 1] x [-1, 1], y down.

Most are a few hand-placed corners, rounded by cutting corners (Chaikin 1974: each round puts, in
place of the corners, the points at 1/4 and 3/4 of every edge). All of an outline can be seen from
its center (0, 0), the ring's excepted, so that shrunken copies lie inside it (canvas.py).

    SHAPES["ear"]   # float64 (n, 2)
"""

import math

import numpy as np


def rounded(*corners: tuple[float, float], rounds: int = 2) -> np.ndarray:
    points = np.array(corners, float)
    for _ in range(rounds):
        following = np.roll(points, -1, axis=0)
        near, far = 0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following
        points = np.stack([near, far], axis=1).reshape(-1, 2)
    return points


def circle(corners: int) -> np.ndarray:
    """On a grid of 2^-20, so that a last-bit difference between two C libraries' sines
    disappears."""
    turns = [2 * math.pi * i / corners for i in range(corners)]
    return (
        np.array([(round(math.cos(t) * 2**20), round(math.sin(t) * 2**20)) for t in turns]) / 2**20
    )


def ring(inner: float) -> np.ndarray:
    """Out along the rim and back along the inner one; the seam lies inside the band and is not
    seen."""
    rim = np.concatenate([circle(40), circle(40)[:1]])
    return np.concatenate([rim, inner * rim[::-1]])


def standing(*right: tuple[float, float], rounds: int = 2) -> np.ndarray:
    """Left and right alike: given are the corners of the right half, from top to bottom."""
    left = [(-x, y) for x, y in reversed(right)]
    return rounded(*right, *left, rounds=rounds)


def lying(*upper: tuple[float, float]) -> np.ndarray:
    """Above and below alike: given are the corners of the upper half, from left to right."""
    return rounded(*upper, *((x, -y) for x, y in reversed(upper)))


SHAPES: dict[str, np.ndarray] = {
    "disc": circle(40),
    "ring": ring(0.86),
    "box": standing((0.75, -1), (1, -0.75), (1, 0.75), (0.75, 1)),
    "slab": standing((0.97, -1), (1, -0.9), (1, 0.9), (0.97, 1)),
    "ear": standing((0.1, -1.05), (0.75, 0), (0.9, 1.1)),
    "roof": standing((0.06, -1), (1, 0.86), (1, 1), rounds=1),
    "drop": standing((0.1, -1.1), (0.5, -0.6), (1, 0.2), (0.9, 1), (0.2, 1.15)),
    "pear": standing((0.5, -1.1), (0.85, -0.1), (1.1, 0.6), (0.75, 1.1)),
    "nose": standing((0.8, -0.9), (1.1, -0.3), (0.3, 0.9)),
    "grin": standing((0.1, -0.3), (1.1, -0.6), (0.75, 0.7), (0.2, 1.2)),
    "leaf": lying((-1.05, -0.05), (-0.6, -0.8), (0.1, -1.2), (0.75, -0.7), (1.05, -0.05)),
    "fan": lying((-1.1, -0.05), (0.4, -1), (1.05, -1.15), (0.95, -0.5), (0.55, -0.1)),
    "cabin": rounded(
        (-1, 1), (-0.98, 0.8), (-0.5, -0.9), (-0.35, -1), (0.5, -1), (0.66, -0.9), (1, 0.8), (1, 1)
    ),
    "beak": rounded((-1.05, 0.15), (-0.9, -0.05), (0.4, -1), (1.1, -0.9), (1.1, 0.9), (0.4, 0.8)),
    "fin": rounded((-1.05, 1), (-0.6, -0.3), (0.3, -1), (0.9, -1.1), (0.8, 0.2), (1.05, 1)),
    "blade": rounded((-1.1, 0.4), (-1, -0.3), (0.6, -1.1), (1.1, -1), (1.0, 0.2), (0.2, 1.1)),
    "wing": rounded(
        *((-1.1, -0.1), (-0.9, -0.8), (0, -1.1), (0.7, -0.6)),
        *((1.15, 0.6), (0.9, 0.95), (0, 0.9), (-0.8, 0.6)),
    ),
    "petal": rounded(
        *((-1.05, 0.85), (-0.95, 0.15), (-0.3, -0.85), (0.5, -1.15)),
        *((1.1, -0.9), (1.05, -0.1), (0.5, 0.7), (-0.3, 1.1)),
    ),
}
