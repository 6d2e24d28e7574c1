"""How features form during training (Figure 4): what excites a map most, epoch by epoch.

    Trainer(callbacks=[FeatureEvolution("outputs/run")])                    # every epoch
    FeatureEvolution("outputs/run", epochs=[1, 2, 5, 10, 20, 30, 40, 64])   # the paper's

After each of these epochs the strongest activation of every map is searched for, over the training set or a
`share` of it. Where another picture wins than at the evaluation before, the map has jumped: such are the sudden
changes that the paper sees, and lower layers come to rest first. In TensorBoard, per layer:

    evolution/<layer>            a strip of `maps` maps, chosen once: projection above image patch
    evolution_changed/<layer>    the share of all maps that jumped
    evolution_jumps/<layer>      which of the drawn ones did: "map 12: n0123.JPEG → n0456.JPEG"
    evolution_seconds            what the evaluation cost

and in the folder at the end `evolution/<layer>.png`, the figure, and `evolution.json`. Each evaluation is a
file, `evolution/epoch_005.pt`, and nothing else is kept: a resumed run goes on from the files before it.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.feature_search import project, resolve_layers, search, writers
from zfnet.deconv import TopActivations, random_subset
from zfnet.errors import InputError, printable
from zfnet.io import read_torch, save_json, save_torch, writing
from zfnet.viz import evolution_sheet, save_png

PAPER = (1, 2, 5, 10, 20, 30, 40, 64)  # the epochs of Figure 4
COLUMNS = 10  # of a figure
STRIP, FIGURE = 1200, 1600  # pixels across
REMEDY = "delete it to leave its epoch out"

# One layer at one epoch: all maps' winners as "ids", "values", "y" and "x" among so many pictures "searched"; the
# "maps" drawn, their "pictures" and "patches" (M, 1, 3, h, w).
Winners = dict[str, Any]


def columns(epochs: Sequence[int]) -> list[int]:
    """The epochs that a figure has room for: all, or the paper's and the last, or else evenly spaced ones."""
    if len(epochs) <= COLUMNS:
        return list(epochs)
    paper = [epoch for epoch in epochs if epoch in PAPER or epoch == epochs[-1]]
    if len(paper) > 4:
        return paper
    return [epochs[round(i * (len(epochs) - 1) / (COLUMNS - 1))] for i in range(COLUMNS)]


def jumped(now: Winners, before: Winners | None) -> Tensor:
    """Of all maps, whether another picture wins than before: bool."""
    if before is None:
        return torch.zeros(len(now["ids"]), dtype=torch.bool)
    return torch.tensor([a != b for a, b in zip(now["ids"], before["ids"], strict=True)])


def _changed(now: Winners, before: Winners | None) -> float | None:
    """The share of maps that jumped."""
    return None if before is None else jumped(now, before).double().mean().item()


def _sheet(title: str, winners: dict[int, Winners], jumps: Tensor, width: int) -> Tensor:
    """Figure 4 of winners by epoch, a red frame at `jumps` (M, E)."""
    first = next(iter(winners.values()))
    pictures, patches = (
        torch.cat([one[name].float() for one in winners.values()], dim=1) for name in ("pictures", "patches")
    )
    maps = first["maps"].tolist()
    return evolution_sheet(title, list(winners), maps, pictures, patches / 255, jumps, width)


