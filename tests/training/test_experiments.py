"""Every experiment of conf/ runs: one batch of a few small images, a narrow net."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tests.helpers.made_data import write_caltech, write_imagenet, write_voc
from zfnet.launch.project import config_folder
from zfnet.training.fit import train

EXPERIMENTS = sorted(path.stem for path in (config_folder() / "experiment").glob("*.yaml"))
NARROW = (
    "model.edit={"
    + ",".join(f"conv{i}:{{channels:4}}" for i in range(1, 6))
    + ",fc6:{units:8},fc7:{units:8}}"
)
CREATURES = ["data.source.train=32", "data.source.val=8"]
SMALL = ["data.image_size=48", "data.batch_size=4", "trainer=cpu", "+trainer.fast_dev_run=true"]
FEW = ["data.images_per_class=2", "data.fold=0"]

# What each needs to be small; {root} is where tiny data sets in the layouts of the real ones lie.
WORDS = {
    "demo": [*CREATURES, NARROW],
    "paper_imagenet": ["data.root={root}/imagenet", NARROW],
    "pretrain_creatures": [*CREATURES],
    "table3_alexnet": [*CREATURES, NARROW],
    "table3_zfnet": [*CREATURES, NARROW],
    "table4": ["data.root={root}", "ckpt={checkpoint}", *FEW],
    "table5": ["data.root={root}", "ckpt={checkpoint}", *FEW],
    "table6": ["data.root={root}", "ckpt={checkpoint}"],
    "transfer_creatures": ["ckpt={checkpoint}", "data.classes=[bear,bird]", *FEW],
}
METHODS = {
    "table4": ["frozen", "scratch"],
    "table5": ["frozen", "scratch"],
    "transfer_creatures": ["frozen", "scratch"],
}
CASES = [(name, f"transfer={method}") for name in EXPERIMENTS for method in METHODS.get(name, [])]
CASES += [(name, "seed=1") for name in EXPERIMENTS if name not in METHODS]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data")
    write_imagenet(place / "imagenet")
    write_voc(write_caltech(place))
    return place


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[Callable[..., DictConfig]]:
    """The config of a run in `tmp_path`, known to Hydra as in a run of train.py."""

    def make(*words: str) -> DictConfig:
        cfg = compose(
            "train", [*words, f"data.store_dir={tmp_path / 'stores'}"], return_hydra_config=True
        )
        cfg.hydra.runtime.output_dir = str(tmp_path / "run")
        HydraConfig.instance().set_config(cfg)
        return cfg

    (tmp_path / "run").mkdir()
    yield make
    HydraConfig.instance().cfg = None


@pytest.mark.usefixtures("composed")  # Hydra is set up
@pytest.mark.filterwarnings("ignore")  # Lightning's advice on loaders and loggers
@pytest.mark.parametrize(("name", "word"), CASES)
def test_an_experiment_runs(
    configured: Callable[..., DictConfig],
    checkpoint: Path,
    root: Path,
    tmp_path: Path,
    name: str,
    word: str,
) -> None:
    words = [
        each.replace("{root}", str(root)).replace("{checkpoint}", str(checkpoint))
        for each in WORDS[name]
    ]
    cfg = configured(f"experiment={name}", *SMALL, *words, word)
    assert math.isfinite(train(cfg, tmp_path / "run"))


def test_no_experiment_is_left_out() -> None:
    assert sorted(WORDS) == EXPERIMENTS
