"""The images that excite each feature map most, for all layers in one streaming pass (Figure 2's top nine).

    top = top_activations(model, batches, layers=["conv3", "conv5"], k=9)
    top["conv5"].values, .images, .y, .x                    # (maps, k) each, best first

Per map, the largest activation of every image counts once; equal ones go by the smaller image id, so that
the result depends neither on the order nor on the batches nor on how many processes share them. Of each map
only its largest value and where it stands are kept, and nothing behind the last layer runs.
`TopActivations` is the state between batches:

    top = TopActivations(layers)
    top.load_state_dict(torch.load("search.pt"))            # top.seen images have been searched
    top_activations(model, the_rest, layers, top=top)
    top.gathered()                                          # of all processes of torch.distributed
"""

from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zfnet.errors import InputError
from zfnet.models.reading import check_called_once, evaluating, found, reading
from zfnet.progress import progress_bar


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
        self._tops: dict[str, Top | None] = dict.fromkeys(layers)

    def __getitem__(self, layer: str) -> Top:
        if (top := self._tops.get(layer)) is None:
            raise InputError(f"layer {layer!r} has not been searched: {', '.join(self._tops)} are asked for")
        return top

    @property
    def layers(self) -> list[str]:
        return list(self._tops)

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
        return {"k": self.k, "seen": self.seen, "tops": tops}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["k"] != self.k or not set(state["tops"]) <= set(self._tops):
            raise InputError(
                f"the search that was saved is of k={state['k']} and {', '.join(state['tops'])}, "
                f"this one of k={self.k} and {', '.join(self._tops)}"
            )
        self.seen = state["seen"]
        self._tops.update({layer: Top(**parts) for layer, parts in state["tops"].items()})


def _parts(a: Top, b: Top) -> Iterable[tuple[Tensor, Tensor]]:
    return zip(vars(a).values(), vars(b).values(), strict=True)


def top_activations(
    model: nn.Module,
    batches: Iterable[Tensor | tuple[Tensor, Tensor]],
    layers: Sequence[str],
    k: int = 9,
    top: TopActivations | None = None,
    progress: bool = True,
    total: int | None = None,
) -> TopActivations:
    """One pass of `model` over `batches` of images (B, 3, H, W), or of (images, ids (B,)), for all `layers`.

    Ids count from the number of images searched before when they are not given. `top` is a search to go on
    with, `total` the number of images for the progress bar, if `batches` has no length. Images are taken to the
    model's device.
    """
    modules = found(model, layers)
    top = top or TopActivations(layers, k)
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    with evaluating(model), torch.no_grad(), progress_bar(progress) as bar:
        task = bar.add_task("", total=None)
        for count, batch in enumerate(batches):
            images, ids = _images_and_ids(batch, top.seen)
            images = images.to(device)
            if count == 0:
                check_called_once(model, modules, images[:1])
                total = len(images) * len(batches) if isinstance(batches, Sized) else total
            _search(model, modules, images, ids, top)
            top.seen += len(images)
            bar.update(task, total=total, completed=top.seen)
    return top


def _images_and_ids(batch: Any, seen: int) -> tuple[Tensor, Tensor]:
    """A batch's images, and its ids: given, or counted from the images seen."""
    images, *rest = batch if isinstance(batch, tuple | list) else (batch,)
    ids = torch.as_tensor(rest[0]).cpu() if rest else torch.arange(seen, seen + len(images))
    if ids.shape != images.shape[:1] or ids.is_floating_point():
        raise InputError(
            f"ids of shape {tuple(ids.shape)}, {ids.dtype}: one whole number for each of {len(images)} images"
        )
    if len(ids.unique()) < len(ids):
        raise InputError(
            "ids repeat within a batch: each image has its own (are these labels? then leave them out)"
        )
    return images, ids


def _search(
    model: nn.Module, modules: dict[str, nn.Module], images: Tensor, ids: Tensor, top: TopActivations
) -> None:
    left = set(modules)

    def read(layer: str, maps: Tensor) -> bool:
        top.update(layer, maps, ids)
        left.discard(layer)
        return not left

    with reading(modules, read):
        model(images)
