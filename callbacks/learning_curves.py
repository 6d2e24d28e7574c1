"""Loss and errors by epoch, as numbers and as curves.

Trainer(callbacks=[LearningCurves("outputs/run")])
"""

import logging
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from zfnet.io import save_json
from zfnet.viz import draw_curves

log = logging.getLogger(__name__)


class LearningCurves(Callback):
    """Logs a line per epoch, and writes `history.json` and `curves.png`.

    The history is every epoch-level metric of `train/` and `val/`. It is part of the checkpoint, so
    that a resumed run draws the whole curve.

    Args:
        folder: where the files are written.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.history: list[dict[str, float]] = []
        self._validated = False  # in this epoch

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = list(state_dict["history"])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = not trainer.sanity_checking

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        own = ("train/", "val/") if self._validated else ("train/",)
        values = {
            k: v.item() for k, v in sorted(trainer.callback_metrics.items()) if k.startswith(own)
        }
        self._validated = False
        self.history.append({"epoch": trainer.current_epoch + 1, **values})
        save_json(self.folder / "history.json", self.history)
        draw_curves(self.history, self.folder / "curves.png")
        errors = "  ".join(f"{k} {v:.1%}" for k, v in values.items() if k.endswith("error"))
        log.info("epoch %d of %s: %s", trainer.current_epoch + 1, trainer.max_epochs, errors)
