"""A look into a net while it trains: what excites its maps most, and what of a picture does so.

    layers = resolve_layers(trainer, pl_module, None)                             # at the start of the run
    found = search(trainer, pl_module, "train", layers, k=1)                # on every process
    if found and trainer.is_global_zero:
        top = found["conv3"].select(maps)
        pictures, patches = project(trainer, pl_module, "train", "conv3", top, maps)

Training does not notice: the net runs in eval mode and every module has its own mode back, random numbers
go on where they were, no gradient is kept and nothing stays on the device. The search runs in the trainer's
precision, so that it costs what a forward pass of training costs; projections are computed without autocast.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from zfnet.deconv import (
    Deconvnet,
    ImageBatch,
    Top,
    TopActivations,
    Unit,
    default_layers,
    random_subset,
    top_activations,
)
from zfnet.errors import InputError

log = logging.getLogger(__name__)


@contextmanager
def preserve_rng(pl_module: LightningModule) -> Iterator[None]:
    """No gradients inside; random numbers go on afterwards where they were."""
    device = pl_module.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        yield


def resolve_layers(trainer: Trainer, pl_module: LightningModule, layers: Sequence[str] | None) -> list[str]:
    """`layers`, or the net's default layers as far as they have a deconvnet.

    Raises InputError for a layer asked for that the net does not have or that cannot be projected, and where
    the data module cannot show every picture once.
    """
    if not hasattr(trainer.datamodule, "ordered"):  # type: ignore[attr-defined]
        raise InputError("features are searched for with a data module that has ordered(split), as ImageData")
    net: nn.Module = pl_module.net  # type: ignore[assignment]
    deconv, result = Deconvnet(net), []
    with preserve_rng(pl_module):
        for layer in _default_layers(trainer, pl_module) if layers is None else layers:
            try:
                deconv.window(layer, Unit(image=0, channel=0), pl_module.prepare.crop)  # type: ignore[union-attr, arg-type]
                result.append(layer)
            except InputError as error:
                if layers is not None:
                    raise
                if trainer.is_global_zero:
                    log.warning("the features of %s are not shown: %s", layer, error)
    return result


def _default_layers(trainer: Trainer, pl_module: LightningModule) -> list[str]:
    """The net's default layers; none, and a line in the log, where it has none."""
    net, side = pl_module.net, pl_module.prepare.crop  # type: ignore[union-attr]
    try:
        return default_layers(net, torch.zeros(1, 3, side, side, device=pl_module.device))  # type: ignore[arg-type]
    except InputError as error:
        if trainer.is_global_zero:
            log.warning("no features are shown: %s", error)
        return []


def search(
    trainer: Trainer,
    pl_module: LightningModule,
    split: str,
    layers: Sequence[str],
    k: int,
    share: float = 1.0,
) -> TopActivations | None:
    """The k strongest activations of every map over a share of a split; every process must call it.

    None, and a line in the log, on all processes where one of them meets a value that is no finite number.
    """
    found, trouble = TopActivations(layers, k), None
    with preserve_rng(pl_module), trainer.precision_plugin.forward_context():
        try:
            inputs = _inputs(trainer, pl_module, split, share)
            top_activations(pl_module.net, inputs, layers, top=found, progress=False)  # type: ignore[arg-type]
        except InputError as error:
            trouble = str(error)
    trouble = _anyones(trouble)  # a process that gave up alone would leave the others waiting
    if trouble is None:
        found = found.gather()
        infinite = [layer for layer in layers if found[layer].values.isposinf().any()]
        trouble = f"layer {infinite[0]!r} is infinite" if infinite else None
    if trouble and trainer.is_global_zero:
        log.warning("the features of step %d are not shown: %s", trainer.global_step, trouble)
    return None if trouble else found


def _anyones(trouble: str | None) -> str | None:
    """The trouble of the first process that has one, on all of them."""
    if not torch.distributed.is_initialized():
        return trouble
    troubles: list[str | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(troubles, trouble)
    return next((one for one in troubles if one), None)


def _inputs(trainer: Trainer, pl_module: LightningModule, split: str, share: float) -> Iterator[ImageBatch]:
    ordered = trainer.datamodule.ordered(split)  # type: ignore[attr-defined]
    for batch in ordered if share == 1 else _some_batches(ordered, share):
        yield ImageBatch(_prepared(pl_module, batch), batch.indices)


def _some_batches(ordered: Any, share: float) -> Iterator[Any]:
    """This process's batches of a share of the pictures, which is the same for any number of processes; at random,
    because evenly spaced ones can be of few classes."""
    total = len(ordered.images)
    mine = random_subset(total, max(1, round(share * total)))[ordered.rank :: ordered.world]
    for indices in mine.split(ordered.batch_size // ordered.world):
        if len(indices):  # an empty share splits into one empty part
            yield ordered.picked(indices.tolist())


def _prepared(pl_module: LightningModule, batch: Any) -> Tensor:
    batch = batch.to(pl_module.device)
    return pl_module.prepare(batch.images, batch.rows, batch.crops)  # type: ignore[operator]


def project(
    trainer: Trainer, pl_module: LightningModule, split: str, layer: str, top: Top, maps: Tensor
) -> tuple[Tensor, Tensor]:
    """What excites each of `maps` (M,) at its places `top` (M, k): signed projections, and the patches of the images
    in [0, 1], (M, k, 3, h, w) each, float32 on the CPU.

    A patch is grey beyond its image's border, and all of it where the map is not excited.
    """
    indices, image = top.images.unique(return_inverse=True)
    places = torch.stack([image, maps[:, None].expand_as(image), top.y, top.x], dim=2)  # (M, k, 4)
    units = [Unit(*place) for place in places.flatten(0, 1).tolist()]
    no_autocast = torch.autocast(pl_module.device.type, enabled=False)
    with preserve_rng(pl_module), trainer.precision_plugin.forward_context(), no_autocast:
        ordered = trainer.datamodule.ordered(split)  # type: ignore[attr-defined]
        inputs = _prepared(pl_module, ordered.picked(indices.tolist()))
        found = Deconvnet(pl_module.net).patches(inputs, layer, units)  # type: ignore[arg-type]
        patches = found.crop(pl_module.prepare.undone(inputs), units, fill=0.5)  # type: ignore[operator, union-attr]
        patches = patches.masked_fill((found.values <= 0)[:, None, None, None], 0.5)
        pictures = found.projections.nan_to_num(0, 0, 0)  # where a net about to diverge overflows
    pictures, patches = (part.float().cpu().unflatten(0, image.shape) for part in (pictures, patches))
    return pictures, patches


def writers(trainer: Trainer) -> list[Any]:
    """The SummaryWriter of each of the trainer's TensorBoard logs."""
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
