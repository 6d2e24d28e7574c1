"""What the paper says of its tables, as inequalities of their numbers: asked of the runs by the same rule.

    judge(TABLE_3, numbers)     # [Verdict(claim, "agrees", margin=21.6, noise=None), ...]

A margin is how far an inequality is from failing, in points of the table: above 0 it holds. A claim agrees where it
holds beyond its noise, and so does every effect that it takes for granted: nothing hurts more than something else
unless it hurts. No threshold is in points, so that nets that err on 4 % and on 40 % can be asked the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zfnet.studies.report.measures import Measure
from zfnet.studies.report.resampling import Draws

AGREES, DIFFERS, NO_EFFECT = "agrees", "does not agree", "no such effect"
NOISE, ONE_RUN, UNKNOWN = "within the noise", "noise unknown", "not measured"
STABLE = 0.84  # of the draws must have the margin's sign: what a normal margin of one deviation has
ROUNDING = 1e-9  # points
Numbers = Mapping[Any, Any]  # floats, or arrays of draws
Margin = Callable[[Numbers], Any]


@dataclass(frozen=True)
class Claim:
    """A sentence about a table, and its margin in the table's numbers; KeyError where one is missing.

    `effects` are the margins of what the sentence takes for granted, by what they say.
    """

    table: str
    text: str
    margin: Margin
    effects: Mapping[str, Margin] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """A claim's verdict, its margin in some numbers, and which of its effects are not there."""

    claim: Claim
    word: str
    margin: float | None = None
    noise: float | None = None
    absent: Sequence[str] = ()


def judge(claims: Sequence[Claim], numbers: Mapping[Any, Measure]) -> list[Verdict]:
    """Each claim's verdict.

    Args:
        claims: about one table.
        numbers: of that table. A measure of runs that has one value makes the noise unknown; a published number has
            none.
    """
    draws = Draws(numbers)
    return [_verdict(claim, draws) for claim in claims]


def _verdict(claim: Claim, draws: Draws) -> Verdict:
    draws.read.clear()
    try:
        margin = claim.margin(draws)
        effects = {text: _sign(effect(draws)) for text, effect in claim.effects.items()}
    except KeyError:
        return Verdict(claim, UNKNOWN)
    measures = [numbers for key, numbers in draws.measures.items() if key in draws.read]
    noise = float(margin[1:].std()) if any(each.deviation is not None for each in measures) else None
    absent = [text for text, sign in effects.items() if sign < 0]
    if _sign(margin) < 0:
        word = DIFFERS
    elif absent:
        word = NO_EFFECT
    else:
        word = AGREES if all((_sign(margin), *effects.values())) else NOISE
    if word != NOISE and any(len(each.values) == 1 for each in measures):
        word = ONE_RUN
    return Verdict(claim, word, float(margin[0]), noise, absent if word == NO_EFFECT else ())


def _sign(margin: NDArray[np.float64]) -> int:
    """1 or -1 for a margin beyond its noise, 0 within."""
    mean, drawn = margin[0], margin[1:]
    sign = 1 if mean > ROUNDING else -1
    noise = drawn.std()
    stable = np.mean(drawn > 0 if sign > 0 else drawn <= 0) >= STABLE
    return sign if noise < ROUNDING or (abs(mean) > noise and stable) else 0


def _least(margins: Sequence[Any]) -> Any:
    return np.minimum.reduce(margins)


def _most(numbers: Sequence[Any]) -> Any:
    return np.maximum.reduce(numbers)


def _costs(e: Numbers, row: str, net: str = "alexnet") -> Any:
    """What an edit adds to the validation top-1 error."""
    return e[(net, row), "val top-1"] - e[(net, "none"), "val top-1"]


def _barely(e: Numbers, net: str) -> Any:
    """A tenth of the error, less the greater change by the size of layers 6 and 7."""
    changes = [abs(_costs(e, row, net)) for row in ("fc_2048", "fc_8192")]
    return e[(net, "none"), "val top-1"] / 10 - _most(changes)


def _over_fitted(e: Numbers) -> Any:
    """The lesser of what larger layers 6, 7 take from the training error and add to the validation error."""
    wide, both = ("zfnet", "wide_3_4_5"), ("zfnet", "wide_3_4_5_fc_8192")
    return _least(
        [e[wide, "train top-1"] - e[both, "train top-1"], e[both, "val top-1"] - e[wide, "val top-1"]]
    )


