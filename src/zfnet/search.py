"""The strongest activations of all channels on a split. An interrupted search continues.

file = ProgressFile(folder / "search.pt", {**model.fingerprint(), "layers": layers, "k": 9})
top = search(model, file, layers, k=9)
file.delete()
"""

import logging
import time
from collections.abc import Iterator
from typing import Any

import torch

from zfnet.analysis.activation_statistics import ActivationStatistics
from zfnet.deconv import ImageBatch, TopActivations, top_activations
from zfnet.model_on_data import ModelOnData
from zfnet.progress_file import ProgressFile

log = logging.getLogger(__name__)


def search(
    model: ModelOnData,
    file: ProgressFile,
    layers: list[str],
    k: int,
    statistics: ActivationStatistics | None = None,
) -> TopActivations:
    """Finds the k strongest activations of each channel among all images.

    Args:
        model: the network and the images.
        file: where the search is saved once a minute, and which it continues.
        layers: names of layers.
        k: number of images for each channel.
        statistics: filled in the same pass.

    Raises:
        InputError: the file is damaged, or a value is not finite.
    """
    top, start = TopActivations(layers, k), time.monotonic()
    if file.load(lambda state: _restore(top, statistics, state, len(model.images))):
        log.info("continuing after %d of %d images", top.seen, len(model.images))

    def state() -> dict[str, Any]:
        beside = {} if statistics is None else {"statistics": statistics.state_dict()}
        return top.state_dict() | beside

    def batches() -> Iterator[ImageBatch]:
        for batch in model.batches(range(top.seen, len(model.images))):
            yield batch
            if file.is_due:
                file.save(state())

    update = None if statistics is None else statistics.update
    total = len(model.images)
    top_activations(model.net, batches(), layers, k, top, total=total, each=update)
    log.info("searched %d images in %.1f s", top.seen, time.monotonic() - start)
    if statistics is not None:
        file.save(state())
    return top


def _restore(
    top: TopActivations, statistics: ActivationStatistics | None, state: Any, count: int
) -> bool:
    """Loads an interrupted search; ValueError where it is none of `count` images."""
    if statistics is not None:
        statistics.load_state_dict(state["statistics"])
    if set(state["tops"]) != set(top.layers):
        raise ValueError(f"it has the layers {', '.join(state['tops'])}")
    top.load_state_dict(state)
    if type(top.seen) is not int or not 0 < top.seen <= count:
        raise ValueError(f"seen={top.seen} of {count} images")
    for layer in top.layers:
        values, *places = vars(top[layer]).values()
        if values.dim() != 2 or values.shape[1] != top.k or not values.is_floating_point():
            raise ValueError(f"the values of {layer} are {values.dtype}, {tuple(values.shape)}")
        if values.isnan().any():
            raise ValueError(f"the values of {layer} are not all numbers")
        for each in places:
            if each.shape != values.shape or each.dtype != torch.int64 or each.min() < -1:
                raise ValueError(f"the places of {layer} are {each.dtype}, {tuple(each.shape)}")
        if top[layer].images.max() >= top.seen:
            raise ValueError(f"{layer} has images beyond {top.seen}")
    return True
