"""What the paper says of its tables, as inequalities of their numbers: asked of the runs by the same rule.

    judged(TABLE_3, numbers)     # [Verdict(claim, margin=21.6, noise=None), ...]

A margin is how far an inequality is from failing, in points of the table: above 0 it holds. Noise is the margin's
deviation, from those of the numbers in it (first order, as if independent): within it nothing is decided. No
threshold is in points, so that nets that err on 4 % and on 40 % can be asked the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from zfnet.studies.report.measures import Measure

AGREES, DIFFERS, NOISE, UNKNOWN = "agrees", "does not agree", "within the noise", "not measured"
Numbers = Mapping[Any, float]


@dataclass(frozen=True)
class Claim:
    """A sentence about a table, and its margin in the table's numbers; KeyError where one is missing."""

    table: str
    text: str
    margin: Callable[[Numbers], float]


@dataclass(frozen=True)
class Verdict:
    """A claim's margin in some numbers, None where one is missing."""

    claim: Claim
    margin: float | None
    noise: float | None

    @property
    def word(self) -> str:
        if self.margin is None:
            return UNKNOWN
        if self.noise is not None and abs(self.margin) <= self.noise:
            return NOISE
        return AGREES if self.margin > 0 else DIFFERS


def judged(claims: Sequence[Claim], numbers: Mapping[Any, Measure]) -> list[Verdict]:
    """Each claim's verdict."""
    return [_verdict(claim, numbers) for claim in claims]


def _verdict(claim: Claim, numbers: Mapping[Any, Measure]) -> Verdict:
    means = {key: measure.mean for key, measure in numbers.items()}
    try:
        margin = claim.margin(means)
    except KeyError:
        return Verdict(claim, None, None)
    deviations = {key: measure.deviation for key, measure in numbers.items() if measure.deviation is not None}
    moved = [claim.margin({**means, key: means[key] + each}) - margin for key, each in deviations.items()]
    return Verdict(claim, margin, sqrt(sum(each**2 for each in moved)) if any(moved) else None)


def _costs(e: Numbers, row: str, net: str = "alexnet") -> float:
    """What an edit adds to the validation top-1 error."""
    return e[(net, row), "val top-1"] - e[(net, "none"), "val top-1"]


def _barely(e: Numbers, net: str) -> float:
    """A tenth of the error, less the greater change by the size of layers 6 and 7."""
    return e[(net, "none"), "val top-1"] / 10 - max(
        abs(_costs(e, row, net)) for row in ("fc_2048", "fc_8192")
    )


def _over_fitted(e: Numbers) -> float:
    """The lesser of what larger layers 6, 7 take from the training error and add to the validation error."""
    wide, both = ("zfnet", "wide_3_4_5"), ("zfnet", "wide_3_4_5_fc_8192")
    return min(e[wide, "train top-1"] - e[both, "train top-1"], e[both, "val top-1"] - e[wide, "val top-1"])


TABLE_3 = [
    Claim(
        "Table 3",
        "Removing layers 3, 4, 6 and 7 hurts more than removing 3, 4 and removing 6, 7 do together",
        lambda e: _costs(e, "remove_3_4_6_7") - _costs(e, "remove_3_4") - _costs(e, "remove_6_7"),
    ),
    Claim(
        "Table 3",
        "Removing the fully connected layers 6, 7 alone costs little (less than a third of removing 3, 4 too)",
        lambda e: _costs(e, "remove_3_4_6_7") / 3 - _costs(e, "remove_6_7"),
    ),
    Claim(
        "Table 3",
        "Removing the convolutions 3, 4 alone costs little (less than a third of removing 6, 7 too)",
        lambda e: _costs(e, "remove_3_4_6_7") / 3 - _costs(e, "remove_3_4"),
    ),
    Claim(
        "Table 3",
        "The size of layers 6, 7 changes Krizhevsky's net little (by less than a tenth of its error)",
        lambda e: _barely(e, "alexnet"),
    ),
    Claim(
        "Table 3",
        "The size of layers 6, 7 changes the net of Figure 3 little (by less than a tenth of its error)",
        lambda e: _barely(e, "zfnet"),
    ),
    Claim("Table 3", "Wider convolutions 3, 4, 5 help", lambda e: -_costs(e, "wide_3_4_5", "zfnet")),
    Claim(
        "Table 3",
        "Larger layers 6, 7 on top of them over-fit: the training error falls, the validation error rises",
        _over_fitted,
    ),
    Claim(
        "Tables 2, 3",
        "The net of Figure 3 errs less than Krizhevsky's",
        lambda e: e[("alexnet", "none"), "val top-1"] - e[("zfnet", "none"), "val top-1"],
    ),
]  # fmt: skip

TABLE_2 = [
    Claim(
        "Table 2",
        "Averaging several nets of Figure 3 errs less than one",
        lambda e: e["zfnet", "val top-1"] - e["zfnets", "val top-1"],
    ),
    Claim(
        "Table 2",
        "Adding a net with wider convolutions to them errs less still",
        lambda e: e["zfnets", "val top-1"] - e["zfnets and wide", "val top-1"],
    ),
]


def _gaps(e: Numbers) -> dict[int, float]:
    """By images per class, what pre-training adds to the accuracy."""
    gaps = {k: e["frozen", k] - e["scratch", k] for how, k in e if how == "frozen" and ("scratch", k) in e}
    if not gaps:
        raise KeyError("scratch")
    return gaps


def _fades(e: Numbers) -> float:
    gaps = _gaps(e)
    if len(gaps) == 1:
        raise KeyError("k")
    return gaps[min(gaps)] - gaps[max(gaps)]


def transfer_claims(table: str) -> list[Claim]:
    """Of Table 4 or 5, whose numbers are keyed by method and images per class."""
    return [
        Claim(
            table,
            "Pre-trained features beat training from scratch at every k",
            lambda e: min(_gaps(e).values()),
        ),
        Claim(table, "They add most where images are fewest", _fades),
        Claim(
            table,
            "Pre-trained on the fewest images, they beat training from scratch on the most",
            lambda e: e["frozen", min(_gaps(e))] - e["scratch", max(_gaps(e))],
        ),
    ]


TABLE_6 = [
    Claim("Table 6", "The mean lies above that of Sande et al.", lambda e: e["mean"] - e["Sande et al."]),
    Claim("Table 6", "The mean lies below that of Yan et al.", lambda e: e["Yan et al."] - e["mean"]),
]


def _rises(e: Numbers) -> float:
    """The least step of the SVM's accuracy from one of the layers 1 to 5 to the next."""
    return min(e["svm", layer + 1] - e["svm", layer] for layer in range(1, 5))


TABLE_7 = [
    Claim("Table 7", "The accuracy of a linear SVM rises with every layer from 1 to 5", _rises),
    Claim(
        "Table 7",
        "Layers 5 and 7 are the best to read",
        lambda e: max(e["svm", 5], e["svm", 7]) - max(e["svm", layer] for layer in range(1, 5)),
    ),
]

TABLE_1 = [
    Claim(
        "Table 1",
        "At layer 5, masking an eye or the nose changes the same features more than masking by lot does",
        lambda e: (
            e["random", "layer 5"] - max(e[part, "layer 5"] for part in ("right_eye", "left_eye", "nose"))
        ),
    )
]
