"""The strongest activations of all channels on a split. An interrupted search continues.

parts = Parts(folder, "search", {**model.fingerprint(), "layers": layers, "k": 9})
top = search(model, parts, layers, k=9)
parts.delete()

The images are divided into blocks that do not depend on the number of processes, and blocks are
merged in order. The result therefore has the same bytes with any number of processes.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from rich.progress import Progress

from zfnet.analysis.activation_statistics import ActivationStatistics
from zfnet.deconv import ImageBatch, TopActivations, top_activations
from zfnet.model_on_data import ModelOnData
from zfnet.parts import Parts, image_blocks
from zfnet.progress import progress_bar

log = logging.getLogger(__name__)


def search(
    model: ModelOnData,
    parts: Parts,
    layers: list[str],
    k: int,
    statistics: ActivationStatistics | None = None,
) -> TopActivations:
    """Finds the k strongest activations of each channel among all images.

    Args:
        model: the network and the images.
        parts: where the search is saved at least once a minute, and which it continues.
        layers: names of layers.
        k: number of images for each channel.
        statistics: empty; filled in the same pass.

    Raises:
        InputError: a file is damaged, or a value is not finite.
    """
    count = len(model.images)
    blocks, start = image_blocks(count, model.batch_size), time.monotonic()
    missing = parts.missing(len(blocks))
    with progress_bar() as bar:
        bar.add_task("", total=sum(len(blocks[number]) for number in missing))
        for number in missing:
            _search_block(model, parts, number, blocks[number], layers, k, statistics, bar)

    def parse(number: int, state: Any) -> TopActivations:
        top = TopActivations(layers, k)
        _restore(top, statistics, state, blocks[number])
        if top.seen != len(blocks[number]):
            raise ValueError(f"{top.seen} of {len(blocks[number])} images")
        return top

    first, *others = parts.results(len(blocks), parse)
    log.info("searched %d images in %.1f s", count, time.monotonic() - start)
    return first.merge(*others)


def _search_block(
    model: ModelOnData,
    parts: Parts,
    number: int,
    block: range,
    layers: list[str],
    k: int,
    statistics: ActivationStatistics | None,
    bar: Progress,
) -> None:
    """Searches a block, from where an earlier run was interrupted, and saves what it finds."""
    top, begun = TopActivations(layers, k), parts.begun(number)
    beside = None if statistics is None else statistics.empty()
    if begun.load(lambda state: _restore(top, beside, state, block)):
        log.info("continuing after %d of %d images", block.start + top.seen, len(model.images))
    bar.advance(bar.task_ids[0], top.seen)

    def state() -> dict[str, Any]:
        return top.state_dict() | ({} if beside is None else {"statistics": beside.state_dict()})

    def batches() -> Iterator[ImageBatch]:
        for batch in model.batches(block[top.seen :]):
            yield batch
            bar.advance(bar.task_ids[0], len(batch.ids))
            if begun.is_due:
                begun.save(state())

    update = None if beside is None else beside.update
    top_activations(model.net, batches(), layers, k, top, progress=False, each=update)
    parts.save(number, state())


def _restore(
    top: TopActivations,
    statistics: ActivationStatistics | None,
    state: Mapping[str, Any],
    block: range,
) -> bool:
    """Loads the search of a block or of its beginning; ValueError where it is of another one."""
    if set(state["tops"]) != set(top.layers):
        raise ValueError(f"it has the layers {', '.join(state['tops'])}")
    top.load_state_dict(dict(state))
    if type(top.seen) is not int or not 0 < top.seen <= len(block):
        raise ValueError(f"seen={top.seen} of {len(block)} images")
    for layer in top.layers:
        values, *places = vars(top[layer]).values()
        if values.dim() != 2 or values.shape[1] != top.k or not values.is_floating_point():
            raise ValueError(f"the values of {layer} are {values.dtype}, {tuple(values.shape)}")
        if values.isnan().any():
            raise ValueError(f"the values of {layer} are not all numbers")
        for each in places:
            if each.shape != values.shape or each.dtype != torch.int64 or each.min() < -1:
                raise ValueError(f"the places of {layer} are {each.dtype}, {tuple(each.shape)}")
        images = top[layer].images
        known = images[images >= 0]
        if len(known) and not (known.min() >= block.start and known.max() < block.stop):
            raise ValueError(f"{layer} has images beyond {block.start} to {block.stop - 1}")
    if statistics is not None:
        statistics.merge(state["statistics"])
    return True
