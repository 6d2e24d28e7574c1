"""What callbacks that look at features share: a search for strong activations in training.

Training is not affected. The net runs in eval mode and every module gets its own mode back, the
random number generator is restored, no gradient is kept and nothing stays on the device. The search
runs in the trainer's precision, so that it costs what a forward pass of training costs. Projections
are computed without autocast."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from zfnet.data.image_store import ImageDataset
from zfnet.data.preprocessing import Preprocessing
from zfnet.data.source import Source
from zfnet.deconv import (
    Deconvnet,
    TopActivations,
    Unit,
    projectable_layers,
    random_subset,
    top_activations,
)
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.sizes import sides

log = logging.getLogger(__name__)


@runtime_checkable
class ImageDataModule(Protocol):
    """What a data module must have, as `zfnet.data.ImageData` does; `images` and `sources` are by
    split."""

    images: dict[str, ImageDataset]
    sources: dict[str, Source]
    batch_size: int


class FeatureSearch(Callback):
    """Searches for the strongest activations of layers, and projects them.

    Args:
        folder: what is written goes there.
        layers: the layers; None is the net's default layers that have a deconvnet.
        counts: further arguments of the callback that must be at least 1.

    Raises:
        InputError: an argument is out of range; before training, a layer that the net does not have
            or that cannot be projected.
    """

    key: str  # in the config

    def __init__(self, folder: str, layers: Sequence[str] | None, **counts: int) -> None:
        if layers is not None and not layers:
            raise InputError(f"{self.key}.layers is empty: null is all convolutional layers")
        for name, count in counts.items():
            if count < 1:
                raise InputError(f"{self.key}.{name}={count}: must be at least 1")
        self.folder = Path(folder)
        self.layers = None if layers is None else list(layers)
        self._layers: list[str] = []  # that can be projected

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(trainer.datamodule, ImageDataModule):  # type: ignore[attr-defined]
            raise InputError(
                f"{self.key} needs a data module with images, sources and batch_size, such as "
                "ImageData"
            )
        prepare: Preprocessing = pl_module.prepare  # type: ignore[assignment]
        shape = (prepare.channels, *sides(prepare.crop))
        with self.observing(pl_module):
            self._layers, problems = projectable_layers(pl_module.net, shape, self.layers)  # type: ignore[arg-type]
        for problem in problems if trainer.is_global_zero else ():
            log.warning("%s: %s", self.key, problem)

    def subject(self, trainer: Trainer, pl_module: LightningModule, split: str) -> ModelOnData:
        """The net, and the images of a split."""
        data: ImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
        return ModelOnData(
            pl_module.net,  # type: ignore[arg-type]
            pl_module.prepare,  # type: ignore[arg-type]
            data.images[split],
            data.sources[split],
            pl_module.classes,  # type: ignore[arg-type]
            data.batch_size // trainer.world_size,
            getattr(data, "channels_shown", None),
        )

    def search(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        subject: ModelOnData,
        k: int,
        share: float = 1.0,
    ) -> TopActivations | None:
        """The k strongest activations of every channel. Every process must call it.

        Args:
            trainer, pl_module: of the run.
            subject: the images.
            k: how many images for each channel.
            share: of the images, a random sample that is the same for any number of processes.

        Returns:
            The search; None, with a warning, on all processes where an activation is not a finite
            number.
        """
        total = len(subject.images)
        chosen = (
            torch.arange(total)
            if share == 1
            else random_subset(total, max(1, round(share * total)))
        )
        found, problem = TopActivations(self._layers, k), None
        with self.observing(pl_module), trainer.precision_plugin.forward_context():
            try:
                batches = subject.batches(
                    chosen[trainer.global_rank :: trainer.world_size].tolist()
                )
                top_activations(subject.net, batches, self._layers, top=found, progress=False)
            except InputError as error:
                problem = str(error)
        # A process that gave up alone would leave the others waiting.
        problem = _first_of_all(problem)
        if problem is None:
            found = found.gather()
            infinite = [layer for layer in self._layers if found[layer].values.isposinf().any()]
            problem = f"layer {infinite[0]!r} is infinite" if infinite else None
        if problem and trainer.is_global_zero:
            log.warning(
                "%s at step %d: nothing is drawn: %s", self.key, trainer.global_step, problem
            )
        return None if problem else found

    def project(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        subject: ModelOnData,
        layer: str,
        units: list[Unit],
    ) -> tuple[Tensor, Tensor]:
        """Signed projections, and image patches in [0, 1], (N, C, h, w) each, float32 on the CPU.
        C are the channels that figures show.

        A patch is gray beyond the border of its image, and all of it where the unit is not active.
        """
        no_autocast = torch.autocast(pl_module.device.type, enabled=False)
        with self.observing(pl_module), trainer.precision_plugin.forward_context(), no_autocast:
            found, patches = subject.project(Deconvnet(subject.net), layer, units)
        patches = patches.cpu().masked_fill((found.values <= 0).cpu()[:, None, None, None], 0.5)
        projections = found.projections.nan_to_num(0, 0, 0)  # a diverging net overflows
        return subject.shown(projections).float().cpu(), subject.shown(patches).float()

    @contextmanager
    def observing(self, pl_module: LightningModule) -> Iterator[None]:
        """No gradients inside. The random number generator is restored afterwards."""
        device = pl_module.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
            yield


def _first_of_all(problem: str | None) -> str | None:
    """The first problem of any process, on all of them."""
    if not torch.distributed.is_initialized():
        return problem
    problems: list[str | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(problems, problem)
    return next((each for each in problems if each), None)
