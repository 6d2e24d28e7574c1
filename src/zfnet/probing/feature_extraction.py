"""A frozen trunk's features of a whole data set: computed once, kept on the disk, mapped and not read.

One pass for all layers that are missing, up to the last of them. A layer's features, (N, D) or by ten crops (N,
10, D), lie in files of their own (feature_cache.py). Their name is a hash of all they depend on: the weights,
modules and modules' attributes up to the layer, the preparation, the pictures' ids and their mean, pool and crops.
What lies behind the layer does not count, so that every fold, k, head and number of classes finds the same file; a
pass that was killed goes on. What no attribute says (a global, other code under the same name) shows in the first
picture's features, which are computed anyway: they are kept beside the file and must be the same.

    kept = cached_features(net, prepare, images, ["conv5", "fc7"], Path("outputs/features/photos"), pool=6)
    kept["conv5"][rows]         # (len(rows), 256 * 6 * 6)
"""

import errno
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zfnet.data.batches import Batch, Batches
from zfnet.data.image_store import ImageDataset
from zfnet.data.preprocessing import Preprocessing, centre_crop, ten_crops
from zfnet.data.store_files import lock_folder
from zfnet.errors import InputError
from zfnet.fingerprint import digest
from zfnet.io import pwrite
from zfnet.models.introspection import capture_outputs, check_called_once, eval_mode, find_modules, run_order
from zfnet.models.snapshot import attributes
from zfnet.probing.feature_cache import FeatureCache, check_disk_space
from zfnet.progress import progress_bar

SAVED_EVERY = 10  # seconds of work that a kill may cost
PROBED, SAME = 256, 1e-3  # features of the first picture that are compared, and their difference by rounding
log = logging.getLogger(__name__)

Crops = Literal["centre", "ten"]


def cached_features(
    net: nn.Module,
    prepare: Preprocessing,
    images: ImageDataset,
    layers: Sequence[str],
    folder: Path,
    pool: int | None = None,
    crops: Crops = "centre",
    batch_size: int = 64,
) -> dict[str, Tensor]:
    """Each layer's features of all `images` in order, float32 (N, D), or (N, 10, D) of the paper's ten crops.

    Maps larger than `pool` x `pool` are averaged down to it (adaptively); None keeps them whole. `images` are a
    data set's whole, of which folds take rows. Inputs go to the net's device. Raises InputError for a layer
    that does not run once, for values that are not numbers, and for a disk that is too small.
    """
    if pool is not None and pool < 1:
        raise InputError(f"pool={pool}: maps are averaged down to 1 x 1 or more, or kept whole (null)")
    trunk = _Trunk(net, prepare, images, find_modules(net, layers), pool, crops)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        kept = {
            layer: _file(folder, probe, {"layer": layer, "pool": pool, "crops": crops})
            for layer, probe in trunk.probed().items()
        }
        if any(each.missing for each in kept.values()):
            with lock_folder(folder):
                missing = {layer: each for layer, each in kept.items() if each.missing}
                if missing:  # another process may have computed them meanwhile
                    check_disk_space(folder, list(missing.values()))
                    trunk.run(missing, batch_size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{folder}: the disk is full; what was computed stays: free some space and run the same command"
            ) from error
        raise InputError(f"{folder}: {error.strerror or error}") from error
    return {layer: each.features() for layer, each in kept.items()}


@dataclass(frozen=True)
class _Probe:
    """What one picture says about a layer's features: their name, their shape, and some of the first picture's."""

    key: str
    shape: tuple[int, ...]
    first: list[float]


def _file(folder: Path, probe: _Probe, about: dict[str, Any]) -> FeatureCache:
    """The file of these features, or the first free place for it where another one has taken its name."""
    for number in count():
        path = folder / (f"{probe.key}_{number}" if number else probe.key)
        file = FeatureCache(path, probe.shape, about, probe.first)
        if not file.index.exists() or _is_close(file.first_on_disk, probe.first):
            return file
    raise AssertionError


def _is_close(kept: list[float], found: list[float]) -> bool:
    """Whether a picture has the same features but for rounding, which differs with the number of threads."""
    a, b = torch.tensor(kept, dtype=torch.float64), torch.tensor(found, dtype=torch.float64)
    if a.shape != b.shape or not a.isfinite().equal(b.isfinite()):
        return False
    return bool(((a - b).abs() <= SAME * a.abs().max()).logical_or(~a.isfinite()).all())


