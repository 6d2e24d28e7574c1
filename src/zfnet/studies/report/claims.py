"""The paper's claims about its tables, as inequalities between their numbers.

Each table has a list of claims. Their numbers are keyed by (row, column), those of Table 6 by name.
"""

from typing import Any

import numpy as np

from zfnet.studies.report.verdicts import Claim, Numbers


def _min(numbers: list[Any]) -> Any:
    return np.minimum.reduce(numbers)


def _max(numbers: list[Any]) -> Any:
    return np.maximum.reduce(numbers)


def _cost(e: Numbers, ablation: str, net: str = "alexnet") -> Any:
    """The increase of the validation top-1 error."""
    return e[(net, ablation), "val top-1"] - e[(net, "none"), "val top-1"]


def _size_margin(e: Numbers, net: str) -> Any:
    """A tenth of the error minus the largest change by the size of layers 6 and 7."""
    changes = [abs(_cost(e, ablation, net)) for ablation in ("fc_2048", "fc_8192")]
    return e[(net, "none"), "val top-1"] / 10 - _max(changes)


def _overfitting(e: Numbers) -> Any:
    """The smaller of the fall of the training error and the rise of the validation error."""
    wide, both = ("zfnet", "wide_3_4_5"), ("zfnet", "wide_3_4_5_fc_8192")
    training = e[wide, "train top-1"] - e[both, "train top-1"]
    return _min([training, e[both, "val top-1"] - e[wide, "val top-1"]])


DEPTH = {"removing layers 3, 4, 6 and 7 hurts": lambda e: _cost(e, "remove_3_4_6_7")}
TABLE_3 = [
    Claim(
        "Removing layers 3, 4, 6 and 7 hurts more than removing 3, 4 and removing 6, 7 do together",
        lambda e: _cost(e, "remove_3_4_6_7") - _cost(e, "remove_3_4") - _cost(e, "remove_6_7"),
        DEPTH,
    ),
    Claim(
        "Removing the fully connected layers 6, 7 alone costs little "
        "(less than a third of removing 3, 4 too)",
        lambda e: _cost(e, "remove_3_4_6_7") / 3 - _cost(e, "remove_6_7"),
        DEPTH,
    ),
    Claim(
        "Removing the convolutions 3, 4 alone costs little (less than a third of removing 6, 7 "
        "too)",
        lambda e: _cost(e, "remove_3_4_6_7") / 3 - _cost(e, "remove_3_4"),
        DEPTH,
    ),
    Claim(
        "The size of layers 6, 7 changes Krizhevsky's net little (by less than a tenth of its "
        "error)",
        lambda e: _size_margin(e, "alexnet"),
    ),
    Claim(
        "The size of layers 6, 7 changes the net of Figure 3 little (by less than a tenth of its "
        "error)",
        lambda e: _size_margin(e, "zfnet"),
    ),
    Claim("Wider convolutions 3, 4, 5 help", lambda e: -_cost(e, "wide_3_4_5", "zfnet")),
    Claim(
        "Larger layers 6, 7 on top of them over-fit: the training error falls, the validation "
        "error rises",
        _overfitting,
    ),
    Claim(
        "The net of Figure 3 errs less than Krizhevsky's",
        lambda e: e[("alexnet", "none"), "val top-1"] - e[("zfnet", "none"), "val top-1"],
    ),
]


def _averaging(e: Numbers) -> Any:
    return e["zfnet", "val top-1"] - e["zfnets", "val top-1"]


TABLE_2 = [
    Claim("Averaging several nets of Figure 3 errs less than one", _averaging),
    Claim(
        "Adding a net with wider convolutions to them errs less still",
        lambda e: e["zfnets", "val top-1"] - e["zfnets and wide", "val top-1"],
        {"averaging several nets of Figure 3 errs less than one": _averaging},
    ),
]


def _ks(e: Numbers, at_least: int = 1) -> list[Any]:
    """The images per class at which both methods were measured. KeyError if there are too few."""
    ks = sorted(k for method, k in e if method == "frozen" and ("scratch", k) in e)
    if len(ks) < at_least:
        raise KeyError("k")
    return ks


def _gains(e: Numbers, at_least: int = 1) -> list[Any]:
    """What pre-training adds to the accuracy, from the fewest images per class to the most."""
    return [e["frozen", k] - e["scratch", k] for k in _ks(e, at_least)]


def _first_gain_margin(e: Numbers) -> Any:
    fewest, *more = _gains(e, at_least=2)
    return fewest - _max(more)


def _fewest_against_most(e: Numbers) -> Any:
    fewest, *_, most = _ks(e, at_least=2)
    return e["frozen", fewest] - e["scratch", most]


TABLES_4_AND_5 = [
    Claim("Pre-trained features beat training from scratch at every k", lambda e: _min(_gains(e))),
    Claim(
        "They add most where images are fewest",
        _first_gain_margin,
        {
            "pre-trained features add to the accuracy where images are fewest": lambda e: _gains(e)[
                0
            ]
        },
    ),
    Claim(
        "Pre-trained on the fewest images, they beat training from scratch on the most",
        _fewest_against_most,
    ),
]
TABLE_6 = [
    Claim("The mean is above that of Sande et al.", lambda e: e["mean"] - e["Sande et al."]),
    Claim("The mean is below that of Yan et al.", lambda e: e["Yan et al."] - e["mean"]),
]
TABLE_7 = [
    Claim(
        "The accuracy of a linear SVM rises with every layer from 1 to 5",
        lambda e: _min([e[layer + 1, "svm"] - e[layer, "svm"] for layer in range(1, 5)]),
    ),
    Claim(
        "Layers 5 and 7 give the best accuracy",
        lambda e: (
            _min([e[5, "svm"], e[7, "svm"]]) - _max([e[layer, "svm"] for layer in range(1, 5)])
        ),
    ),
]
PARTS = ("right_eye", "left_eye", "nose")
TABLE_1 = [
    Claim(
        "At layer 5, masking an eye or the nose changes the same features more than masking random "
        "squares does",
        lambda e: e["random", "layer 5"] - _max([e[part, "layer 5"] for part in PARTS]),
    )
]
