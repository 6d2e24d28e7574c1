"""The features of a whole data set in a frozen net: computed once and cached on the disk.

    folder = Path("outputs/features/photos")
    features = cached_features(net, prepare, images, ["conv5", "fc7"], folder, pool=6)
    features["conv5"][rows]         # (len(rows), 256 * 6 * 6)

One pass computes all layers that are missing, and stops at the last of them. Each layer has its own
files (feature_cache.py), named by a hash of all that its features depend on: the weights, modules
and attributes up to the layer, the preprocessing, the ids of the images and their mean, pool and
crops. What comes after the layer does not count, so that every fold, number of images, head and
number of classes uses the same file. A pass that was killed is resumed. Changes that no attribute
shows (a global, other code under the same name) are found by the first image's features, which are
stored beside the file and compared."""

import errno
import logging
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zfnet import ranks
from zfnet.data.batches import Batch, Batches
from zfnet.data.image_store import ImageDataset
from zfnet.data.preprocessing import Preprocessing, center_crop, ten_crops
from zfnet.data.store_files import lock_folder
from zfnet.errors import InputError
from zfnet.fingerprint import digest
from zfnet.io import pwrite
from zfnet.models.introspection import (
    capture_outputs,
    check_called_once,
    eval_mode,
    find_modules,
    run_order,
)
from zfnet.models.snapshot import attributes
from zfnet.probing.feature_cache import FeatureCache, check_disk_space
from zfnet.progress import progress_bar

SAVED_EVERY = 10  # seconds of work that a kill may cost
AT_ONCE = 4  # batches of a process in a round
# Features of the first image that are compared, and their difference by rounding.
COMPARED, SAME = 256, 1e-3
log = logging.getLogger(__name__)

Crops = Literal["center", "ten"]
# As version 0.1 spelled them, so that its files are found.
HASHED = {"center": "centre", "ten": "ten"}


def cached_features(
    net: nn.Module,
    prepare: Preprocessing,
    images: ImageDataset,
    layers: Sequence[str],
    folder: Path,
    pool: int | None = None,
    crops: Crops = "center",
    batch_size: int = 64,
) -> dict[str, Tensor]:
    """Each layer's features of all images, in order.

    Args:
        net: on any device.
        prepare: the preprocessing of its inputs.
        images: a whole data set, of which folds take rows.
        layers: names of layers.
        folder: of the cached features.
        pool: feature maps larger than pool x pool are averaged down to it (adaptively); None keeps
            them whole.
        crops: "center", or "ten" for the paper's ten crops.
        batch_size: the number of crops that the net sees at once.

    Returns:
        float32 (N, D) by layer, or (N, 10, D) of ten crops, memory-mapped.

    Raises:
        InputError: a layer does not run exactly once, a value is not a number, or the disk is too
            small.
    """
    if pool is not None and pool < 1:
        raise InputError(
            f"pool={pool}: maps are averaged down to 1 x 1 or more, or kept whole (null)"
        )
    extractor = FeatureExtractor(net, prepare, images, find_modules(net, layers), pool, crops)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        caches = {
            layer: _find_cache(folder, entry, {"layer": layer, "pool": pool, "crops": crops})
            for layer, entry in extractor.describe().items()
        }
        if ranks.size() > 1 or any(each.missing for each in caches.values()):
            with lock_folder(folder) if ranks.is_first() else nullcontext():
                ranks.wait()
                missing = {layer: each for layer, each in caches.items() if each.missing}
                if missing:  # another run may have computed them meanwhile
                    check_disk_space(folder, list(missing.values()))
                    extractor.run(missing, batch_size)
                ranks.wait()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{folder}: the disk is full; what was computed stays: free some space and run the "
                "same command"
            ) from error
        raise InputError(f"{folder}: {error.strerror or error}") from error
    return {layer: each.features() for layer, each in caches.items()}


