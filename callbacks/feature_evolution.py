"""How features evolve during training (Figure 4): each channel's strongest activation by epoch.

Trainer(callbacks=[FeatureEvolution("outputs/run")])                    # every epoch
FeatureEvolution("outputs/run", epochs=[1, 2, 5, 10, 20, 30, 40, 64])   # the paper's
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from callbacks.feature_search import FeatureSearch
from callbacks.tensorboard import tensorboard_writers
from zfnet.analysis.evolution import (
    Winners,
    find_jumps,
    find_winners,
    read_evaluation,
    tell_story,
)
from zfnet.deconv import TopActivations, random_subset
from zfnet.errors import InputError, printable
from zfnet.io import read_torch, save_json, save_torch, writing
from zfnet.model_on_data import ModelOnData
from zfnet.versions.python_names import renamed
from zfnet.viz import evolution_sheet, figure_epochs, save_png

STRIP, FIGURE = 1200, 1600  # pixels across
REMEDY = "delete it to leave its epoch out"


@renamed(maps="channels")
class FeatureEvolution(FeatureSearch):
    """Draws Figure 4 of a run.

    After each of the epochs, the strongest activation of every channel is searched for. A channel
    jumps where another image wins than at the evaluation before. Logs to TensorBoard, for each
    layer:

        evolution/<layer>            a strip of some channels: projection above image patch
        evolution_changed/<layer>    the share of all channels that jumped
        evolution_jumps/<layer>      which of the drawn ones did: "channel 12: n01.JPEG → n02.JPEG"
        evolution_seconds            what the evaluation cost

    and writes `evolution/<layer>.png`, the figure, and `evolution.json` at the end. Each evaluation
    is a file, `evolution/epoch_005.pt`. A resumed run continues from these files.

    Args:
        folder, layers: as of `FeatureSearch`.
        channels: how many channels of each layer are drawn; they are chosen at random, once.
        epochs: counted from 1; None is every one.
        share: of the training images, a random sample that is searched.

    Raises:
        InputError: as `FeatureSearch`.
    """

    key = "feature_evolution"

    def __init__(
        self,
        folder: str,
        layers: Sequence[str] | None = None,
        channels: int = 8,
        epochs: Sequence[int] | None = None,
        share: float = 1.0,
    ) -> None:
        super().__init__(folder, layers, channels=channels)
        if epochs is not None and (not epochs or min(epochs) < 1):
            raise InputError(
                f"feature_evolution.epochs={list(epochs)}: give epochs from 1, or null for all"
            )
        if not 0 < share <= 1:
            raise InputError(f"feature_evolution.share={share}: must be above 0 and at most 1")
        self.channels, self.share = channels, share
        self.epochs = None if epochs is None else set(epochs)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if not self._layers or not self._is_due(epoch):
            return
        start = time.perf_counter()
        subject = self.subject(trainer, pl_module, "train")
        found = self.search(trainer, pl_module, subject, k=1, share=self.share)
        if not trainer.is_global_zero:
            return
        if found is None:
            self._path(epoch).unlink(missing_ok=True)  # a resumed run may repeat an epoch
            return
        winners = {
            layer: self._winners(trainer, pl_module, subject, layer, found)
            for layer in self._layers
        }
        self._write(epoch, winners)
        before = next(reversed(self._evaluations(epoch - 1).values()), {})
        for layer, now in winners.items():
            self._log(trainer, epoch, layer, now, before.get(layer))
        for writer in tensorboard_writers(trainer):
            writer.add_scalar("evolution_seconds", time.perf_counter() - start, trainer.global_step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the figures, also of a run that was killed after its last epoch and resumed."""
        evaluations = self._evaluations(trainer.current_epoch) if trainer.is_global_zero else {}
        if not evaluations:
            return
        story: dict[str, list[dict[str, Any]]] = {}
        for layer in self._layers:
            winners = {epoch: evaluation[layer] for epoch, evaluation in evaluations.items()}
            self._draw(layer, {epoch: winners[epoch] for epoch in figure_epochs(list(winners))})
            story[layer] = tell_story(winners)
        save_json(self.folder / "evolution.json", story)

    def _is_due(self, epoch: int) -> bool:
        return self.epochs is None or epoch in self.epochs

    def _winners(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        subject: ModelOnData,
        layer: str,
        found: TopActivations,
    ) -> Winners:
        top = found[layer]
        channels = random_subset(len(top.values), self.channels)
        drawn = self.project(trainer, pl_module, subject, layer, top.units(channels.tolist()))
        return find_winners(top, subject.images.ids, found.seen, channels, *drawn)

    def _path(self, epoch: int) -> Path:
        return self.folder / "evolution" / f"epoch_{epoch:03d}.pt"

    def _settings(self) -> dict[str, Any]:
        """What evaluations must share to be compared."""
        return {"layers": self._layers, "channels": self.channels, "share": self.share}

    def _write(self, epoch: int, winners: dict[str, Winners]) -> None:
        path = self._path(epoch)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        content = {layer: dict(vars(each)) for layer, each in winners.items()}
        save_torch(path, {"settings": self._settings(), "winners": content})

    def _evaluations(self, last: int) -> dict[int, dict[str, Winners]]:
        """Each layer's winners by epoch, up to epoch `last`; a resumed run repeats the later
        ones."""
        paths = (self.folder / "evolution").glob("epoch_*.pt")
        files = {int(path.stem.removeprefix("epoch_")): path for path in paths}
        result = {}
        for epoch in sorted(epoch for epoch in files if epoch <= last and self._is_due(epoch)):
            settings, winners = read_torch(files[epoch], REMEDY, read_evaluation, mapped=True)
            if settings == self._settings():
                result[epoch] = winners
        return result

    def _log(
        self, trainer: Trainer, epoch: int, layer: str, now: Winners, before: Winners | None
    ) -> None:
        step, jumps = trainer.global_step, find_jumps(now, before)
        sheet = _sheet(
            f"{layer} after epoch {epoch}", {epoch: now}, jumps[now.channels, None], STRIP
        )
        for writer in tensorboard_writers(trainer):
            writer.add_image(f"evolution/{layer}", sheet, step, dataformats="HWC")
            if before is None:
                continue
            writer.add_scalar(f"evolution_changed/{layer}", jumps.double().mean().item(), step)
            drawn = [channel for channel in now.channels.tolist() if jumps[channel]]
            if drawn:
                lines = [printable(f"channel {c}: {before.ids[c]} → {now.ids[c]}") for c in drawn]
                writer.add_text(f"evolution_jumps/{layer}", "  \n".join(lines), step)

    def _draw(self, layer: str, winners: dict[int, Winners]) -> None:
        pairs = zip(winners.values(), [None, *winners.values()], strict=False)
        jumps = torch.stack([find_jumps(now, before)[now.channels] for now, before in pairs], dim=1)
        searched = max(now.searched for now in winners.values())
        title = f"{layer}: the strongest activation among {searched:,} images"
        save_png(_sheet(title, winners, jumps, FIGURE), self.folder / "evolution" / f"{layer}.png")


def _sheet(title: str, winners: dict[int, Winners], jumps: Tensor, width: int) -> Tensor:
    """Figure 4 of winners by epoch, with a red frame at `jumps` (M, E)."""
    projections = torch.cat([each.projections.float() for each in winners.values()], dim=1)
    patches = torch.cat([each.patches.float() for each in winners.values()], dim=1) / 255
    channels = next(iter(winners.values())).channels.tolist()
    return evolution_sheet(title, list(winners), channels, projections, patches, jumps, width)
