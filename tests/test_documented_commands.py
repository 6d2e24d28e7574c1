"""Every command and Python example of README, docs and the configs' heads is run once.

The data is small.

It runs in a folder that holds what the commands name: photos, CKPT, parts.csv. Further words make
it small."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from torchvision.models import resnet18

from tests.helpers.commands import ROOT, Commands
from tests.helpers.made_atlas import MadeLayer, write_atlas
from tests.helpers.made_data import (
    paint,
    write_bands,
    write_caltech,
    write_imagenet,
    write_voc,
)
from tests.helpers.made_shards import (
    write_hugging_face,
    write_imagenet_tars,
    write_parquet,
    write_webdataset,
)
from zfnet.config import Training, check_config
from zfnet.data import Creatures
from zfnet.launch.command_line import normalize_words, read_arguments

COMMAND = re.compile(r"python (train|analyze)\.py((?: +(?!#)[^\s`;]+)*)")
ON_CLUSTERS = re.compile(r"(?:torchrun .*|python -u) +train\.py((?: +[^\s`;]+)*)")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
MODULE = re.compile(r"# (\w+\.py)\n")  # a Python example that is a file
PATTERN = re.compile(r"key=value|analysis=NAME")  # shows how commands are made
DATA_SETS = ("imagenet", "caltech101", "voc2012")

CREATURES = ["data.source.train=32", "data.source.val=8"]
TRAIN = ["data.image_size=48", "data.batch_size=4", "trainer=cpu", "+trainer.fast_dev_run=true"]
FEW = ["data.images_per_class=2", "data.fold=0"]
EDIT = [*(f"conv{i}:{{channels:16}}" for i in range(1, 6)), "fc6:{units:8}", "fc7:{units:8}"]
NARROW = f"model.edit={{{','.join(EDIT)}}}"
ANALYSES = {
    "atlas": ["k=2", "contrast=2", "layers=[conv1,conv5]", "data.source.val=16"],
    "correspondence": ["images=4", "draws=2", "permutations=9"],
    "doctor": ["images=4"],
    "ensemble": [],
    "filters": ["channels=2"],
    "invariance": ["images=2", "shifts=[0,4]", "scales=[1,1.5]", "angles=[0,90]"],
    "layer_probe": [
        "folds=1",
        "data.images_per_class=2",
        "images_per_class=[2]",
        "heads=[svm]",
        "layers=[fc7]",
    ],
    "occlusion": ["stride=24"],
    "layers": ["data.source.val=8"],
    "overlap": ["data.image_size=48"],
    "report": [],
    "sanity": ["k=2", "images=4"],
    "top_activations": ["channels=2", "k=2"],
}


def commands() -> list[tuple[str, str]]:
    """(script, words) of every command, once; of a sweep the first values."""
    texts = [page.read_text().replace("\\\n", " ") for page in PAGES]
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        lines = path.read_text().splitlines()
        texts.append("\n".join(line.removeprefix("#") for line in lines if line.startswith("#")))
    found = {
        (script, " ".join(words.split()))
        for text in texts
        for script, words in COMMAND.findall(text)
    }
    return sorted((script, re.sub(r",$", "", words.split(", ")[0])) for script, words in found)


def first_of_each_sweep(words: list[str]) -> list[str]:
    parsed = OverridesParser.create().parse_overrides(normalize_words(words)[0])
    return [
        f"{word.partition('=')[0]}={next(iter(each.sweep_string_iterator()))}"
        if each.is_sweep_override()
        else word
        for word, each in zip(words, parsed, strict=True)
    ]


def made_small(script: str, words: list[str]) -> list[str]:
    """Further words for a command of these."""
    given = dict(word.partition("=")[::2] for word in words if "=" in word)
    data, experiment = given.get("data", ""), given.get("experiment", "")
    tables = experiment in ("table4", "table5", "table6")
    here = "data.root" not in given and (tables or data in DATA_SETS)
    root = [f"data.root={'imagenet' if data == 'imagenet' else '.'}"] if here else []
    if script == "analyze":
        # Nothing is downloaded.
        weights = ["model.weights=null"] if given.get("model.weights") == "DEFAULT" else []
        return [*words, *root, *weights, *ANALYSES.get(given.get("analysis", ""), [])]
    words = [*words, "hydra.mode=RUN", *TRAIN, *root]
    if tables or experiment == "transfer_creatures":
        return [*words, "ckpt=CKPT", "transfer=frozen", *([] if experiment == "table6" else FEW)]
    small = [] if data or experiment == "paper_imagenet" else CREATURES
    return [
        *words,
        *small,
        *(
            [NARROW]
            if not {"ablation", "ckpt", "model.name", "model._target_"} & given.keys()
            else []
        ),
    ]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, commands: Commands) -> Path:
    """A folder with everything that a documented command names."""
    folder = tmp_path_factory.mktemp("world")
    places = [f"data.store_dir={folder}/stores", f"hydra.run.dir={folder}/outputs/train/demo"]
    fit = [
        "trainer.max_epochs=1",
        "data.image_size=48",
        "data.batch_size=8",
        NARROW,
        "callbacks=[checkpoint]",
    ]
    done = commands.run("train.py", [*places, *fit, "data.source.train=32", "data.source.val=480"])
    assert done.status == 0, done
    for name in ("CKPT", "A", "B", "C", "ALEXNET", "ZFNET"):
        shutil.copy(folder / "outputs/train/demo/checkpoints/last.ckpt", folder / name)
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            for number in range(4):
                paint(folder / "photos" / split / label / f"{number}.jpg", number, (80, 70))
    shutil.copytree(folder / "photos" / "train", folder / "flowers")
    shutil.copytree(folder / "photos", folder / "streets")
    write_bands(folder / "xrays", None)
    write_bands(folder / "fields", 4)
    paths = sorted(folder.glob("photos/*/*/*.jpg"))
    rows = [f"{path.relative_to(folder)},{path.parts[-2]},{path.parts[-3]}\n" for path in paths]
    (folder / "photos.csv").write_text("path,label,split\n" + "".join(rows))
    write_webdataset(folder / "shards", train=1, val=1)
    write_parquet(folder / "tables", ["cat", "dog"], train=8, val=4)
    write_hugging_face(folder / "pets", ["cat", "dog"], train=8, validation=4)
    write_imagenet_tars(folder / "ilsvrc2012", write_imagenet(folder / "imagenet"))
    write_voc(write_caltech(folder))
    (folder / "logs/sweeps/NAME").mkdir(parents=True)
    (folder / "logs/sweeps/NAME/sweep.json").write_text('{"jobs": []}')
    torch.manual_seed(0)
    torch.save(resnet18(weights=None).state_dict(), folder / "resnet18.pth")
    creatures = Creatures(480, split="val", size=55)
    dogs = [
        id_
        for id_, label in zip(creatures.ids, creatures.labels, strict=True)
        if label == creatures.classes.index("dog")
    ]
    parts = [f"{id_},{part},{x},20" for id_ in dogs[:4] for part, x in (("nose", 10), ("ear", 30))]
    (folder / "parts.csv").write_text("\n".join(["image,part,x,y", *parts]) + "\n")
    for example in (text for page in PAGES for text in PYTHON.findall(page.read_text())):
        if name := MODULE.match(example):
            (folder / name[1]).write_text(example)
    boxes = [f"{id_},5,5,30,30" for id_ in creatures.ids]
    write_atlas(folder / "outputs/analysis/demo", MadeLayer("conv5", 4))
    (folder / "BOXES.csv").write_text("\n".join(["image,x0,y0,x1,y1", *boxes]) + "\n")
    return folder


@pytest.mark.parametrize(
    ("script", "line"), [each for each in commands() if not PATTERN.search(each[1])]
)
def test_a_documented_command_runs(
    commands: Commands, world: Path, tmp_path: Path, script: str, line: str
) -> None:
    words = shlex.split(
        line.replace("=/data/", f"={world}/").replace("outputs/sweeps/table3_zfnet", "outputs")
    )
    if "sweep=status" in words:
        words = [*words, f"paths.log_dir={world}/logs"]
    elif line != "--help":
        places = [f"data.store_dir={world}/stores", f"hydra.run.dir={tmp_path}/out"]
        words = [word for word in words if word != "--multirun"]
        words = [*made_small(script, first_of_each_sweep(words)), *places]
    done = commands.run(f"{script}.py", words, folder=world)
    assert done.status == 0, done.output + done.errors


@pytest.mark.parametrize("line", [line for _, line in commands()])
def test_the_arguments_of_a_documented_command_are_read(line: str) -> None:
    """Options stand at the end: Hydra reads no override after one."""
    assert read_arguments(shlex.split(line))


@pytest.mark.parametrize(
    ("page", "number"),
    [(page.name, i) for page in PAGES for i in range(len(PYTHON.findall(page.read_text())))],
)
def test_a_python_example_runs(
    commands: Commands, world: Path, tmp_path: Path, page: str, number: int
) -> None:
    """As it stands, in a fresh process."""
    text = next(each for each in PAGES if each.name == page).read_text()
    (tmp_path / "example.py").write_text(PYTHON.findall(text)[number])
    done = commands.run(str(tmp_path / "example.py"), [], folder=world)
    assert done.status == 0, done


@pytest.mark.usefixtures("run_folder")
def test_a_command_for_several_machines_composes(composed: Callable[..., DictConfig]) -> None:
    lines = ON_CLUSTERS.findall("\n".join(page.read_text() for page in PAGES).replace("\\\n", " "))
    assert len(lines) > 1
    for line in lines:
        config = composed(*shlex.split(line))
        check_config(config, Training)
        assert config.trainer.num_nodes > 1


def test_commands_are_found() -> None:
    assert len(commands()) > 30
    assert ("train", "model=zfnet") in commands()
