"""AlexNet and ZFNet as tables, and the edits that give the variants of the paper's Table 3.

    >>> from zfnet.models import ZFNET, apply_edit
    >>> list(apply_edit(ZFNET, {"conv3": None, "fc6": {"units": 2048}}))
    ['conv1', 'conv2', 'conv4', 'conv5', 'fc6', 'fc7', 'fc8']

An edit maps layer names to changes: None removes the layer together with its pooling,
normalization and dropout; a mapping changes some of its fields.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from zfnet.errors import InputError
from zfnet.models.layers import OLD_FIELDS, Conv, Layer, Linear, Pool
from zfnet.validation import check, declared_types

Table = dict[str, Layer]
Edit = Mapping[str, Mapping[str, Any] | None]

OVERLAPPING = Pool(kernel=3, stride=2)

# Krizhevsky et al. 2012, as Zeiler & Fergus replicate it: 224 → 55 → 27 → 27 → 13 → 13 → 13 → 13
# → 6. conv2, conv4 and conv5 connect to half of the channels each (two GPUs then, two groups here).
# Krizhevsky et al. normalize before pooling; here normalization follows pooling, as in ZFNet.
ALEXNET: Table = {
    "conv1": Conv(96, kernel=11, stride=4, padding=2, pool=OVERLAPPING, normalize=True),
    "conv2": Conv(256, kernel=5, padding=2, groups=2, pool=OVERLAPPING, normalize=True),
    "conv3": Conv(384, kernel=3, padding=1),
    "conv4": Conv(384, kernel=3, padding=1, groups=2),
    "conv5": Conv(256, kernel=3, padding=1, groups=2, pool=OVERLAPPING),
    "fc6": Linear(4096, dropout=0.5),
    "fc7": Linear(4096, dropout=0.5),
    "fc8": Linear(activation=False),
}

# Zeiler & Fergus 2013, Figure 3: 224 → 110 → 55 → 26 → 13 → 13 → 13 → 13 → 6. Connections are
# dense, and layer 1 has 7x7 filters with stride 2 instead of 11x11 with stride 4.
ZFNET: Table = {
    "conv1": Conv(96, kernel=7, stride=2, padding=1, pool=OVERLAPPING, normalize=True),
    "conv2": Conv(256, kernel=5, stride=2, pool=OVERLAPPING, normalize=True),
    "conv3": Conv(384, kernel=3, padding=1),
    "conv4": Conv(384, kernel=3, padding=1),
    "conv5": Conv(256, kernel=3, padding=1, pool=OVERLAPPING),
    "fc6": Linear(4096, dropout=0.5),
    "fc7": Linear(4096, dropout=0.5),
    "fc8": Linear(activation=False),
}

ARCHITECTURES: dict[str, Table] = {"alexnet": ALEXNET, "zfnet": ZFNET}


def apply_edit(table: Table, edit: Edit) -> Table:
    """Returns a copy of `table` with `edit` applied.

    Args:
        table: layer names → `Conv` or `Linear`; the last layer is the classifier.
        edit: layer names → None to remove the layer, or {field: value} to change it.

    Raises:
        InputError: a layer, field or value is invalid, or the edit removes or resizes the
            classifier.
    """
    if unknown := sorted(set(edit) - set(table)):
        raise InputError(
            f"model.edit names unknown layers {unknown}: this net has {', '.join(table)}"
        )
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
        changes = {OLD_FIELDS.get(field, field): value for field, value in changes.items()}
        known = {field.name for field in fields(row)}
        if unknown := sorted(set(changes) - known):
            raise InputError(
                f"model.edit.{name} has unknown fields {unknown}: a layer has {sorted(known)}"
            )
        result[name] = _change(name, row, changes)
    last = list(table)[-1]
    if last not in result:
        raise InputError(f"model.edit removes {last}, the classifier: keep it")
    if isinstance(row := result[last], Linear) and row.units is not None:
        raise InputError(
            f"model.edit.{last}.units={row.units}: the data set determines the number of classes"
        )
    return result


def _change(name: str, row: Layer, changes: Mapping[str, Any]) -> Layer:
    kinds = {**declared_types(type(row)), "pool": Mapping[str, int] | None}
    check(changes, kinds, f"model.edit.{name}.")
    try:
        pool = changes.get("pool")
        if pool is not None and isinstance(row, Conv):
            changes = {
                **changes,
                "pool": Pool(**{**(asdict(row.pool) if row.pool else {}), **pool}),
            }
        return replace(row, **changes)
    except (TypeError, ValueError) as error:
        raise InputError(f"model.edit.{name}={dict(changes)}: {error}") from error
