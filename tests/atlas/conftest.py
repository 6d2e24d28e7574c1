"""A small atlas of an untrained net, made once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from zfnet.atlas.build import make_atlas
from zfnet.atlas.overview import Origin, Settings
from zfnet.atlas.pages import write_pages
from zfnet.model_on_data import ModelOnData
from zfnet.studies.inputs import load_model

SETTINGS = Settings(k=3, contrast=4)


@pytest.fixture(scope="session")
def small_model(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, composed: Callable[..., DictConfig]
) -> ModelOnData:
    """A narrow, untrained net before 14 creatures of 48 pixels."""
    stores = tmp_path_factory.getbasetemp() / "stores"
    words = [f"data.store_dir={stores}", "data.source.val=14", f"ckpt={checkpoint}"]
    return load_model(composed(*words, root="analyze"))


@pytest.fixture(scope="session")
def small_atlas(small_model: ModelOnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its pages."""
    folder = tmp_path_factory.mktemp("atlas")
    overview = make_atlas(small_model, folder / "net_1", Origin("small"), SETTINGS)
    write_pages(folder, [overview], compare=False)
    return folder