DEPTH_HURTS: Mapping[str, Margin] = {
    "removing layers 3, 4, 6 and 7 hurts": lambda e: _costs(e, "remove_3_4_6_7")
}
TABLE_3 = [
    Claim(
        "Table 3",
        "Removing layers 3, 4, 6 and 7 hurts more than removing 3, 4 and removing 6, 7 do together",
        lambda e: _costs(e, "remove_3_4_6_7") - _costs(e, "remove_3_4") - _costs(e, "remove_6_7"),
        DEPTH_HURTS,
    ),
    Claim(
        "Table 3",
        "Removing the fully connected layers 6, 7 alone costs little (less than a third of removing 3, 4 too)",
        lambda e: _costs(e, "remove_3_4_6_7") / 3 - _costs(e, "remove_6_7"),
        DEPTH_HURTS,
    ),
    Claim(
        "Table 3",
        "Removing the convolutions 3, 4 alone costs little (less than a third of removing 6, 7 too)",
        lambda e: _costs(e, "remove_3_4_6_7") / 3 - _costs(e, "remove_3_4"),
        DEPTH_HURTS,
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
]


def _averaged(e: Numbers) -> Any:
    return e["zfnet", "val top-1"] - e["zfnets", "val top-1"]


TABLE_2 = [
    Claim("Table 2", "Averaging several nets of Figure 3 errs less than one", _averaged),
    Claim(
        "Table 2",
        "Adding a net with wider convolutions to them errs less still",
        lambda e: e["zfnets", "val top-1"] - e["zfnets and wide", "val top-1"],
        {"averaging several nets of Figure 3 errs less than one": _averaged},
    ),
]


def _ks(e: Numbers, least: int = 1) -> list[Any]:
    """The images per class at which both methods were measured; KeyError where they are fewer than `least`."""
    ks = sorted(k for how, k in e if how == "frozen" and ("scratch", k) in e)
    if len(ks) < least:
        raise KeyError("k")
    return ks


def _gaps(e: Numbers, least: int = 1) -> list[Any]:
    """What pre-training adds to the accuracy, from the fewest images per class to the most."""
    return [e["frozen", k] - e["scratch", k] for k in _ks(e, least)]


def _fades(e: Numbers) -> Any:
    fewest, *more = _gaps(e, least=2)
    return fewest - _most(more)


def _fewest_beat_most(e: Numbers) -> Any:
    fewest, *_, most = _ks(e, least=2)
    return e["frozen", fewest] - e["scratch", most]


def transfer_claims(table: str) -> list[Claim]:
    """Of Table 4 or 5, whose numbers are keyed by method and images per class."""
    return [
        Claim(
            table,
            "Pre-trained features beat training from scratch at every k",
            lambda e: _least(_gaps(e)),
        ),
        Claim(
            table,
            "They add most where images are fewest",
            _fades,
            {"pre-trained features add to the accuracy where images are fewest": lambda e: _gaps(e)[0]},
        ),
        Claim(
            table,
            "Pre-trained on the fewest images, they beat training from scratch on the most",
            _fewest_beat_most,
        ),
    ]


TABLE_6 = [
    Claim("Table 6", "The mean lies above that of Sande et al.", lambda e: e["mean"] - e["Sande et al."]),
    Claim("Table 6", "The mean lies below that of Yan et al.", lambda e: e["Yan et al."] - e["mean"]),
]

TABLE_7 = [
    Claim(
        "Table 7",
        "The accuracy of a linear SVM rises with every layer from 1 to 5",
        lambda e: _least([e["svm", layer + 1] - e["svm", layer] for layer in range(1, 5)]),
    ),
    Claim(
        "Table 7",
        "Layers 5 and 7 are the best to read",
        lambda e: _least([e["svm", 5], e["svm", 7]]) - _most([e["svm", layer] for layer in range(1, 5)]),
    ),
]

TABLE_1 = [
    Claim(
        "Table 1",
        "At layer 5, masking an eye or the nose changes the same features more than masking random squares does",
        lambda e: (
            e["random", "layer 5"] - _most([e[part, "layer 5"] for part in ("right_eye", "left_eye", "nose")])
        ),
    )
]
