"""What a net's maps look for at this point of training (Figure 2), every few epochs.

    Trainer(callbacks=[DeconvnetDump("outputs/run")])

Every `every_n_epochs` and after the last epoch, for a few maps of each layer, chosen once: the projections of
their k strongest activations over the validation pictures, beside the image patches. As
`top_activations/<layer>` in TensorBoard with `dump_seconds`, what it cost; the latest also in the folder, as
`top_activations/<layer>.png`.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from callbacks.feature_search import preserve_rng, project, resolve_layers, search, writers
from zfnet.deconv import Deconvnet, Top, random_subset
from zfnet.errors import InputError
from zfnet.io import writing
from zfnet.viz import FeaturePanel, feature_sheet, save_png

SPLITS = {"train": "training", "val": "validation"}
WIDTH = 1200  # pixels of a sheet


class DeconvnetDump(Callback):
    """Figure 2 in small, as training goes on.

    `layers=None` is every convolutional stage of a ConvNet, and up to five convolutions of another net. Raises
    InputError on bad arguments, and before training on unknown layers.
    """

    def __init__(
        self,
        folder: str,
        layers: Sequence[str] | None = None,
        maps: int = 4,
        every_n_epochs: int = 5,
        split: str = "val",
        k: int = 9,
    ) -> None:
        if layers is not None and not layers:
            raise InputError("deconvnet_dump.layers is empty: null is all convolutional layers")
        for name, number in (("maps", maps), ("every_n_epochs", every_n_epochs), ("k", k)):
            if number < 1:
                raise InputError(f"deconvnet_dump.{name}={number}: must be at least 1")
        if split not in SPLITS:
            raise InputError(f"deconvnet_dump.split={split!r} is unknown: choose one of {', '.join(SPLITS)}")
        self.folder = Path(folder)
        self.layers = None if layers is None else list(layers)
        self.maps, self.every_n_epochs, self.split, self.k = maps, every_n_epochs, split, k
        self._layers: list[str] = []
        self._ended = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended = False
        self._layers = resolve_layers(trainer, pl_module, self.layers)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._dump(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended = True
        if trainer.current_epoch % self.every_n_epochs:
            self._dump(trainer, pl_module, trainer.current_epoch)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Where a run was killed after its last epoch, only its end is made up for."""
        if not self._ended:
            self.on_train_end(trainer, pl_module)

    def _dump(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        if not self._layers:
            return
        start = time.perf_counter()
        k = min(self.k, len(trainer.datamodule.images[self.split]))  # type: ignore[attr-defined]
        found = search(trainer, pl_module, self.split, self._layers, k)
        if found is None or not trainer.is_global_zero:
            return
        for layer in self._layers:
            panels = self._panels(trainer, pl_module, layer, found[layer])
            title = f"{layer} after epoch {epoch}: top {k} of {found.seen:,} {SPLITS[self.split]} pictures"
            sheet = feature_sheet(title, panels, WIDTH)
            path = self.folder / "top_activations" / f"{layer}.png"
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            save_png(sheet, path)
            for writer in writers(trainer):
                writer.add_image(f"top_activations/{layer}", sheet, trainer.global_step, dataformats="HWC")
        for writer in writers(trainer):
            writer.add_scalar("dump_seconds", time.perf_counter() - start, trainer.global_step)

    def _panels(
        self, trainer: Trainer, pl_module: LightningModule, layer: str, top: Top
    ) -> list[FeaturePanel]:
        maps = random_subset(len(top.values), self.maps)
        pictures, patches = project(trainer, pl_module, self.split, layer, top.select(maps), maps)
        with preserve_rng(pl_module):
            filters = Deconvnet(pl_module.net).filters(layer, pl_module.prepare.crop)  # type: ignore[arg-type, union-attr]
        values = top.values[maps].float()
        return [
            FeaturePanel(m, pictures[i], patches[i], values[i], None if filters is None else filters[m])
            for i, m in enumerate(maps.tolist())
        ]
