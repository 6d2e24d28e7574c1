"""The images that excite each feature map most, for all layers in one streaming pass (Figure 2's top nine).

    top = top_activations(model, batches, layers=["conv3", "conv5"], k=9)
    top["conv5"].values, .images, .y, .x                    # (maps, k) each, best first

A batch is a tensor of images, or a tuple that begins with one, as loaders of (image, label) give it. Images are
numbered in the order in which they come, unless `ImageBatch(images, ids)` says their ids.

Per map, the largest activation of every image counts once; equal ones go by the smaller image id, so that
the result depends neither on the order nor on the batches nor on how many processes share them. Of each map
only its largest value and where it stands are kept, and nothing behind the last layer runs.
`TopActivations` is the state between batches:

    top = TopActivations(layers)
    top.load_state_dict(torch.load("search.pt"))            # top.seen images have been searched
    top_activations(model, the_rest, layers, top=top)
    top.gathered()                                          # of all processes of torch.distributed
"""

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zfnet.deconv.ids import Ids
from zfnet.errors import InputError
from zfnet.models.introspection import (
    capture_outputs,
    check_called_once,
    eval_mode,
    find_modules,
    user_module,
)
from zfnet.progress import progress_bar


class ImageBatch(NamedTuple):
    """Images (B, C, H, W) and their ids (B,), whole numbers that no other image of the search has."""

    images: Tensor
    ids: Tensor | Sequence[int]


@dataclass(frozen=True)
class Top:
    """The k best of each map of a layer, best first; (maps, k) each. Places without an image hold -inf and -1."""

    values: Tensor
    images: Tensor  # ids, int64
    y: Tensor  # int64, rows of the map
    x: Tensor

    def best(self, k: int) -> "Top":
        """The k best, each image once, equal values by the smaller id."""
        order = self.values.argsort(dim=1, descending=True, stable=True)
        by_id = order.gather(1, self.images.gather(1, order).argsort(dim=1, stable=True))
        values, images = self.values.gather(1, by_id), self.images.gather(1, by_id)
        again = torch.zeros_like(images, dtype=torch.bool)
        again[:, 1:] = images[:, 1:] == images[:, :-1]
        values = values.masked_fill(again, -torch.inf)
        first = values.argsort(dim=1, descending=True, stable=True)[:, :k]
        chosen = by_id.gather(1, first)
        empty = values.gather(1, first) == -torch.inf
        images, y, x = (
            part.gather(1, chosen).masked_fill(empty, -1) for part in (self.images, self.y, self.x)
        )
        return Top(values.gather(1, first), images, y, x)

    def beside(self, other: "Top") -> "Top":
        """Both together, (maps, k + k')."""
        return Top(*(torch.cat(pair, dim=1) for pair in _parts(self, other)))

    def of(self, maps: Tensor) -> "Top":
        return Top(*(part[maps] for part in vars(self).values()))


