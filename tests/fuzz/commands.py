"""Wrong command lines, made from the config's keys: each with each bad value, and bad grammar."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

EDITS = [*(f"conv{i}:{{channels:4}}" for i in range(1, 6)), "fc6:{units:8}", "fc7:{units:8}"]
NARROW = f"model.edit={{{','.join(EDITS)}}}"
DATA = ["data.source.train=32", "data.source.val=16", "data.image_size=48", "data.batch_size=8"]
FIT = ["trainer.max_epochs=1", "trainer.precision=32-true", "test=false"]
NARROW_RUN = [*DATA, *FIT, NARROW]

VALUES = [
    *(
        "null",
        "abc",
        "-1",
        "0",
        "1.5",
        "true",
        "1e999",
        "nan",
        "-inf",
        "[]",
        "{}",
        "[1,a]",
        "[null]",
        "''",
    ),
    *("999999999999999999999", "'1'", "üñí→", "x" * 400, "'${nope}'", "'${nope:}'", "'???'"),
    *("{file}/below", "{folder}", "{file}"),
]


@dataclass(frozen=True)
class Case:
    """A command line of one of the two scripts."""

    script: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.script} {' '.join(self.words)}"


def leaves(config: Any, prefix: str = "") -> Iterator[str]:
    """The keys of a composed config that hold values, not mappings; unresolved."""
    for key in config:
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key):
            yield f"{prefix}{key}"
        elif isinstance(config[key], DictConfig) and config[key]:
            yield from leaves(config[key], f"{prefix}{key}.")
        elif not isinstance(config[key], ListConfig) or prefix or key != "defaults":
            yield f"{prefix}{key}"


def bases(checkpoint: Path, photos: Path, stores: Path) -> list[Case]:
    """Small commands that work, one for each choice of a group that needs no download."""
    store, trained = f"data.store_dir={stores}", f"ckpt={checkpoint}"
    few = [
        "data=creatures_few",
        "data.image_size=48",
        "data.batch_size=8",
        "data.images_per_class=5",
    ]
    below = [f"data.root={photos}", "data.image_size=48", "data.batch_size=8"]
    train = [
        [*NARROW_RUN, "callbacks=[]"],
        NARROW_RUN,
        [*NARROW_RUN, "callbacks=[]", "recipe=paper"],
        [*DATA, *FIT, NARROW, "callbacks=[]", "model=alexnet"],
        [*DATA, *FIT, "callbacks=[]", "model=torchvision", "model.name=squeezenet1_1"],
        [*below, *FIT, NARROW, "callbacks=[]", "data=folder"],
        [*few, *FIT, "callbacks=[]", "transfer=frozen", trained],
        [*few, *FIT, "callbacks=[]", "transfer=scratch", trained],
    ]
    val = ["data.source.train=32", "data.source.val=16", "data.batch_size=8", trained]
    probe = ["data=creatures_few", "data.batch_size=8", "folds=1", "images_per_class=[5]", trained]
    analyze = [
        ["analysis=correspondence", *val, "images=4", "draws=2", "permutations=9"],
        ["analysis=doctor", *val, "images=4"],
        ["analysis=ensemble", *val],
        ["analysis=filters", *val, "channels=2"],
        [
            "analysis=invariance",
            *val,
            "images=2",
            "shifts=[0,4]",
            "scales=[1,1.5]",
            "angles=[0,90]",
        ],
        ["analysis=layer_probe", *probe, "layers=[fc7]", "C=[1,10]"],
        ["analysis=occlusion", *val, "images=1", "stride=12"],
        ["analysis=overlap", *val[:-1], "data.image_size=48"],
        ["analysis=report", f"runs={checkpoint.parents[1]}"],
        ["analysis=sanity", *val, "channels=1", "k=2", "images=4"],
        ["analysis=top_activations", *val, "channels=2", "k=2", "layers=[conv1,conv2]"],
    ]
    return [Case("train.py", (store, *words)) for words in train] + [
        Case("analyze.py", (store, *words)) for words in analyze
    ]


GRAMMAR = [
    *(
        "optimizer.lr=[",
        "optimizer.lr={a:",
        "optimizer.lr='",
        "=3",
        "optimizer.lr",
        "recipe..lr=1",
        "optimizer.lr==1",
    ),
    *("sead=1", "recipe.learning_rate=1", "data.batchsize=2", "trainer.epochs=3", "model.edt=null"),
    *(
        "+foo=1",
        "+recipe.nesterov=true",
        "+trainer.epochs=3",
        "+data.foo=1",
        "+model.depth=3",
        "++data.zap.b=1",
    ),
    *(
        "data=nothing",
        "model=zfnett",
        "recipe=[default,paper]",
        "data=null",
        "model=null",
        "recipe=null",
    ),
    *(
        "trainer=null",
        "datta=creatures",
        "ablation=remove_9",
        "callbacks=[progres]",
        "callbacks=progress.x",
    ),
    *(
        "transfer=frozzen",
        "experiment=none",
        "~data",
        "~recipe",
        "~trainer",
        "~data.batch_size",
        "~optimizer.lr",
    ),
    *(
        "~nothing",
        "~seed",
        "~model._target_",
        "~data.source",
        "@data=creatures",
        "data@x=creatures",
    ),
    *(
        "model.edit={conv9:null}",
        "model.edit={conv1:3}",
        "model.edit={conv1:{channels:abc}}",
        "model.edit=[]",
    ),
    *(
        "model.edit={conv1:{channels:-5}}",
        "model.edit={conv1:{mops:5}}",
        "model.edit={fc6:{units:-5}}",
    ),
    *("model.edit={fc8:null}", "model.edit={fc8:{units:3}}", "model.edit={fc6:{dropout:2}}"),
    *(
        "model.edit={fc6:{dropout:abc}}",
        "model.edit={conv1:{pool:3}}",
        "model.edit={conv1:{pool:{kernel:x}}}",
    ),
    *(
        "model.edit={conv2:{groups:3}}",
        "model.edit={conv1:{normalize:abc}}",
        "model.edit={1:null,a:null}",
    ),
    *(
        "model.edit={conv1:{kernel:999}}",
        "model.edit={fc6:{units:1.5}}",
        "model.edit={fc6:{activation:5}}",
    ),
    *(
        "data.image_size=8",
        "data.image_size=30",
        "data.classes=[nothing]",
        "data.classes=[]",
        "data.classes=[bear,bear]",
    ),
    *("model.architecture=resnet", "model.init=good", "model.input_norm=none", "data.crops=seven"),
    *(
        "trainer.accelerator=abacus",
        "trainer.devices=0",
        "trainer.strategy=abc",
        "trainer.precision=7",
    ),
    *(
        "+trainer.limit_train_batches=-1",
        "+trainer.gradient_clip_val=abc",
        "+trainer.max_time=soon",
    ),
    *(
        "+trainer.plugins=[abc]",
        "+trainer.profiler=abc",
        "+trainer.logger=abc",
        "+trainer.callbacks=3",
    ),
    *(
        "+callbacks.mine={a:1}",
        "+callbacks.mine._target_=no.such.Thing",
        "+callbacks.mine._target_=callbacks",
    ),
    *(
        "callbacks.best=3",
        "callbacks=3",
        "seed=1 2",
        "optimizer.lr=0.1,0.2",
        "name=[1]",
        "resume=maybe",
    ),
]


def wrong(
    bases: list[Case], composed: Callable[[Case], DictConfig], folder: Path, file: Path
) -> Iterator[Case]:
    """Every key, in the first base that has it, with every bad value; then bad grammar, on the
    first base."""
    done = set()
    for base in bases:
        for key in leaves(composed(base)):
            if (base.script, key) in done:
                continue
            done.add((base.script, key))
            for value in VALUES:
                if (key, value[:3]) == ("trainer.max_epochs", "999"):
                    continue  # is taken at its word
                value = value.replace("{folder}", str(folder)).replace("{file}", str(file))
                yield Case(base.script, (*base.words, f"++{key}={value}"))
    for word in GRAMMAR:
        yield Case(bases[0].script, (*bases[0].words, word))


def sample(cases: list[Case], count: int, seed: int) -> list[Case]:
    """So many cases, drawn with a seed."""
    return random.Random(seed).sample(cases, min(count, len(cases)))
