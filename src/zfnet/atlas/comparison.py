"""Compares the networks of two atlases that were made on the same images.

    compare_networks(folder, overviews)    # of folder/net_1 and folder/net_2; writes compare.js

The channels of a pair of layers are matched one to one by the correlation of their activations
(zfnet.analysis.matching). A layer of the first network is paired with the layer of the second that
has the same name, or else with the most similar one by linear CKA.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zfnet.analysis.cka import cka_table
from zfnet.analysis.matching import match_channels
from zfnet.atlas.files import write_json, write_script
from zfnet.deconv import random_subset
from zfnet.errors import InputError
from zfnet.io import read_back

STATUSES = ("kept", "changed", "lost", "dead")


def compare_networks(folder: Path, overviews: Sequence[Mapping[str, Any]], seed: int = 0) -> None:
    """Writes `compare.js` and `compare.json`.

    Args:
        folder: of the pages; the networks' data are in `net_1` and `net_2`.
        overviews: of the two networks.
        seed: of the shuffled images that tell what is chance.

    Raises:
        InputError: the networks were shown different images.
    """
    one, other = overviews
    for key in ("name", "split", "images"):
        if one["data"][key] != other["data"][key]:
            raise InputError(
                f"the networks were shown different images ({one['data'][key]} and "
                f"{other['data'][key]}): both need the same data="
            )
    count = min(one["data"]["sampled"], other["data"]["sampled"])
    a, b = (
        _activations(folder / f"net_{number}", overview, count)
        for number, overview in enumerate(overviews, start=1)
    )
    table = cka_table(a, b)
    result = {
        "images": count,
        "cka": table.tolist(),
        "pairs": [
            _pair(a, b, table, row, column, seed)
            for row, column in enumerate(_partners(list(a), list(b), table))
        ],
    }
    write_json(folder / "compare.json", result)
    write_script(folder, "compare.js", result)


def _activations(folder: Path, overview: Mapping[str, Any], count: int) -> dict[str, Tensor]:
    """The activations (N, C) of each layer for the first `count` images that both sampled."""
    data = overview["data"]
    sampled, common = (random_subset(data["images"], n) for n in (data["sampled"], count))
    rows = torch.searchsorted(sampled, common)

    def read(path: Path) -> Tensor:
        return torch.from_numpy(np.load(path, allow_pickle=False))[rows]

    remedy = "delete the folder of the atlas and make it again"
    return {
        layer["name"]: read_back(folder / layer["folder"] / "activations.npy", read, remedy)
        for layer in overview["layers"]
    }


def _partners(one: list[str], other: list[str], table: Tensor) -> list[int]:
    """The layer of the second network that each layer of the first is paired with."""
    similar = table.nan_to_num(nan=-math.inf).argmax(1).tolist()
    return [
        other.index(name) if name in other else place
        for name, place in zip(one, similar, strict=True)
    ]


def _pair(
    one: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    table: Tensor,
    row: int,
    column: int,
    seed: int,
) -> dict[str, Any]:
    a, b = list(one.values())[row], list(other.values())[column]
    matching = match_channels(a, b, seed)
    status, of_b = matching.status_a, matching.status_b
    new = [channel for channel, each in enumerate(of_b) if each == "new"]
    return {
        "layers": [row, column],
        "cka": float(table[row, column]),
        "chance": matching.chance,
        "partner": matching.partners.tolist(),
        "score": matching.scores.tolist(),
        "status": status,
        "new": new,
        "counts": {name: status.count(name) for name in STATUSES} | {"new": len(new)},
    }