class FeatureEvolution(Callback):
    """Figure 4 of a run, and its numbers, into `folder`.

    `epochs` count from 1; None is every one. `layers=None` is every convolutional stage of a ConvNet, and up to
    five convolutions of another net. Raises InputError on bad arguments, and before training on unknown layers.
    """

    def __init__(
        self,
        folder: str,
        layers: Sequence[str] | None = None,
        maps: int = 8,
        epochs: Sequence[int] | None = None,
        share: float = 1.0,
    ) -> None:
        if layers is not None and not layers:
            raise InputError("feature_evolution.layers is empty: null is all convolutional layers")
        if maps < 1:
            raise InputError(f"feature_evolution.maps={maps}: must be at least 1")
        if epochs is not None and (not epochs or min(epochs) < 1):
            raise InputError(f"feature_evolution.epochs={list(epochs)}: give epochs from 1, or null for all")
        if not 0 < share <= 1:
            raise InputError(f"feature_evolution.share={share}: must be above 0 and at most 1")
        self.folder = Path(folder)
        self.layers = None if layers is None else list(layers)
        self.maps, self.share = maps, share
        self.epochs = None if epochs is None else set(epochs)
        self._layers: list[str] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._layers = resolve_layers(trainer, pl_module, self.layers)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if not self._layers or not self._is_due(epoch):
            return
        start = time.perf_counter()
        found = search(trainer, pl_module, "train", self._layers, k=1, share=self.share)
        if not trainer.is_global_zero:
            return
        if found is None:
            self._path(epoch).unlink(missing_ok=True)  # a resumed run may repeat an epoch
            return
        winners = {layer: self._winners(trainer, pl_module, layer, found) for layer in self._layers}
        self._write(epoch, winners)
        before = next(reversed(self._evaluations(epoch - 1).values()), {})
        for layer, now in winners.items():
            self._log(trainer, epoch, layer, now, before.get(layer))
        for writer in writers(trainer):
            writer.add_scalar("evolution_seconds", time.perf_counter() - start, trainer.global_step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the figures; also where a run was killed just before and only its end is made up for."""
        evaluations = self._evaluations(trainer.current_epoch) if trainer.is_global_zero else {}
        if not evaluations:
            return
        story: dict[str, list[dict[str, Any]]] = {}
        for layer in self._layers:
            winners = {epoch: evaluation[layer] for epoch, evaluation in evaluations.items()}
            self._draw(layer, {epoch: winners[epoch] for epoch in columns(list(winners))})
            story[layer] = _story(winners)
        save_json(self.folder / "evolution.json", story)

    def _is_due(self, epoch: int) -> bool:
        return self.epochs is None or epoch in self.epochs

    def _winners(
        self, trainer: Trainer, pl_module: LightningModule, layer: str, found: TopActivations
    ) -> Winners:
        """A picture is kept as it is drawn, on its own scale: in float16, whose steps are then at most 1/2048,
        a sixteenth of a grey level; a patch as the bytes it comes from."""
        ids = trainer.datamodule.images["train"].ids  # type: ignore[attr-defined]
        top = found[layer]
        maps = random_subset(len(top.values), self.maps)
        pictures, patches = project(trainer, pl_module, "train", layer, top.select(maps), maps)
        largest = pictures.abs().amax((2, 3, 4), keepdim=True)
        return {
            "ids": [ids[index] for index in top.images[:, 0].tolist()],
            "values": top.values[:, 0].float(),
            "y": top.y[:, 0],
            "x": top.x[:, 0],
            "searched": found.seen,
            "maps": maps,
            "pictures": (pictures / largest.clamp(min=torch.finfo(torch.float32).tiny)).half(),
            "patches": (patches * 255).round().to(torch.uint8),
        }

    def _path(self, epoch: int) -> Path:
        return self.folder / "evolution" / f"epoch_{epoch:03d}.pt"

    def _settings(self) -> dict[str, Any]:
        """What evaluations must share to be compared."""
        return {"layers": self._layers, "maps": self.maps, "share": self.share}

    def _write(self, epoch: int, winners: dict[str, Winners]) -> None:
        path = self._path(epoch)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        save_torch(path, {"settings": self._settings(), "winners": winners})

    def _evaluations(self, last: int) -> dict[int, dict[str, Winners]]:
        """Every layer's winners by epoch, in order, up to epoch `last`; what a resumed run will repeat is later."""
        paths = (self.folder / "evolution").glob("epoch_*.pt")
        files = {int(path.stem.removeprefix("epoch_")): path for path in paths}
        result = {}
        for epoch in sorted(epoch for epoch in files if epoch <= last and self._is_due(epoch)):
            settings, winners = read_torch(files[epoch], REMEDY, _evaluation, mapped=True)
            if settings == self._settings():
                result[epoch] = winners
        return result

    def _log(self, trainer: Trainer, epoch: int, layer: str, now: Winners, before: Winners | None) -> None:
        step, maps, jumps = trainer.global_step, now["maps"].tolist(), jumped(now, before)
        sheet = _sheet(f"{layer} after epoch {epoch}", {epoch: now}, jumps[now["maps"], None], STRIP)
        for writer in writers(trainer):
            writer.add_image(f"evolution/{layer}", sheet, step, dataformats="HWC")
            if before is None:
                continue
            writer.add_scalar(f"evolution_changed/{layer}", _changed(now, before), step)
            lines = [printable(f"map {m}: {before['ids'][m]} → {now['ids'][m]}") for m in maps if jumps[m]]
            if lines:
                writer.add_text(f"evolution_jumps/{layer}", "  \n".join(lines), step)

    def _draw(self, layer: str, winners: dict[int, Winners]) -> None:
        befores = [None, *winners.values()]
        jumps = [
            jumped(now, before)[now["maps"]] for now, before in zip(winners.values(), befores, strict=False)
        ]
        searched = max(now["searched"] for now in winners.values())
        title = f"{layer}: the strongest activation among {searched:,} pictures"
        sheet = _sheet(title, winners, torch.stack(jumps, dim=1), FIGURE)
        save_png(sheet, self.folder / "evolution" / f"{layer}.png")


def _evaluation(content: Any) -> tuple[dict[str, Any], dict[str, Winners]]:
    """The settings and the winners of an evaluation's file; ValueError where it is none."""
    for layer in content["settings"]["layers"]:
        one = content["winners"][layer]
        count, drawn = len(one["ids"]), len(one["maps"])
        shapes = {
            "values": (count,),
            "y": (count,),
            "x": (count,),
            "maps": (drawn,),
            "pictures": (drawn, 1, 3, *one["pictures"].shape[3:]),
            "patches": (drawn, 1, 3, *one["pictures"].shape[3:]),
        }
        for name, shape in shapes.items():
            if one[name].shape != shape:
                raise ValueError(f"{name} of {layer} are {tuple(one[name].shape)}, not {shape}")
        if not (one["values"].isfinite().all() and one["maps"].min() >= 0 and one["maps"].max() < count):
            raise ValueError(f"the values or maps of {layer} are out of range")
        if not (all(isinstance(id_, str) for id_ in one["ids"]) and type(one["searched"]) is int):
            raise ValueError(f"the ids of {layer} are no strings")
    return content["settings"], content["winners"]


def _story(winners: dict[int, Winners]) -> list[dict[str, Any]]:
    """For each epoch the share of maps that changed, and the winner of each map that is drawn."""
    story, before = [], None
    for epoch, now in winners.items():
        drawn = {
            m: {
                "image": now["ids"][m],
                "y": int(now["y"][m]),
                "x": int(now["x"][m]),
                "value": float(now["values"][m]),
            }
            for m in now["maps"].tolist()
        }
        story.append({"epoch": epoch, "changed": _changed(now, before), "maps": drawn})
        before = now
    return story
