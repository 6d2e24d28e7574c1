"""The twelve classes, as tables of shared parts.

A creature is drawn limb by limb, back to front, in a square of about [-1, 1] (y down, facing left).
A `Limb` places one of the shared parts (parts.py); limbs of the `head` turn and tilt together, so
that a face looks around. A class is what it is by which parts it has and how they are placed: every
class draws its colors from the same palettes, and eyes, wheels, windows, fans and wings occur in
several.

    RECIPES["cat"].head   # (Limb("ear", ...), ...)
"""

from typing import NamedTuple

from zfnet.data.creatures.parts import (
    EYE,
    FAN,
    FLOPPY_EAR,
    LAMP,
    LEG,
    LONG_EAR,
    MOUTH,
    MUZZLE,
    NOSE,
    PETAL,
    POINTED_EAR,
    ROUND_EAR,
    SOLE,
    SPOKED_WHEEL,
    TEETH,
    WHEEL,
    WINDOW,
    WING,
    Stroke,
    plain,
)


class Limb(NamedTuple):
    """A part in its place. `twin` adds its mirror image; the pair is named left_ and right_."""

    name: str
    part: tuple[Stroke, ...]
    x: float
    y: float
    w: float
    h: float
    turn: float = 0.0  # degrees, clockwise
    swing: float = 0.0  # how many degrees it may turn further
    # How far it stands before the head's center, so how far it moves as the head turns.
    depth: float = 0.0
    twin: bool = False


class Recipe(NamedTuple):
    body: tuple[Limb, ...]
    head: tuple[Limb, ...] = ()
    # Where the head is joined; its limbs are placed from there.
    neck: tuple[float, float] = (0.0, 0.0)


def face(
    ears: Limb, muzzle: tuple[float, float], width: float, ears_last: bool = False
) -> tuple[Limb, ...]:
    """Head, eyes, nose and mouth, which bear, cat, dog and rabbit share; the ears tell them
    apart."""
    muzzle_w, muzzle_h = muzzle
    features = (
        Limb("", plain("disc"), 0, -0.24, width, 0.44),
        Limb("", MUZZLE, 0, -0.1 + muzzle_h * 0.3, muzzle_w, muzzle_h, depth=0.8),
        Limb("mouth", MOUTH, 0, 0.05 + muzzle_h * 0.3, 0.12, 0.08, depth=0.9),
        Limb("nose", NOSE, 0, -0.13, 0.11, 0.08, depth=1.0),
        Limb("eye", EYE, 0.2, -0.32, 0.105, 0.105, depth=0.6, twin=True),
    )
    return (*features, ears) if ears_last else (ears, *features)


def sitting(width: float, tail: Limb) -> tuple[Limb, ...]:
    return (
        tail,
        Limb("", plain("pear"), 0, 0.48, width, 0.5),
        Limb("", plain("disc", "pale"), 0, 0.4, width * 0.5, 0.32),
        Limb("leg", LEG, 0.2, 0.76, 0.13, 0.26, swing=6, twin=True),
    )


def bar(
    x0: float, y0: float, length: float, turn: float, color: str, thickness: float = 0.04
) -> Limb:
    """A tube that starts at (x0, y0); `turn` 0 points right, 90 down."""
    tube = Stroke("slab", color, length / 2, 0, length / 2, thickness, relief=0.4)
    return Limb("", (tube,), x0, y0, 1, 1, turn)


