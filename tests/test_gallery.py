"""The gallery is what its list says: commands that compose, figures, a page made from the list."""

import runpy
import shlex
from collections.abc import Callable

import pytest
from omegaconf import DictConfig
from PIL import Image

from tests.helpers.commands import ROOT
from zfnet.config import Analysis, Training, check_config
from zfnet.studies.run import complete_data

FOLDER = ROOT / "docs" / "gallery"
MAKE = runpy.run_path(str(FOLDER / "make.py"))
COMMANDS = sorted({c for figure in MAKE["FIGURES"] for c in (*figure.before, figure.command)})
MEGABYTES = 4.0  # of all figures


@pytest.mark.usefixtures("run_folder")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_composes(composed: Callable[..., DictConfig], command: str) -> None:
    _, script, *words = shlex.split(command)
    if script == "train.py":
        check_config(composed(*words), Training)
        return
    config = composed(*words, root="analyze")
    if config.ckpt is not None:
        config.data = composed("data=creatures").data
    complete_data(config)
    check_config(config, Analysis)


def test_every_figure_is_there_and_shown() -> None:
    page = (FOLDER / "index.md").read_text()
    files = [MAKE["image_file"](figure) for figure in MAKE["FIGURES"]]
    assert len(set(files)) == len(files)
    assert {path.name for path in FOLDER.glob("*.png")} == {path.name for path in files}
    for path in files:
        assert f"({path.name})" in page
        with Image.open(path) as image:
            image.verify()
            assert image.width <= MAKE["WIDTH"]
    assert sum(path.stat().st_size for path in files) < MEGABYTES * 2**20


def test_the_page_is_made_from_the_list() -> None:
    """`python docs/gallery/make.py --page` writes it."""
    assert (FOLDER / "index.md").read_text() == MAKE["page"]()
