"""The atlas: a static site of everything that one or two networks have learned.

    python analyze.py analysis=atlas ckpt=outputs/train/demo/checkpoints/last.ckpt
    python analyze.py analysis=atlas ckpt=[A,B]

`index.html` opens by a double click. `net_1` has all values and images as files, which
`zfnet.atlas.load` reads. With two networks their channels are compared. Safe to interrupt:
resume=true continues, and starts anew if the network or the images have changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zfnet import ranks
from zfnet.atlas.build import make_atlas
from zfnet.atlas.comparison import compare_networks
from zfnet.atlas.overview import Origin, Settings
from zfnet.atlas.pages import write_pages
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.studies import Analysis
from zfnet.training.checkpoint import read_checkpoint
from zfnet.validation import Count, Seed, Whole


@dataclass
class AtlasStudy(Analysis):
    """Makes the atlas; see conf/analysis/atlas.yaml for the fields."""

    layers: Sequence[str] | None
    k: Count
    contrast: Whole
    occlusion: bool
    seed: Seed
    split: str
    ckpt: Any
    model: dict[str, Any] | None = None
    takes = "models"
    shares = True

    def run(self, models: list[ModelOnData], folder: Path) -> None:
        if len(models) > 2:
            raise InputError(
                f"ckpt={self.ckpt}: an atlas shows one network or two, not {len(models)}"
            )
        settings = Settings(self.k, self.contrast, self.seed, self.occlusion)
        overviews = [
            make_atlas(model, folder / f"net_{number}", origin, settings, self.layers)
            for number, (model, origin) in enumerate(
                zip(models, self._origins(), strict=True), start=1
            )
        ]
        if not ranks.is_first():
            return
        if len(overviews) == 2:
            compare_networks(folder, overviews, self.seed)
        write_pages(folder, overviews, compare=len(overviews) == 2)

    def _origins(self) -> list[Origin]:
        """What the networks are called: their runs' names, with the file's if the run is the
        same."""
        if self.ckpt is None:
            name = (self.model or {}).get("name") or (self.model or {}).get("class_path")
            return [Origin(str(name or "network"), self.split)]
        paths = [Path(each) for each in ([self.ckpt] if isinstance(self.ckpt, str) else self.ckpt)]
        runs = [path.absolute().parent.parent.name for path in paths]
        same = len(set(runs)) < len(runs)
        return [
            Origin(f"{run}, {path.stem}" if same else run, self.split, path, epochs_seen(path))
            for run, path in zip(runs, paths, strict=True)
        ]


def epochs_seen(path: Path) -> int | None:
    """The epoch of training, from 1, at which a checkpoint was saved, if it says so."""
    epoch = read_checkpoint(path).get("epoch")
    return epoch + 1 if type(epoch) is int else None
