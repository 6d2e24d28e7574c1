"""The parts that the classes share: eyes, ears, wheels, windows, wings.

A part is a few strokes, back to front, in a square of [-1, 1] (y down); where and how large it
stands is for the recipes to say. Colors are named by their use, and each image has its own palette
(scene.py).

    EYE   # rim, iris, pupil, glint
"""

from typing import NamedTuple


class Stroke(NamedTuple):
    """One outline of a part: its shape, center and half-extents, in units of the part's size."""

    shape: str
    color: str
    x: float = 0.0
    y: float = 0.0
    w: float = 1.0
    h: float = 1.0
    turn: float = 0.0
    relief: float = 1.0


def plain(shape: str, color: str = "coat", relief: float = 1.0) -> tuple[Stroke, ...]:
    return (Stroke(shape, color, relief=relief),)


EYE = (
    Stroke("disc", "dark", relief=0.0),
    Stroke("disc", "iris", w=0.84, h=0.84, relief=0.5),
    Stroke("disc", "black", w=0.5, h=0.58, relief=0.0),
    Stroke("disc", "white", -0.28, -0.34, 0.22, 0.22, relief=0.0),
)
NOSE = (Stroke("nose", "dark"), Stroke("disc", "white", -0.3, -0.4, 0.22, 0.14, relief=0.0))
MOUTH = (Stroke("grin", "dark", relief=0.0), Stroke("disc", "flesh", 0, 0.3, 0.5, 0.42, relief=0.5))
TEETH = (Stroke("box", "white", relief=0.3), Stroke("slab", "metal", w=0.06, relief=0.0))
POINTED_EAR = (Stroke("ear", "coat"), Stroke("ear", "flesh", 0, 0.2, 0.55, 0.65, relief=0.6))
ROUND_EAR = (Stroke("disc", "coat"), Stroke("disc", "flesh", 0, 0.1, 0.58, 0.58, relief=0.6))
LONG_EAR = (
    Stroke("leaf", "coat", turn=90),
    Stroke("leaf", "flesh", 0, 0.08, 0.75, 0.5, turn=90, relief=0.6),
)
FLOPPY_EAR = (Stroke("drop", "trim"),)
MUZZLE = (Stroke("disc", "pale"),)
LEG = (Stroke("pear", "coat"), Stroke("disc", "pale", 0, 0.86, 1.25, 0.32))
SOLE = (Stroke("disc", "coat"), Stroke("disc", "pale", 0, 0, 0.6, 0.6, relief=0.6))
WHEEL = (
    Stroke("disc", "dark"),
    Stroke("disc", "metal", w=0.62, h=0.62),
    Stroke("disc", "dark", w=0.42, h=0.42, relief=0.5),
    Stroke("disc", "metal", w=0.2, h=0.2),
)
SPOKED_WHEEL = (
    Stroke("ring", "dark", relief=0.0),
    *(
        Stroke("slab", "metal", w=0.86, h=0.022, turn=turn, relief=0.0)
        for turn in (0, 36, 72, 108, 144)
    ),
    Stroke("disc", "metal", w=0.14, h=0.14),
)
WINDOW = (
    Stroke("slab", "trim", relief=0.3),
    Stroke("slab", "glass", w=0.84, h=0.84, relief=0.0),
    Stroke("leaf", "shine", -0.15, -0.1, 0.62, 0.16, turn=-50, relief=0.0),
)
LAMP = (Stroke("disc", "metal"), Stroke("disc", "white", w=0.7, h=0.7, relief=0.3))
WING = (Stroke("wing", "coat"), Stroke("wing", "trim", 0.1, 0.15, 0.62, 0.6, relief=0.6))
PETAL = (
    Stroke("petal", "coat", relief=0.5),
    Stroke("petal", "trim", 0.1, -0.1, 0.68, 0.66, relief=0.4),
    Stroke("disc", "pale", 0.35, -0.35, 0.24, 0.26, relief=0.6),
)
FAN = (Stroke("fan", "trim"),)

LOOSE = (  # what may lie about
    *(WHEEL, WINDOW, WING, POINTED_EAR, LONG_EAR, FAN, LAMP, EYE),
    *(plain(shape) for shape in ("disc", "leaf", "box", "pear", "fin")),
    *(plain(shape, "trim") for shape in ("leaf", "drop", "roof", "disc")),
)
