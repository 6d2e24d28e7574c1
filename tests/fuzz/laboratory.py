"""What the fuzz tests need: commands that run, and runs and searches that were stopped."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torchvision.models import squeezenet1_1

from tests.fuzz.commands import NARROW_RUN, Case
from tests.fuzz.damage import Kept
from tests.helpers.commands import Commands, Ended
from tests.helpers.made_data import write_photos
from zfnet import progress_file
from zfnet.data import Creatures
from zfnet.model_on_data import ModelOnData
from zfnet.studies import layer_probe, overlap
from zfnet.studies.run import LOADERS, build_analysis

SECONDS = 60  # of processor time that a command may take
PATIENCE = 600  # seconds until it is killed, on a machine that is busy with other work
# Damages that count only where a checkpoint is trained on.
UNUSED = frozenset(
    f"{how} {key}"
    for how in ("without", "a number for")
    for key in ("epoch", "global_step", "pytorch-lightning_version")
)


class Laboratory:
    """A folder with everything, made when it is asked for."""

    def __init__(
        self, folder: Path, composed: Callable[..., DictConfig], commands: Commands
    ) -> None:
        self.folder, self.composed, self.commands = folder, composed, commands

    def run(self, case: Case) -> Ended:
        """How a command line ends."""
        return self.commands.run(case.script, case.words, PATIENCE)

    def make(self, script: str, *words: str) -> None:
        done = self.run(Case(script, (f"data.store_dir={self.stores}", *words)))
        assert done.status == 0, done

    @property
    def stores(self) -> Path:
        return self.folder / "lab" / "stores"

    @cached_property
    def photos(self) -> Path:
        """Images in the layout of data=folder."""
        return write_photos(self.folder / "photos", train=16, val=8)

    @cached_property
    def trained(self) -> Path:
        """The folder of a finished run with all that callbacks write."""
        self.make("train.py", *NARROW_RUN, f"hydra.run.dir={self.folder}/lab/run")
        return self.folder / "lab" / "run"

    @property
    def checkpoint(self) -> Path:
        return self.trained / "checkpoints" / "last.ckpt"

    @cached_property
    def lab(self) -> Path:
        """The folder of everything below, which each case of damage copies."""
        run, lab = self.trained, self.folder / "lab"
        few = [
            "data=creatures_few",
            "data.image_size=48",
            "data.batch_size=8",
            "data.images_per_class=5",
        ]
        transfer = ["transfer=frozen", f"ckpt={self.checkpoint}", "callbacks=[]"]
        self.make("train.py", *few, *transfer, f"hydra.run.dir={lab}/transfer")
        sweep = [
            *NARROW_RUN,
            "callbacks=[]",
            "seed=1,2",
            f"hydra.sweep.dir={lab}/sweep",
            "--multirun",
        ]
        self.make("train.py", *sweep)
        self.stopped_searches()
        unfinished = lab / "unfinished"
        shutil.copytree(run, unfinished)
        (unfinished / "result.json").unlink()
        (unfinished / "checkpoints" / "best_epoch_000.ckpt").unlink()
        torch.manual_seed(0)
        torch.save(squeezenet1_1(weights=None).state_dict(), lab / "squeezenet.pth")
        ids = Creatures(16, split="val", size=55).ids
        (lab / "boxes.csv").write_text(
            f"image,x0,y0,x1,y1\n{ids[0]},5,5,30,30\n{ids[1]},5,5,30,30\n"
        )
        parts = [
            f"{name},{part},{x},20" for name in ids[:4] for part, x in (("nose", 10), ("ear", 30))
        ]
        (lab / "parts.csv").write_text("\n".join(["image,part,x,y", *parts]) + "\n")
        train = Creatures(32, split="train", size=55).ids
        (lab / "exclude.csv").write_text(f"data_set,split,image\ncreatures,train,{train[0]}\n")
        return lab

    def stopped_searches(self) -> None:
        """Killed analyses of each kind that can go on."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(progress_file, "SAVED_EVERY", -1)
            patch.setattr("zfnet.analysis.overlap.ROWS", 8)
            for name, owner, function, after in (
                ("top_activations", ModelOnData, "preprocess", 2),
                ("overlap", overlap, "overlap_sheet", 0),
                ("layer_probe", layer_probe, "draw_probe", 0),
            ):
                config = self.composed(
                    *self.analysis_words(name), "data.batch_size=4", root="analyze"
                )
                analysis = build_analysis(config)
                given = LOADERS[analysis.takes](config)
                with stopped(patch, owner, function, after):
                    analysis.run(given, self.place(name))

    def analysis_words(self, name: str) -> list[str]:
        """The words of an analysis of this laboratory."""
        data = ["data.source.train=32", "data.source.val=16", f"data.store_dir={self.stores}"]
        own = {
            "top_activations": [*data, "layers=[conv1]", "channels=2", "k=2"],
            "overlap": [*data, "data.image_size=48"],
            "layer_probe": [
                *(
                    "data=creatures_few",
                    f"data.store_dir={self.stores}",
                    "images_per_class=[5]",
                    "folds=1",
                ),
                *("layers=[fc7]", "heads=[svm]", "C=[1,10]"),
            ],
        }[name]
        ckpt = [] if name == "overlap" else [f"ckpt={self.checkpoint}"]
        return [f"analysis={name}", *own, *ckpt]

    def place(self, name: str) -> Path:
        folder = self.folder / "lab" / name
        folder.mkdir()
        return folder

    def kept(self) -> list[Kept]:
        """Every kind of file that we read back."""
        at, lab = "{at}", self.lab
        store, out = f"data.store_dir={at}/stores", f"hydra.run.dir={at}/out"
        ckpt = f"ckpt={at}/run/checkpoints/last.ckpt"
        doctor = ("analysis=doctor", "layers=[conv1]", "images=2", "data.source.val=16", store, out)
        going = ("resume=true", *NARROW_RUN, f"hydra.run.dir={at}/unfinished", store)
        finished = ("resume=true", *NARROW_RUN, f"hydra.run.dir={at}/run", store)
        report = ("analysis=report", f"runs={at}/run", out)
        top, probe, overlap = (
            (*self.analysis_words(name), f"hydra.run.dir={at}/{name}")
            for name in ("top_activations", "layer_probe", "overlap")
        )
        made = (
            f"data.store_dir={self.stores}",
            *NARROW_RUN,
            "callbacks=[]",
            "seed=1,2",
        )  # the sweep's own words
        sweep = (*made, f"hydra.sweep.dir={at}/sweep", "--multirun")
        few = (
            "data=creatures_few",
            "data.image_size=48",
            "data.batch_size=8",
            "data.images_per_class=5",
        )
        frozen = ("transfer=frozen", "callbacks=[]", *few, ckpt, store, out)
        weights = (
            "model=torchvision",
            "model.name=squeezenet1_1",
            f"model.weights={at}/squeezenet.pth",
        )
        weights = (*weights, "data.image_size=64", "layers=[features.0]")
        missing = [f"without {key}" for key in list(squeezenet1_1().state_dict())[:4]]
        fresh = frozenset(missing)  # what a file does not hold starts fresh, and the log says so
        parts = ("draws=2", "permutations=9", "parts_side=48", "images=4")
        anew = (*NARROW_RUN, "callbacks=[]", store, out)
        looked = ("data.source.train=32", "data.source.val=16", ckpt, store, out)
        all_ = frozenset({"*"})
        ending = frozenset({"cut at 99 %"})  # a line's end, or what may have been all
        told = frozenset(  # for a reader of the file alone
            f"{how} {key}"
            for how in ("without", "null for", "a list for")
            for key in ("layer", "pool", "crops")
        )
        beside = frozenset(f"without val/{key}" for key in ("class_accuracy", "loss", "top5_error"))
        anew_written = frozenset(
            f"without {key}" for key in ("command", "script", "overrides", "machine")
        )
        files = [
            Kept("run/checkpoints/last.ckpt", "analyze.py", (*doctor, ckpt), UNUSED),
            # Or it starts anew, with a warning.
            Kept("unfinished/checkpoints/last.ckpt", "train.py", going, all_),
            Kept("run/result.json", "train.py", finished, beside),
            # The report names what it cannot read.
            Kept("run/result.json", "analyze.py", report, all_),
            Kept("run/history.json", "analyze.py", report, all_),
            Kept("run/.hydra/config.yaml", "analyze.py", report, all_),
            Kept("run/.hydra/hydra.yaml", "analyze.py", report, all_),
            Kept("unfinished/evolution/epoch_001.pt", "train.py", going),
            Kept("sweep/sweep.json", "train.py", sweep, anew_written),
            Kept("top_activations/search_0.pt", "analyze.py", top),
            Kept("layer_probe/probed_0.json", "analyze.py", probe),
            Kept("overlap/search.json", "analyze.py", overlap),
            Kept("overlap/search_train_0.pt", "analyze.py", overlap),
            Kept("overlap/train.small", "analyze.py", overlap, all_),  # made again
            Kept("squeezenet.pth", "analyze.py", (*doctor[:1], *weights, *doctor[2:]), fresh),
            Kept(
                "boxes.csv",
                "analyze.py",
                ("analysis=sanity", "k=2", "images=2", f"boxes={at}/boxes.csv", *looked),
                ending,
            ),
            Kept(
                "parts.csv",
                "analyze.py",
                ("analysis=correspondence", f"parts={at}/parts.csv", *parts, *looked),
                ending,
            ),
            Kept("exclude.csv", "train.py", (f"data.exclude={at}/exclude.csv", *anew), ending),
        ]
        names = ("index.json", "labels.npy", "ids.txt", "mean.npy", "images.u8")
        for name in names:
            # Pixels have no checksum.
            survives = frozenset({"random bytes"} if name == "images.u8" else ())
            place = next(
                p
                for p in self.stores.rglob(name)
                if "few" not in str(p) and "train" in p.parent.name
            )
            files.append(Kept(str(place.relative_to(lab)), "train.py", anew, survives))
        for suffix in ("json", "f32"):
            place = next(iter(sorted((lab / "features").rglob(f"*.{suffix}"))))
            survives = all_ if suffix == "f32" else ending | told  # too short: computed again
            files.append(Kept(str(place.relative_to(lab)), "train.py", frozen, survives))
        return files


@contextmanager
def stopped(patch: pytest.MonkeyPatch, owner: Any, name: str, after: int = 0) -> Iterator[None]:
    """A kill at the call of a function, after so many calls."""
    real, calls = getattr(owner, name), []

    def dying(*words: Any, **named: Any) -> Any:
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(name)
        return real(*words, **named)

    with patch.context() as inner:
        inner.setattr(owner, name, dying)
        try:
            yield
        except KeyboardInterrupt:
            return


def checksums(folder: Path) -> dict[str, str]:
    """A hash of every file below a folder, but for logs and the record of the command."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.suffix not in (".log", ".lock")
        and ".hydra" not in path.parts
        and "tfevents" not in path.name
    }
