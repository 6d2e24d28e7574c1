"""What the tests share: one thread, one Hydra set-up, and a training run of a few kilobytes."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hypothesis import settings
from lightning import LightningDataModule, Trainer
from omegaconf import DictConfig

from tests.helpers.commands import Commands
from tests.helpers.learning import learning
from tests.helpers.train_command import command, common_words, photos, start  # noqa: F401
from zfnet.data import Creatures
from zfnet.data.batches import Augmentation, Batches
from zfnet.data.datasets import Arrays
from zfnet.data.image_store import ImageStore
from zfnet.launch.command_line import normalize_words
from zfnet.launch.project import config_folder
from zfnet.launch.resolvers import register_resolvers
from zfnet.models import Conv, ConvNet, Linear, Pool
from zfnet.training import build
from zfnet.training.classifier import Classifier

torch.set_num_threads(1)
settings.register_profile("suite", deadline=None, derandomize=True)  # no timed tests, no luck
settings.load_profile("suite")

STORED, CROP = 12, 8
TABLE = {
    "conv1": Conv(4, kernel=3, pool=Pool(3, 2), normalize=True),
    "fc2": Linear(8, dropout=0.5),
    "fc3": Linear(activation=False),
}


def pytest_configure(config: pytest.Config) -> None:
    # Lightning 2.6 asks newer torch for a deprecated name, in its own module.
    config.addinivalue_line(
        "filterwarnings", r"ignore:`isinstance\(treespec, LeafSpec\):FutureWarning:lightning"
    )


def memory_images(count: int, size: int = STORED, classes: int = 3, seed: int = 0) -> ImageStore:
    """Seeded noise as a store that lives in memory."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, size, size, 3), generator=generator, dtype=torch.uint8)
    mean = (
        pixels.float().mean(0).permute(2, 0, 1).contiguous()
        if count
        else torch.zeros(3, size, size)
    )
    names = [f"class {number}" for number in range(classes)]
    ids = [str(number) for number in range(count)]
    return ImageStore(Path("memory"), ids, names, torch.arange(count) % classes, mean, size, pixels)


class TinyData(LightningDataModule):
    """12 training pictures in batches of 4, 7 for validation."""

    def __init__(self, classes: int = 3, batch_size: int = 4) -> None:
        super().__init__()
        self.images = {
            "train": memory_images(12, classes=classes),
            "val": memory_images(7, classes=classes, seed=1),
        }
        self.sources = {
            split: Arrays(
                "noise", store.classes, store.ids, store.labels.tolist(), store.images.numpy()
            )
            for split, store in self.images.items()
        }
        self.batch_size = batch_size

    def train_dataloader(self) -> Batches:
        return Batches(
            self.images["train"], CROP, self.batch_size, Augmentation(STORED, CROP, random=True)
        )

    def val_dataloader(self) -> Batches:
        return self.ordered("val")

    def ordered(self, split: str) -> Batches:
        return Batches(self.images[split], CROP, self.batch_size)

    test_dataloader = val_dataloader


@pytest.fixture(scope="session", name="memory_images")
def _memory_images() -> Callable[..., ImageStore]:
    return memory_images


@pytest.fixture
def tiny_data() -> Callable[..., TinyData]:
    return TinyData


@pytest.fixture
def tiny_classifier() -> Callable[..., Classifier]:
    def make(classes: int = 3, **given: Any) -> Classifier:
        how = {
            key: given.pop(key) for key in inspect.signature(learning).parameters if key in given
        }
        torch.manual_seed(5)
        net = ConvNet(TABLE, classes, CROP, init="he")
        names = [f"class {number}" for number in range(classes)]
        return Classifier(
            net, STORED, CROP, names, **{"input_norm": "unit", **learning(**how), **given}
        )

    return make


@pytest.fixture
def tiny_trainer() -> Callable[..., Trainer]:
    def make(**options: Any) -> Trainer:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        fixed = {
            "accelerator": "cpu",
            "devices": 1,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
        }
        return Trainer(**{**quiet, **fixed, "max_epochs": 1, **options})

    return make


@pytest.fixture(scope="session")
def composed() -> Iterator[Callable[..., DictConfig]]:
    """`composed("model=alexnet", ...)` is the config that `python train.py model=alexnet ...` gets;
    with root="analyze" that of analyze.py, with whole=True Hydra's own part, too."""
    register_resolvers()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield lambda *overrides, root="train", whole=False: compose(
            root, normalize_words(overrides)[0], return_hydra_config=whole
        )


@pytest.fixture(scope="module")
def run_folder(composed: Callable[..., DictConfig]) -> Iterator[None]:
    """Gives ${hydra:runtime.output_dir} of a composed config a value."""
    HydraConfig.instance().set_config(composed("hydra.runtime.output_dir=/run", whole=True))
    yield
    HydraConfig.instance().cfg = None


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory that stays empty."""
    folder = tmp_path_factory.mktemp("elsewhere")
    yield folder
    assert not list(folder.iterdir())


@pytest.fixture(scope="session")
def commands(elsewhere: Path) -> Iterator[Commands]:
    """Runs train.py and analyze.py."""
    made = Commands(elsewhere)
    yield made
    made.close()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow, untrained ZFNet for creatures of 48 pixels, cut from 55, saved as train.py
    saves."""
    torch.manual_seed(3)
    edit = {
        **{f"conv{i}": {"channels": 8} for i in range(1, 6)},
        "fc6": {"units": 16},
        "fc7": {"units": 16},
    }
    words = {"architecture": "zfnet", "edit": edit, "init": "he", "input_norm": "unit"}
    model = {"_target_": "zfnet.models.convnet", **words}
    card = {"model": model, "classes": list(Creatures.classes), "image_size": 48, "store_size": 55}
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    torch.save({"model_config": card, "state_dict": build(card).state_dict()}, path)
    return path


@pytest.fixture(autouse=True)
def _leave_the_generator_alone() -> Iterator[None]:
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)
