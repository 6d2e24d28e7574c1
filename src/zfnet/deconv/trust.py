"""What a figure says about projections: by which rules they were made, and why not to trust them.

Projections of small networks of each family were measured on images whose objects are known:
docs/trust.md has the numbers, and says what "fails" means. A layer of any network is labelled by
what lies between it and the pixels, if such layers failed.

    >>> from zfnet.deconv.trust import describe_path
    >>> describe_path({"LayerNorm": 23, "GELU": 18}, caution="")
    'extended rules: GELU x 18, LayerNorm x 23'
"""

from collections.abc import Mapping
from typing import NamedTuple

from zfnet.deconv.graph import Path
from zfnet.deconv.rules import Pair

RELU = {
    "deconv": "",
    "guided": "relu=guided: guided backpropagation",
    "gradient": "relu=gradient: the gradient",
}
NO_SWITCHES = (
    "no switches: a unit's projection is the same for every image, but for its scale; use "
    "relu=guided"
)


class Measured(NamedTuple):
    """The last layer of a network of docs/trust.md: energy on the object, in percent."""

    network: str
    projection: int
    gradient: int
    random: int  # of the projection with random weights


# By an extended rule that is on the path; the first one counts, and "" is on every path.
MEASURED = {
    "attention": Measured("vit", 50, 50, 55),
    "gate": Measured("tinynet", 45, 68, 45),
    "LayerNorm": Measured("convnext", 44, 53, 33),
    "": Measured("zfnet", 66, 72, 67),
}


def sees_all(path: Path, size: Pair) -> bool:
    """Whether units see all of an image.

    Args:
        path: from the layer to the pixels.
        size: (H, W) of the image.
    """
    fields = zip(path.fields, size, strict=True)
    return all(field.whole or field.field >= side for field, side in fields)


def caution(path: Path, size: Pair, relu: str = "deconv") -> str:
    """Says why not to trust projections.

    Args:
        path: from the layer to the pixels.
        size: (H, W) of the images.
        relu: the rule of the ReLU.

    Returns:
        "" if there is no reason.
    """
    if relu == "deconv" and not path.switched:
        return NO_SWITCHES
    if relu == "gradient" or not sees_all(path, size):
        return ""
    if relu == "guided":
        return (
            "caution: units see all of the image; nearly the same for every unit, see docs/trust.md"
        )
    measured = next(each for rule, each in MEASURED.items() if not rule or rule in path.extended)
    return (
        f"caution: units see all of the image; in a network that was measured "
        f"({measured.network} in docs/trust.md) {measured.projection} % of the energy of such "
        f"projections lay on the object, {measured.gradient} % of the gradient's, and "
        f"{measured.random} % with random weights"
    )


def describe_path(extended: Mapping[str, int], caution: str, relu: str = "deconv") -> str:
    """Says by which rules projections were made, and why not to trust them.

    Args:
        extended: the number of uses of each extended rule by its name.
        caution: the result of `caution`.
        relu: the rule of the ReLU.

    Returns:
        "" if there is nothing to say.
    """
    names = ", ".join(f"{name} x {count}" for name, count in sorted(extended.items()))
    rules = f"extended rules: {names}" if names else ""
    return "; ".join(part for part in (RELU[relu], rules, caution) if part)
