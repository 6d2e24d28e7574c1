"""Finds the images that activate each channel most (the top nine of Figure 2).

    >>> import torch
    >>> from zfnet.deconv import top_activations
    >>> from zfnet.models import ZFNET, ConvNet
    >>> net = ConvNet(ZFNET, num_classes=10, image_size=64)
    >>> batches = [torch.randn(4, 3, 64, 64) for _ in range(3)]
    >>> top = top_activations(net, batches, layers=["conv3", "conv5"], k=9, progress=False)
    >>> top["conv5"].values.shape  # best first; .images, .y and .x have the same shape
    torch.Size([256, 9])

For each channel, the largest activation of every image counts once. Of equal activations the one
with the smaller image id comes first, so that the result depends neither on the order of the
images, nor on the batches, nor on the number of processes that share them. Modules after the last
layer do not run.

`TopActivations` is the state of a search. It can be saved, resumed and merged:

    top = TopActivations(layers)
    top.load_state_dict(torch.load("search.pt"))    # the first top.seen images are done
    top_activations(model, other_batches, layers, top=top)
    top.gather()                                  # combines all processes
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zfnet.deconv.ids import Ids
from zfnet.deconv.units import Unit
from zfnet.errors import InputError
from zfnet.models.introspection import (
    capture_outputs,
    check_called_once,
    eval_mode,
    find_modules,
    user_module,
)
from zfnet.models.unit_axes import UnitAxes
from zfnet.progress import progress_bar
from zfnet.versions.python_names import renamed


class ImageBatch(NamedTuple):
    """Images (B, C, H, W) and their ids (B,), which must be unique integers."""

    images: Tensor
    ids: Tensor | Sequence[int]


@renamed(beside="concatenate", of="select")
@dataclass(frozen=True)
class Top:
    """The k largest activations of each channel of a layer, largest first.

    Attributes:
        values: (channels, k), the activations; -inf where there are fewer than k images.
        images: int64 (channels, k), the ids of the images; -1 where there is none.
        y: int64 (channels, k), rows of the feature map.
        x: int64 (channels, k), columns.
    """

    values: Tensor
    images: Tensor
    y: Tensor
    x: Tensor

    def best(self, k: int) -> "Top":
        """Returns the k largest, each image once, and of equal values the smaller id first."""
        order = self.values.argsort(dim=1, descending=True, stable=True)
        by_id = order.gather(1, self.images.gather(1, order).argsort(dim=1, stable=True))
        values, images = self.values.gather(1, by_id), self.images.gather(1, by_id)
        duplicate = torch.zeros_like(images, dtype=torch.bool)
        duplicate[:, 1:] = images[:, 1:] == images[:, :-1]
        values = values.masked_fill(duplicate, -torch.inf)
        first = values.argsort(dim=1, descending=True, stable=True)[:, :k]
        chosen = by_id.gather(1, first)
        empty = values.gather(1, first) == -torch.inf
        images, y, x = (
            part.gather(1, chosen).masked_fill(empty, -1) for part in (self.images, self.y, self.x)
        )
        return Top(values.gather(1, first), images, y, x)

    def concatenate(self, other: "Top") -> "Top":
        """Returns the entries of both, (channels, k + k')."""
        return Top(*(torch.cat(pair, dim=1) for pair in _parts(self, other)))

    def select(self, channels: Tensor) -> "Top":
        """Returns the entries of some channels, given by an index or a mask."""
        return Top(*(part[channels] for part in vars(self).values()))

    def units(self, channels: Iterable[int]) -> list[Unit]:
        """The units of these channels, one channel after the other, best first. Their `image` is
        the image's id."""
        return [
            Unit(image, channel, y, x)
            for channel in channels
            for image, y, x in zip(
                *(part[channel].tolist() for part in (self.images, self.y, self.x)), strict=True
            )
            if image >= 0
        ]


@renamed(gathered="gather")
class TopActivations:
    """The state of a search: `top[layer]` is a `Top`, and `top.seen` the number of images searched.

    Args:
        layers: names of layers.
        k: number of images for each channel.

    Raises:
        InputError: k is below 1, or there are no layers.
    """

    def __init__(self, layers: Sequence[str], k: int = 9) -> None:
        if k < 1 or not layers:
            raise InputError(f"k={k}, layers={list(layers)}: at least one of each is needed")
        self.k, self.seen = k, 0
        self._ids = Ids()
        self._tops: dict[str, Top | None] = dict.fromkeys(layers)

    def __getitem__(self, layer: str) -> Top:
        if (top := self._tops.get(layer)) is None:
            raise InputError(
                f"layer {layer!r} has not been searched: {', '.join(self._tops)} are asked for"
            )
        return top

    @property
    def layers(self) -> list[str]:
        """The names of the layers."""
        return list(self._tops)

    def check_new(self, ids: Tensor) -> None:
        """Raises InputError for an id (B,) that was searched before, or occurs twice."""
        if len(repeated := self._ids.repeated(ids)):
            raise InputError(
                f"id {int(repeated[0])} comes a second time in this search: each image needs a "
                "unique id"
            )

    def count(self, ids: Tensor) -> None:
        """Counts the images with these ids (B,) as searched."""
        self._ids = self._ids.union(Ids.of(ids))
        self.seen += len(ids)

    def update(self, layer: str, maps: Tensor, ids: Tensor) -> Top:
        """Adds the activations of one batch.

        Args:
            layer: name of the layer.
            maps: its output, (B, C, H, W) or (B, C).
            ids: int64 (B,), of the images.

        Returns:
            The largest activation of each channel in each image, (C, B), on the CPU.

        Raises:
            InputError: a value is not finite, or the shape is another one.
        """
        if maps.dim() not in (2, 4):
            raise InputError(
                f"layer {layer!r} gives values of shape {tuple(maps.shape)}: units are (B, C, H, W)"
            )
        maps = maps if maps.dim() == 4 else maps[:, :, None, None]
        peaks, places = (
            part[:, :, 0, 0].t().cpu() for part in F.adaptive_max_pool2d_with_indices(maps, (1, 1))
        )
        if peaks.isnan().any():
            raise InputError(
                f"layer {layer!r} is not a number for image {int(ids[peaks.isnan().any(0)][0])}"
            )
        if peaks.isinf().any():
            raise InputError(f"layer {layer!r} is infinite")
        # Of shape (C, B).
        batch = Top(peaks, ids.expand_as(places), places // maps.shape[3], places % maps.shape[3])
        top = self._tops[layer]
        if top is None:
            nothing = torch.full((len(peaks), self.k), -1)
            top = Top(
                torch.full(nothing.shape, -torch.inf, dtype=peaks.dtype), nothing, nothing, nothing
            )
        last, last_id = top.values[:, -1:], top.images[:, -1:]
        enters = (peaks > last) | ((peaks == last) & (ids < last_id))
        changed = enters.any(dim=1).nonzero()[:, 0]
        best = top.select(changed).concatenate(batch.select(changed)).best(self.k)
        top = Top(*(old.index_copy(0, changed, new) for old, new in _parts(top, best)))
        self._tops[layer] = top
        return batch

    def merge(self, *others: "TopActivations") -> "TopActivations":
        """Returns the result of this search and of others on other images."""
        merged = TopActivations(self.layers, self.k)
        merged.seen = self.seen + sum(other.seen for other in others)
        merged._ids = reduce(Ids.union, [other._ids for other in others], self._ids)
        for layer, top in self._tops.items():
            tops = [top, *(other._tops[layer] for other in others)]
            known = [part for part in tops if part is not None]
            merged._tops[layer] = reduce(Top.concatenate, known).best(self.k) if known else None
        return merged

    def gather(self) -> "TopActivations":
        """Returns the result of all processes of torch.distributed. Every process must call it."""
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
        """Returns plain containers and tensors, for `torch.save`."""
        tops = {layer: dict(vars(top)) for layer, top in self._tops.items() if top is not None}
        return {"k": self.k, "seen": self.seen, "ids": self._ids.ranges, "tops": tops}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a state; raises InputError if it is of another k or of other layers."""
        if state["k"] != self.k or not set(state["tops"]) <= set(self._tops):
            raise InputError(
                f"the search that was saved is of k={state['k']} and {', '.join(state['tops'])}, "
                f"this one of k={self.k} and {', '.join(self._tops)}"
            )
        self.seen = state["seen"]
        self._ids = Ids(state["ids"]) if "ids" in state else Ids()  # absent in early versions
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
    each: Callable[[str, Top], None] | None = None,
) -> TopActivations:
    """Finds the images with the largest activation of each channel, in one pass for all layers.

    Args:
        model: any convnet. Images are moved to its device.
        batches: batches of images (B, C, H, W). Each is a tensor, a tuple or list whose first item
            is one (as from a loader of images and labels), an `ImageBatch`, or a mapping with
            "images" and optionally "ids". Without ids, images are numbered in their order, after
            those searched before.
        layers: names of layers.
        k: number of images for each channel.
        top: a search to continue.
        progress: whether to show a progress bar.
        total: number of images for the progress bar, if `batches` has no length.
        each: called with a layer and the largest activations of each image of a batch,
            (channels, B), for statistics of all images.

    Returns:
        The search; `top["conv5"]` is the `Top` of a layer.

    Raises:
        InputError: a layer does not run exactly once in every batch, its axes are unknown, an id
            occurs twice, or a value is not finite.
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
                axes = check_called_once(model, modules, images[:1], maps=True)
                total = len(images) * len(batches) if isinstance(batches, Sized) else total
            top.check_new(ids)
            _search(model, modules, axes, images, ids, top, f"batch {count}", each)
            top.count(ids)
            bar.update(task, total=total, completed=top.seen)
    return top


def _images_and_ids(batch: Any, seen: int) -> tuple[Tensor, Tensor]:
    """Returns the images of a batch and their ids, counted from `seen` if it has none."""
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
            f"a batch is {_describe(batch)}: a tensor of images (B, C, H, W), a tuple that begins "
            "with one, "
            'ImageBatch(images, ids) or {"images": ..., "ids": ...} is needed'
        )
    ids = torch.arange(seen, seen + len(images)) if given is None else torch.as_tensor(given).cpu()
    if ids.shape != images.shape[:1] or ids.is_floating_point() or ids.dtype == torch.bool:
        raise InputError(
            f"ids of shape {tuple(ids.shape)}, {ids.dtype}: one integer for each of {len(images)} "
            "images is needed"
        )
    return images, ids.long()


def _describe(batch: Any) -> str:
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
    axes: Mapping[str, UnitAxes],
    images: Tensor,
    ids: Tensor,
    top: TopActivations,
    batch: str,
    each: Callable[[str, Top], None] | None,
) -> None:
    left = set(modules)

    def read(layer: str, output: Tensor) -> bool:
        if layer not in left:
            raise InputError(
                f"layer {layer!r} runs more than once in {batch}: name a module that runs once"
            )
        maps = axes[layer].maps(output)
        if len(maps) != len(images):
            raise InputError(
                f"layer {layer!r} gives values of shape {tuple(output.shape)} for the "
                f"{len(images)} images of {batch}"
            )
        largest = top.update(layer, maps, ids)
        if each is not None:
            each(layer, largest)
        left.discard(layer)
        return not left

    with capture_outputs(modules, read, within=batch):
        model(images)
