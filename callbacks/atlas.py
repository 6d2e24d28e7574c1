"""Atlases of a net in training: a small one every few epochs.

Trainer(callbacks=[Atlas("outputs/run")])
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from lightning import LightningModule, Trainer

from callbacks.feature_search import FeatureSearch
from callbacks.tensorboard import tensorboard_writers
from zfnet.atlas.build import make_atlas
from zfnet.atlas.overview import Origin, Settings
from zfnet.atlas.pages import write_pages
from zfnet.data.image_store import Subset
from zfnet.deconv import random_subset
from zfnet.io import writing
from zfnet.model_on_data import ModelOnData
from zfnet.models.introspection import eval_mode

CONTRAST = 4  # channels that contrastive projections are compared with


class Atlas(FeatureSearch):
    """Writes the atlas of all channels, on a random sample of the validation images.

    `atlas/epoch_005/index.html` opens by a double click; `zfnet.atlas.load` reads it. TensorBoard
    gets its address as the text `atlas`, and `atlas_seconds`, what it cost.

    Args:
        folder, layers: as of `FeatureSearch`.
        every_n_epochs: how often.
        images: how many images, at most; the same ones each time.
        k: how many images of each channel are shown.

    Raises:
        InputError: as `FeatureSearch`.
    """

    key = "atlas"

    def __init__(
        self,
        folder: str,
        layers: Sequence[str] | None = None,
        every_n_epochs: int = 5,
        images: int = 200,
        k: int = 4,
    ) -> None:
        super().__init__(folder, layers, every_n_epochs=every_n_epochs, images=images, k=k)
        self.every_n_epochs, self.images, self.k = every_n_epochs, images, k

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs or not self._layers:
            return
        start = time.perf_counter()
        subject = self._sample(self.subject(trainer, pl_module, "val"))
        found = self.search(trainer, pl_module, subject, k=1)
        if not trainer.is_global_zero:
            return
        folder = self.folder / "atlas" / f"epoch_{epoch:03d}"
        if found is None:  # an activation is not finite
            shutil.rmtree(folder, ignore_errors=True)  # a resumed run may repeat an epoch
            return
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        origin = Origin(f"{self.folder.name}, epoch {epoch}")
        settings = Settings(min(self.k, len(subject.images)), CONTRAST)
        no_autocast = torch.autocast(pl_module.device.type, enabled=False)
        with self.observing(pl_module), eval_mode(subject.net), no_autocast:
            overview = make_atlas(subject, folder / "net_1", origin, settings, self._layers)
        write_pages(folder, [overview], compare=False)
        address = (folder / "index.html").absolute().as_uri()
        for writer in tensorboard_writers(trainer):
            # TensorBoard shows no links to files.
            writer.add_text("atlas", f"after epoch {epoch}: `{address}`", trainer.global_step)
            writer.add_scalar("atlas_seconds", time.perf_counter() - start, trainer.global_step)

    def _sample(self, subject: ModelOnData) -> ModelOnData:
        total = len(subject.images)
        rows = random_subset(total, min(total, self.images))
        return replace(subject, images=Subset(subject.images, rows))