class TopActivations:
    """What a search has found so far: `top[layer]` is a Top, `top.seen` the number of images searched."""

    def __init__(self, layers: Sequence[str], k: int = 9) -> None:
        if k < 1 or not layers:
            raise InputError(f"k={k}, layers={list(layers)}: at least one of each is needed")
        self.k, self.seen = k, 0
        self._ids = Ids()
        self._tops: dict[str, Top | None] = dict.fromkeys(layers)

    def __getitem__(self, layer: str) -> Top:
        if (top := self._tops.get(layer)) is None:
            raise InputError(f"layer {layer!r} has not been searched: {', '.join(self._tops)} are asked for")
        return top

    @property
    def layers(self) -> list[str]:
        return list(self._tops)

    def check_new(self, ids: Tensor) -> None:
        """Raises InputError for an id that was searched before, or is twice among `ids` (B,)."""
        if len(again := self._ids.repeated(ids)):
            raise InputError(
                f"id {int(again[0])} comes a second time in this search: each image has an id of its own, and once"
            )

    def count(self, ids: Tensor) -> None:
        """Takes down that the images `ids` (B,) were searched."""
        self._ids = self._ids.union(Ids.of(ids))
        self.seen += len(ids)

    def update(self, layer: str, maps: Tensor, ids: Tensor) -> None:
        """Takes a batch's feature maps of `layer`, (B, C, H, W) or (B, C), of images `ids` (B,)."""
        if maps.dim() not in (2, 4):
            raise InputError(
                f"layer {layer!r} gives values of shape {tuple(maps.shape)}: units are (B, maps, H, W)"
            )
        maps = maps if maps.dim() == 4 else maps[:, :, None, None]
        peaks, places = (
            part[:, :, 0, 0].t().cpu() for part in F.adaptive_max_pool2d_with_indices(maps, (1, 1))
        )
        if peaks.isnan().any():
            raise InputError(f"layer {layer!r} is not a number for image {int(ids[peaks.isnan().any(0)][0])}")
        if peaks.isinf().any():
            raise InputError(f"layer {layer!r} is infinite")
        batch = Top(peaks, ids.expand_as(places), places // maps.shape[3], places % maps.shape[3])  # (C, B)
        top = self._tops[layer]
        if top is None:
            nothing = torch.full((len(peaks), self.k), -1)
            top = Top(torch.full(nothing.shape, -torch.inf, dtype=peaks.dtype), nothing, nothing, nothing)
        last, last_id = top.values[:, -1:], top.images[:, -1:]
        enters = (peaks > last) | ((peaks == last) & (ids < last_id))
        changed = enters.any(dim=1).nonzero()[:, 0]
        best = top.of(changed).beside(batch.of(changed)).best(self.k)
        top = Top(*(old.index_copy(0, changed, new) for old, new in _parts(top, best)))
        self._tops[layer] = top

    def merge(self, *others: "TopActivations") -> "TopActivations":
        """This search and others of other images, as one."""
        merged = TopActivations(self.layers, self.k)
        merged.seen = self.seen + sum(other.seen for other in others)
        merged._ids = reduce(Ids.union, [other._ids for other in others], self._ids)
        for layer, top in self._tops.items():
            tops = [top, *(other._tops[layer] for other in others)]
            known = [part for part in tops if part is not None]
            merged._tops[layer] = reduce(Top.beside, known).best(self.k) if known else None
        return merged

    def gathered(self) -> "TopActivations":
        """The searches of all processes of torch.distributed as one; every process must call it."""
        if not torch.distributed.is_initialized():
            return self
        states: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(states, self.state_dict())
        searches = []
        for state in states:
            searches.append(TopActivations(self.layers, self.k))
            searches[-1].load_state_dict(state)
        return searches[0].merge(*searches[1:])

    def state_dict(self) -> dict[str, Any]:
        """Plain containers and tensors."""
        tops = {layer: dict(vars(top)) for layer, top in self._tops.items() if top is not None}
        return {"k": self.k, "seen": self.seen, "ids": self._ids.ranges, "tops": tops}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["k"] != self.k or not set(state["tops"]) <= set(self._tops):
            raise InputError(
                f"the search that was saved is of k={state['k']} and {', '.join(state['tops'])}, "
                f"this one of k={self.k} and {', '.join(self._tops)}"
            )
        self.seen = state["seen"]
        self._ids = Ids(state["ids"]) if "ids" in state else Ids()  # older searches did not keep them
        self._tops.update({layer: Top(**parts) for layer, parts in state["tops"].items()})


def _parts(a: Top, b: Top) -> Iterable[tuple[Tensor, Tensor]]:
    return zip(vars(a).values(), vars(b).values(), strict=True)


def top_activations(
    model: nn.Module,
    batches: Iterable[Any],
    layers: Sequence[str],
    k: int = 9,
    top: TopActivations | None = None,
    progress: bool = True,
    total: int | None = None,
) -> TopActivations:
    """One pass of `model` over `batches`, for all `layers`.

    Args:
        model: any net; images are taken to its device.
        batches: of images (B, C, H, W), each a tensor, a tuple or list that begins with one (what follows, a label
            say, is ignored), an `ImageBatch`, or a mapping with "images" and, if they have them, "ids". Without
            ids, images are numbered from 0, or from the images searched before.
        layers: names of modules whose channels are searched.
        k: how many images to keep for each channel.
        top: a search to go on with.
        progress: whether to show a bar.
        total: the number of images for the bar, if `batches` has no length.

    Returns:
        The search; `top["conv5"]` is a layer's `Top`.

    Raises:
        InputError: a layer that does not run once in every batch, or whose channels are not on axis 1; an id that
            returns; values that are not numbers.
    """
    modules = find_modules(model, layers)
    model = user_module(model)
    top = top or TopActivations(layers, k)
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    with eval_mode(model), torch.no_grad(), progress_bar(progress) as bar:
        task = bar.add_task("", total=None)
        for count, batch in enumerate(batches):
            images, ids = _images_and_ids(batch, top.seen)
            images = images.to(device)
            if count == 0:
                check_called_once(model, modules, images[:1], maps=True)
                total = len(images) * len(batches) if isinstance(batches, Sized) else total
            top.check_new(ids)
            _search(model, modules, images, ids, top, f"batch {count}")
            top.count(ids)
            bar.update(task, total=total, completed=top.seen)
    return top


def _images_and_ids(batch: Any, seen: int) -> tuple[Tensor, Tensor]:
    """A batch's images, and its ids: where they are named as such, or counted from the images seen."""
    images: Any
    given: Any = None
    if isinstance(batch, ImageBatch):
        images, given = batch
    elif isinstance(batch, Mapping):
        images, given = batch.get("images"), batch.get("ids")
    else:
        images = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if not isinstance(images, Tensor) or images.dim() < 2:
        raise InputError(
            f"a batch is {_shown(batch)}: a tensor of images (B, C, H, W), a tuple that begins with one, "
            'ImageBatch(images, ids) or {"images": ..., "ids": ...} is needed'
        )
    ids = torch.arange(seen, seen + len(images)) if given is None else torch.as_tensor(given).cpu()
    if ids.shape != images.shape[:1] or ids.is_floating_point() or ids.dtype == torch.bool:
        raise InputError(
            f"ids of shape {tuple(ids.shape)}, {ids.dtype}: one whole number for each of {len(images)} images"
        )
    return images, ids.long()


def _shown(batch: Any) -> str:
    if isinstance(batch, Tensor):
        return f"a tensor of shape {tuple(batch.shape)}"
    return (
        f"a mapping of {', '.join(map(str, batch))}"
        if isinstance(batch, Mapping)
        else f"a {type(batch).__name__}"
    )


def _search(
    model: nn.Module,
    modules: dict[str, nn.Module],
    images: Tensor,
    ids: Tensor,
    top: TopActivations,
    batch: str,
) -> None:
    left = set(modules)

    def read(layer: str, maps: Tensor) -> bool:
        if layer not in left:
            raise InputError(f"layer {layer!r} runs more than once in {batch}: name a module that runs once")
        if len(maps) != len(images):
            raise InputError(
                f"layer {layer!r} gives values of shape {tuple(maps.shape)} for the {len(images)} images of {batch}"
            )
        top.update(layer, maps, ids)
        left.discard(layer)
        return not left

    with capture_outputs(modules, read, within=batch):
        model(images)
