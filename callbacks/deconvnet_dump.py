"""The features of a net at this point of training (Figure 2), every few epochs.

Trainer(callbacks=[DeconvnetDump("outputs/run")])
"""

import time
from collections.abc import Sequence

from lightning import LightningModule, Trainer

from callbacks.feature_search import FeatureSearch
from callbacks.tensorboard import tensorboard_writers
from zfnet.deconv import Deconvnet, Top, random_subset
from zfnet.errors import check_choice
from zfnet.io import writing
from zfnet.model_on_data import ModelOnData
from zfnet.versions.python_names import renamed
from zfnet.viz import FeaturePanel, feature_sheet, save_png

SPLITS = {"train": "training", "val": "validation"}
WIDTH = 1200  # pixels of a sheet


@renamed(maps="channels")
class DeconvnetDump(FeatureSearch):
    """Draws the projections of a few channels of each layer, beside the image patches.

    Logs `top_activations/<layer>` and `dump_seconds`, what it cost, to TensorBoard, and writes
    `top_activations/<layer>.png` into the folder.

    Args:
        folder, layers: as of `FeatureSearch`.
        channels: how many channels of each layer are drawn; they are chosen at random, once.
        every_n_epochs: how often; also after the last epoch.
        split: whose images are searched, "val" or "train".
        k: how many images of each channel.

    Raises:
        InputError: as `FeatureSearch`.
    """

    key = "deconvnet_dump"

    def __init__(
        self,
        folder: str,
        layers: Sequence[str] | None = None,
        channels: int = 4,
        every_n_epochs: int = 5,
        split: str = "val",
        k: int = 9,
    ) -> None:
        super().__init__(folder, layers, channels=channels, every_n_epochs=every_n_epochs, k=k)
        check_choice("deconvnet_dump.split", split, SPLITS)
        self.channels, self.every_n_epochs, self.split, self.k = channels, every_n_epochs, split, k
        self._ended = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended = False
        super().on_fit_start(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._dump(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended = True
        if trainer.current_epoch % self.every_n_epochs:
            self._dump(trainer, pl_module, trainer.current_epoch)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run that was killed after its last epoch and resumed has no `on_train_end`."""
        if not self._ended:
            self.on_train_end(trainer, pl_module)

    def _dump(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        if not self._layers:
            return
        start = time.perf_counter()
        subject = self.subject(trainer, pl_module, self.split)
        k = min(self.k, len(subject.images))
        found = self.search(trainer, pl_module, subject, k)
        if found is None or not trainer.is_global_zero:
            return
        writers = tensorboard_writers(trainer)
        for layer in self._layers:
            split = SPLITS[self.split]
            title = f"{layer} after epoch {epoch}: top {k} of {found.seen:,} {split} images"
            sheet = feature_sheet(
                title, self._panels(trainer, pl_module, subject, layer, found[layer]), WIDTH
            )
            path = self.folder / "top_activations" / f"{layer}.png"
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            save_png(sheet, path)
            for writer in writers:
                writer.add_image(
                    f"top_activations/{layer}", sheet, trainer.global_step, dataformats="HWC"
                )
        for writer in writers:
            writer.add_scalar("dump_seconds", time.perf_counter() - start, trainer.global_step)

    def _panels(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        subject: ModelOnData,
        layer: str,
        top: Top,
    ) -> list[FeaturePanel]:
        channels = random_subset(len(top.values), self.channels).tolist()
        found = self.project(trainer, pl_module, subject, layer, top.units(channels))
        projections, patches = (part.unflatten(0, (len(channels), -1)) for part in found)
        with self.observing(pl_module):
            filters = Deconvnet(subject.net).filters(layer, subject.crop)
        drawn = [None] * len(channels) if filters is None else subject.shown(filters[channels])
        values = top.values[channels].float()
        return [
            FeaturePanel(*each)
            for each in zip(channels, projections, patches, values, drawn, strict=True)
        ]
