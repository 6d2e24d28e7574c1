"""ALEXNET and ZFNET as tables, and the edits that make every row of the paper's Table 3.

    apply_edit(ZFNET, {"conv3": None, "fc6": {"units": 2048}})

An edit is keyed by layer name: None removes the layer, a mapping changes its fields. A layer takes its
pooling, normalisation and dropout with it when it goes.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from zfnet.errors import InputError
from zfnet.models.layers import Conv, Layer, Linear, Pool
from zfnet.validation import check, declared_types

Table = dict[str, Layer]
Edit = Mapping[str, Mapping[str, Any] | None]

OVERLAPPING = Pool(kernel=3, stride=2)

# Krizhevsky et al. 2012 as Zeiler & Fergus replicate it: 224 → 55 → 27 → 27 → 13 → 13 → 13 → 13 → 6;
# conv2, conv4 and conv5 see half of the maps each (two GPUs then, two groups here).
ALEXNET: Table = {
    "conv1": Conv(96, kernel=11, stride=4, padding=2, pool=OVERLAPPING, normalise=True),
    "conv2": Conv(256, kernel=5, padding=2, groups=2, pool=OVERLAPPING, normalise=True),
    "conv3": Conv(384, kernel=3, padding=1),
    "conv4": Conv(384, kernel=3, padding=1, groups=2),
    "conv5": Conv(256, kernel=3, padding=1, groups=2, pool=OVERLAPPING),
    "fc6": Linear(4096, dropout=0.5),
    "fc7": Linear(4096, dropout=0.5),
    "fc8": Linear(activation=False),
}

# Zeiler & Fergus 2013, Figure 3: 224 → 110 → 55 → 26 → 13 → 13 → 13 → 13 → 6; dense connections,
# layer 1 at 7x7/2 instead of 11x11/4.
ZFNET: Table = {
    "conv1": Conv(96, kernel=7, stride=2, padding=1, pool=OVERLAPPING, normalise=True),
    "conv2": Conv(256, kernel=5, stride=2, pool=OVERLAPPING, normalise=True),
    "conv3": Conv(384, kernel=3, padding=1),
    "conv4": Conv(384, kernel=3, padding=1),
    "conv5": Conv(256, kernel=3, padding=1, pool=OVERLAPPING),
    "fc6": Linear(4096, dropout=0.5),
    "fc7": Linear(4096, dropout=0.5),
    "fc8": Linear(activation=False),
}

ARCHITECTURES: dict[str, Table] = {"alexnet": ALEXNET, "zfnet": ZFNET}


def apply_edit(table: Table, edit: Edit) -> Table:
    """`table` with `edit` applied; unknown layers or fields and a missing classifier raise InputError."""
    if unknown := sorted(set(edit) - set(table)):
        raise InputError(f"model.edit names unknown layers {unknown}: this net has {', '.join(table)}")
    result: Table = {}
    for name, row in table.items():
        if name not in edit:
            result[name] = row
            continue
        changes = edit[name]
        if changes is None:
            continue
        if not isinstance(changes, Mapping):
            raise InputError(
                f"model.edit.{name}={changes!r}: null removes a layer, {{field: value}} changes it"
            )
        known = {field.name for field in fields(row)}
        if unknown := sorted(set(changes) - known):
            raise InputError(f"model.edit.{name} has unknown fields {unknown}: a layer has {sorted(known)}")
        result[name] = _changed(name, row, changes)
    last = list(table)[-1]
    if last not in result:
        raise InputError(f"model.edit removes {last}, which holds the classes: leave it in")
    if isinstance(row := result[last], Linear) and row.units is not None:
        raise InputError(f"model.edit.{last}.units={row.units}: the data set says how many classes there are")
    return result


def _changed(name: str, row: Layer, changes: Mapping[str, Any]) -> Layer:
    kinds = {**declared_types(type(row)), "pool": Mapping[str, int] | None}
    check(changes, kinds, f"model.edit.{name}.")
    try:
        pool = changes.get("pool")
        if pool is not None and isinstance(row, Conv):
            changes = {**changes, "pool": Pool(**{**(asdict(row.pool) if row.pool else {}), **pool})}
        return replace(row, **changes)
    except (TypeError, ValueError) as error:
        raise InputError(f"model.edit.{name}={dict(changes)}: {error}") from error