@dataclass(frozen=True)
class _Entry:
    """A layer's features: the hash that names them, their shape, and some of the first image's."""

    key: str
    shape: tuple[int, ...]
    first: list[float]


def _find_cache(folder: Path, entry: _Entry, about: dict[str, Any]) -> FeatureCache:
    """The cache of these features, numbered if another one has the same hash."""
    for number in count():
        path = folder / (f"{entry.key}_{number}" if number else entry.key)
        cache = FeatureCache(path, entry.shape, about, entry.first)
        if not cache.index.exists() or _is_close(cache.first_on_disk, entry.first):
            return cache
    raise AssertionError


def _is_close(cached: list[float], found: list[float]) -> bool:
    """Whether features are the same except for rounding, which depends on the number of threads."""
    a, b = torch.tensor(cached, dtype=torch.float64), torch.tensor(found, dtype=torch.float64)
    if a.shape != b.shape or not a.isfinite().equal(b.isfinite()):
        return False
    return bool(((a - b).abs() <= SAME * a.abs().max()).logical_or(~a.isfinite()).all())


class FeatureExtractor:
    """A net up to the last of some layers, and the images that it sees."""

    def __init__(
        self,
        net: nn.Module,
        prepare: Preprocessing,
        images: ImageDataset,
        modules: dict[str, nn.Module],
        pool: int | None,
        crops: Crops,
    ) -> None:
        self.net, self.prepare, self.images, self.modules = net, prepare, images, modules
        self.pool, self.crops = pool, crops
        size, crop = prepare.store_size, prepare.crop
        self.crop_offsets = (
            ten_crops(size, crop) if crops == "ten" else center_crop(size, crop)[None]
        )  # (crops, 3)
        self.device = next((p.device for p in net.parameters()), torch.device("cpu"))

    def describe(self) -> dict[str, _Entry]:
        """Each layer's entry, from a pass with the first image."""
        image = self._inputs(Batches(self.images, self.prepare.crop, 1).batch_of([0]))[:1]
        width: dict[str, int] = {}
        first: dict[str, list[float]] = {}
        pool: dict[str, int | None] = {}

        def read(layer: str, maps: Tensor) -> None:
            features = self._features(layer, maps)
            width[layer] = features.shape[1]
            first[layer] = features[0, :: -(-width[layer] // COMPARED)].double().tolist()
            pool[layer] = (
                self.pool if width[layer] < maps[0].numel() else None
            )  # the same file as of whole maps

        with torch.inference_mode(), eval_mode(self.net):
            self._axes = check_called_once(
                self.net, self.modules, image, maps=self.pool is not None
            )
            with capture_outputs(self.modules, read):
                self.net(image)
        crops = (len(self.crop_offsets),) if self.crops == "ten" else ()
        keys = self._keys(run_order(self.net, image), pool)
        return {
            layer: _Entry(keys[layer], (len(self.images), *crops, width[layer]), first[layer])
            for layer in self.modules
        }

    def run(self, missing: dict[str, FeatureCache], batch_size: int) -> None:
        """Fills the files, from the first image on that any of them lacks.

        Several processes share the batches out. After each round of AT_ONCE batches they wait for
        one another, so that all images before a place are done.
        """
        count = max(1, batch_size // len(self.crop_offsets))
        first = done = min(each.done for each in missing.values()) // count * count
        ranks.wait()  # before the first process saves
        chunks = ranks.share(torch.arange(first, len(self.images)).split(count))
        device = self.prepare.mean.device
        batches = Batches(self.images, self.prepare.crop, count, device=device).batches_of(chunks)
        at_once = AT_ONCE if ranks.size() > 1 else 1
        start = saved = time.monotonic()
        with ExitStack() as stack, torch.inference_mode(), eval_mode(self.net):
            files = {layer: stack.enter_context(each.open()) for layer, each in missing.items()}
            bar = stack.enter_context(progress_bar())
            task = bar.add_task("", total=len(self.images), completed=done)
            while done < len(self.images):
                for batch in islice(batches, at_once):
                    self.write(batch, missing, files)
                done = min(done + at_once * count * ranks.size(), len(self.images))
                bar.update(task, completed=done)
                due = done == len(self.images) or time.monotonic() - saved > SAVED_EVERY
                if any(ranks.collect([due])):
                    for file in files.values() if not ranks.is_first() else ():
                        os.fsync(file)
                    ranks.wait()
                    if ranks.is_first():
                        for layer, file in files.items():
                            missing[layer].save(file, done)
                    saved = time.monotonic()
        seconds = time.monotonic() - start
        log.info(
            "features of %s: %d images in %.1f s, %.0f images/s",
            ", ".join(missing),
            done - first,
            seconds,
            (done - first) / max(seconds, 1e-9),
        )

    def write(self, batch: Batch, missing: dict[str, FeatureCache], files: dict[str, int]) -> None:
        """Passes one batch through the net, and writes each layer's features as soon as they are
        there."""
        left, first = set(missing), int(batch.indices[0])

        def read(layer: str, maps: Tensor) -> bool:
            features = self._features(layer, maps)
            if not features.isfinite().all():
                bad = first + int((~features.isfinite()).any(1).nonzero()[0]) // len(
                    self.crop_offsets
                )
                raise InputError(
                    f"layer {layer!r} is not a number for image {self.images.ids[bad]}"
                )
            pwrite(files[layer], features.cpu().numpy(), first * missing[layer].image_bytes)
            left.discard(layer)
            return not left

        with capture_outputs({layer: self.modules[layer] for layer in missing}, read):
            self.net(self._inputs(batch))

    def _inputs(self, batch: Batch) -> Tensor:
        """All crops of the first image, then of the second: (B * crops, C, H, W) on the net's
        device."""
        batch = batch.to(self.prepare.mean.device)
        rows = batch.rows.repeat_interleave(len(self.crop_offsets))
        crops = self.crop_offsets.to(rows.device).repeat(len(batch), 1)
        return self.prepare(batch.images, rows, crops).to(self.device)

    def _features(self, layer: str, maps: Tensor) -> Tensor:
        """(B, ...) → float32 (B, D), pooled where the maps are larger."""
        if self.pool:
            maps = self._axes[layer].maps(maps)
            height, width = (min(self.pool, side) for side in maps.shape[-2:])
            maps = F.adaptive_avg_pool2d(maps, (height, width))
        return maps.flatten(1).float().contiguous()

    def _keys(self, order: list[str], pool: dict[str, int | None]) -> dict[str, str]:
        """A hash for each layer of what its features depend on; modules run in `order`."""
        modules = dict(self.net.named_modules())
        tensors = dict([*self.net.named_parameters(), *self.net.named_buffers()])
        hashed = cache(lambda name: digest(tensors[name]))
        set_on = cache(lambda name: attributes(modules[name]))
        seen = [self.images.ids, self.prepare.store_size, self.prepare.crop, HASHED[self.crops]]
        seen += [digest(part) for part in (self.images.mean, self.prepare.mean, self.prepare.std)]
        keys = {}
        for layer, module in self.modules.items():
            inside = set(module.modules())
            last = max(
                (i for i, name in enumerate(order) if modules[name] in inside),
                default=len(order) - 1,
            )
            after = tuple(f"{name}." for name in set(order[last + 1 :]) - set(order[: last + 1]))
            weights = {name: hashed(name) for name in tensors if not name.startswith(after)}
            modules_before = [
                order[: last + 1],
                {name: set_on(name) for name in modules if not f"{name}.".startswith(after)},
            ]
            about = [
                type(self.net).__qualname__,
                layer,
                pool[layer],
                modules_before,
                weights,
                *seen,
            ]
            keys[layer] = digest(about)
        return keys