class _Trunk:
    """A net up to the last of some layers, and the pictures that it is shown."""

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
        self.cuts = ten_crops(size, crop) if crops == "ten" else centre_crop(size, crop)[None]  # (C, 3)
        self.device = next((p.device for p in net.parameters()), torch.device("cpu"))

    def probed(self) -> dict[str, _Probe]:
        """What one picture says about each layer."""
        image = self._inputs(Batches(self.images, self.prepare.crop, 1).picked([0]))[:1]
        width: dict[str, int] = {}
        first: dict[str, list[float]] = {}
        pool: dict[str, int | None] = {}

        def read(layer: str, maps: Tensor) -> None:
            features = self._features(maps)
            width[layer] = features.shape[1]
            first[layer] = features[0, :: -(-width[layer] // PROBED)].double().tolist()
            pool[layer] = self.pool if width[layer] < maps[0].numel() else None  # the same file as kept whole

        with torch.inference_mode(), eval_mode(self.net):
            check_called_once(self.net, self.modules, image, maps=self.pool is not None)
            with capture_outputs(self.modules, read):
                self.net(image)
        crops = (len(self.cuts),) if self.crops == "ten" else ()
        keys = self._keys(run_order(self.net, image), pool)
        return {
            layer: _Probe(keys[layer], (len(self.images), *crops, width[layer]), first[layer])
            for layer in self.modules
        }

    def run(self, missing: dict[str, FeatureCache], batch_size: int) -> None:
        """Fills the files, from the picture on that any of them lacks."""
        pictures = max(1, batch_size // len(self.cuts))
        batches = Batches(self.images, self.prepare.crop, pictures)
        begun = min(each.done for each in missing.values()) // pictures
        batches.load_state_dict({"epoch": 0, "seen": begun})
        first = done = begun * pictures
        start = saved = time.monotonic()
        with ExitStack() as stack, torch.inference_mode(), eval_mode(self.net):
            files = {layer: stack.enter_context(each.opened()) for layer, each in missing.items()}
            bar = stack.enter_context(progress_bar())
            task = bar.add_task("", total=len(self.images), completed=done)
            for batch in batches:
                self._write(batch, missing, files)
                done += len(batch)
                bar.update(task, completed=done)
                if done == len(self.images) or time.monotonic() - saved > SAVED_EVERY:
                    for layer, file in files.items():
                        missing[layer].save(file, done)
                    saved = time.monotonic()
        seconds = time.monotonic() - start
        log.info(
            "features of %s: %d pictures in %.1f s, %.0f images/s",
            ", ".join(missing),
            done - first,
            seconds,
            (done - first) / max(seconds, 1e-9),
        )

    def _write(self, batch: Batch, missing: dict[str, FeatureCache], files: dict[str, int]) -> None:
        """One batch through the net, each layer's features into its file as soon as they are there."""
        left, first = set(missing), int(batch.indices[0])

        def read(layer: str, maps: Tensor) -> bool:
            features = self._features(maps)
            if not features.isfinite().all():
                bad = first + int((~features.isfinite()).any(1).nonzero()[0]) // len(self.cuts)
                raise InputError(f"layer {layer!r} is not a number for picture {self.images.ids[bad]}")
            pwrite(files[layer], features.cpu().numpy(), first * missing[layer].picture)
            left.discard(layer)
            return not left

        with capture_outputs({layer: self.modules[layer] for layer in missing}, read):
            self.net(self._inputs(batch))

    def _inputs(self, batch: Batch) -> Tensor:
        """All cuts of the first picture, then of the second: (B * C, 3, crop, crop) on the net's device."""
        batch = batch.to(self.prepare.mean.device)
        rows = batch.rows.repeat_interleave(len(self.cuts))
        cuts = self.cuts.to(rows.device).repeat(len(batch), 1)
        return self.prepare(batch.images, rows, cuts).to(self.device)

    def _features(self, maps: Tensor) -> Tensor:
        """(B, ...) → float32 (B, D), pooled where the maps are larger."""
        if self.pool and maps.dim() == 4:
            height, width = (min(self.pool, side) for side in maps.shape[-2:])
            maps = F.adaptive_avg_pool2d(maps, (height, width))
        return maps.flatten(1).float().contiguous()

    def _keys(self, order: list[str], pool: dict[str, int | None]) -> dict[str, str]:
        """A hash for each layer of what its features depend on; `order` is that in which modules run."""
        modules = dict(self.net.named_modules())
        tensors = dict([*self.net.named_parameters(), *self.net.named_buffers()])
        hashed = cache(lambda name: digest(tensors[name]))
        set_on = cache(lambda name: attributes(modules[name]))
        seen = [self.images.ids, self.prepare.store_size, self.prepare.crop, self.crops]
        seen += [digest(part) for part in (self.images.mean, self.prepare.mean, self.prepare.std)]
        keys = {}
        for layer, module in self.modules.items():
            inside = set(module.modules())
            last = max((i for i, name in enumerate(order) if modules[name] in inside), default=len(order) - 1)
            behind = tuple(f"{name}." for name in set(order[last + 1 :]) - set(order[: last + 1]))
            weights = {name: hashed(name) for name in tensors if not name.startswith(behind)}
            trunk = [
                order[: last + 1],
                {name: set_on(name) for name in modules if not f"{name}.".startswith(behind)},
            ]
            about = [type(self.net).__qualname__, layer, pool[layer], trunk, weights, *seen]
            keys[layer] = digest(about)
        return keys