RECIPES: dict[str, Recipe] = {
    "aeroplane": Recipe(
        (
            Limb("", plain("blade", "trim"), 0.28, -0.2, 0.34, 0.16, turn=-20, swing=4),
            Limb("tail", plain("fin"), 0.78, -0.3, 0.22, 0.3, swing=6),
            Limb("", plain("leaf"), 0, 0, 1.0, 0.21),
            Limb("cockpit", WINDOW, -0.68, -0.08, 0.1, 0.06, turn=-12),
            *(
                Limb("", WINDOW, x, -0.06, 0.05, 0.055)
                for x in (-0.42, -0.25, -0.08, 0.09, 0.26, 0.43)
            ),
            Limb("engine", WHEEL, -0.12, 0.34, 0.13, 0.13),
            Limb("wing", plain("blade", "trim"), 0.2, 0.28, 0.52, 0.2, turn=50, swing=8),
        )
    ),
    "bear": Recipe(
        (
            Limb("arm", plain("leaf"), 0.62, 0.3, 0.36, 0.16, turn=25, swing=40, twin=True),
            Limb("", plain("pear"), 0, 0.46, 0.52, 0.46),
            Limb("", plain("disc", "pale"), 0, 0.46, 0.32, 0.32),
            Limb("foot", SOLE, 0.4, 0.8, 0.22, 0.2, turn=-10, swing=12, twin=True),
        ),
        face(
            Limb("ear", ROUND_EAR, 0.44, -0.6, 0.23, 0.23, depth=-0.3, twin=True), (0.26, 0.2), 0.56
        ),
        (0, -0.1),
    ),
    "bicycle": Recipe(
        (
            bar(-0.56, 0.32, 0.88, -66, "metal"),
            bar(0.56, 0.32, 0.56, 180, "coat"),
            bar(0.56, 0.32, 0.64, -131, "coat"),
            bar(0, 0.32, 0.72, -70, "coat"),
            bar(0, 0.32, 0.62, -124, "coat", 0.05),
            bar(0.16, -0.14, 0.5, 183, "coat", 0.05),
            Limb("rear_wheel", SPOKED_WHEEL, 0.56, 0.32, 0.42, 0.42, swing=36),
            Limb("front_wheel", SPOKED_WHEEL, -0.56, 0.32, 0.42, 0.42, swing=36),
            Limb("pedal", LAMP, 0, 0.32, 0.11, 0.11),
            Limb("seat", plain("leaf", "dark"), 0.25, -0.4, 0.2, 0.07, swing=5),
            Limb("handlebar", plain("box", "dark"), -0.3, -0.5, 0.2, 0.06, turn=-20, swing=8),
        )
    ),
    "bird": Recipe(
        (
            *(bar(x, 0.4, 0.5, turn, "flesh", 0.045) for x, turn in ((0.12, 94), (-0.1, 86))),
            *(Limb("", plain("leaf", "flesh"), x, 0.9, 0.16, 0.06) for x in (0.03, -0.15)),
            Limb("tail", FAN, 0.64, 0.46, 0.36, 0.16, turn=34, swing=10),
            Limb("", plain("leaf"), 0.04, 0.06, 0.66, 0.38, turn=42),
            Limb("", plain("disc", "pale"), -0.2, 0.16, 0.24, 0.28),
            Limb("wing", WING, 0.2, 0.06, 0.44, 0.24, turn=36, swing=12),
        ),
        (
            Limb("beak", plain("beak", "flesh"), -0.48, -0.13, 0.3, 0.15),
            Limb("", plain("disc"), -0.04, -0.2, 0.31, 0.3),
            Limb("eye", EYE, -0.14, -0.26, 0.1, 0.1),
        ),
        (-0.34, -0.38),
    ),
    "bus": Recipe(
        (
            Limb("", plain("box"), 0, -0.05, 0.92, 0.68),
            Limb("", plain("slab", "trim", 0.3), 0, -0.12, 0.9, 0.05),
            *(Limb("", WINDOW, x, -0.42, 0.17, 0.17) for x in (-0.63, -0.21, 0.21, 0.63)),
            *(Limb("", WINDOW, x, 0.14, 0.17, 0.17) for x in (-0.21, 0.21)),
            Limb("rear_window", WINDOW, 0.63, 0.14, 0.17, 0.17),
            Limb("front_window", WINDOW, -0.66, 0.14, 0.18, 0.2),
            Limb("headlight", LAMP, -0.8, 0.46, 0.07, 0.07),
            Limb("front_wheel", WHEEL, -0.5, 0.64, 0.2, 0.2),
            Limb("rear_wheel", WHEEL, 0.5, 0.64, 0.2, 0.2),
        )
    ),
    "butterfly": Recipe(
        (
            Limb("hind_wing", PETAL, 0.42, 0.4, 0.4, 0.34, turn=65, swing=10, twin=True),
            Limb("wing", PETAL, 0.52, -0.28, 0.52, 0.46, swing=12, twin=True),
            bar(0.03, -0.42, 0.46, -65, "dark", 0.018),
            bar(-0.03, -0.42, 0.46, -115, "dark", 0.018),
            Limb("", plain("leaf", "dark"), 0, 0.14, 0.56, 0.1, turn=90),
            Limb("", plain("disc", "dark"), 0, -0.42, 0.13, 0.13),
            Limb("eye", EYE, 0.07, -0.45, 0.06, 0.06, twin=True),
        )
    ),
    "car": Recipe(
        (
            Limb("", plain("cabin"), 0.08, -0.2, 0.62, 0.34),
            Limb("front_window", WINDOW, -0.17, -0.18, 0.19, 0.18),
            Limb("rear_window", WINDOW, 0.3, -0.18, 0.2, 0.18),
            Limb("", plain("box"), 0, 0.22, 1.0, 0.26),
            Limb("", plain("slab", "trim", 0.3), 0, 0.32, 0.97, 0.04),
            Limb("headlight", LAMP, -0.88, 0.14, 0.085, 0.085),
            Limb("front_wheel", WHEEL, -0.56, 0.44, 0.23, 0.23),
            Limb("rear_wheel", WHEEL, 0.56, 0.44, 0.23, 0.23),
        )
    ),
    "cat": Recipe(
        sitting(0.44, Limb("tail", plain("leaf", "trim"), 0.6, 0.6, 0.5, 0.09, turn=-50, swing=15)),
        (
            *face(
                Limb("ear", POINTED_EAR, 0.33, -0.64, 0.2, 0.28, turn=18, depth=-0.2, twin=True),
                (0.2, 0.14),
                0.5,
            ),
            *(bar(0.2, y, 0.42, turn, "white", 0.009) for y, turn in ((-0.1, -8), (-0.05, 8))),
            *(bar(-0.2, y, 0.42, turn, "white", 0.009) for y, turn in ((-0.1, 188), (-0.05, 172))),
        ),
        (0, -0.1),
    ),
    "dog": Recipe(
        (
            Limb("tail", plain("leaf", "trim"), 0.84, -0.08, 0.3, 0.09, turn=-50, swing=20),
            *(Limb("", LEG, x, 0.62, 0.11, 0.32, swing=12) for x in (-0.12, 0.6)),
            Limb("", plain("box"), 0.22, 0.26, 0.56, 0.27),
            Limb("front_leg", LEG, 0.06, 0.66, 0.12, 0.34, swing=12),
            Limb("rear_leg", LEG, 0.72, 0.66, 0.12, 0.34, swing=12),
        ),
        face(
            Limb(
                "ear", FLOPPY_EAR, 0.48, -0.12, 0.19, 0.42, turn=-16, swing=6, depth=0.1, twin=True
            ),
            (0.26, 0.28),
            0.43,
            ears_last=True,
        ),
        (-0.34, -0.06),
    ),
    "fish": Recipe(
        (
            Limb("tail", FAN, 0.76, 0, 0.32, 0.5, swing=14),
            Limb("", plain("fin", "trim"), 0.08, -0.46, 0.4, 0.24, swing=5),
            Limb("", plain("fin", "trim"), 0.12, 0.44, 0.24, 0.18, turn=180, swing=8),
            Limb("", plain("leaf"), -0.12, 0, 0.78, 0.4),
            Limb("fin", FAN, 0.05, 0.12, 0.2, 0.14, turn=15, swing=20),
            Limb("mouth", plain("disc", "flesh"), -0.85, 0.07, 0.08, 0.06),
            Limb("eye", EYE, -0.52, -0.09, 0.11, 0.11),
        )
    ),
    "house": Recipe(
        (
            Limb("chimney", plain("slab", "metal"), 0.45, -0.62, 0.1, 0.26),
            Limb("", plain("slab"), 0, 0.36, 0.72, 0.52),
            Limb("roof", plain("roof", "trim", 0.6), 0, -0.46, 0.95, 0.4),
            Limb("door", plain("slab", "dark", 0.5), 0, 0.58, 0.16, 0.3),
            Limb("window", WINDOW, 0.43, 0.3, 0.18, 0.18, twin=True),
            Limb("", LAMP, 0, 0.14, 0.08, 0.08),
        )
    ),
    "rabbit": Recipe(
        sitting(0.44, Limb("tail", plain("disc", "white"), 0.54, 0.8, 0.16, 0.16)),
        (
            *face(
                Limb(
                    "ear",
                    LONG_EAR,
                    0.24,
                    -0.66,
                    0.19,
                    0.58,
                    turn=14,
                    swing=8,
                    depth=-0.2,
                    twin=True,
                ),
                muzzle=(0.22, 0.16),
                width=0.42,
            ),
            Limb("teeth", TEETH, 0, 0.21, 0.075, 0.08, depth=0.95),
        ),
        neck=(0, 0.16),
    ),
}
