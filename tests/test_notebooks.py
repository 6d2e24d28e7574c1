"""The notebooks of the documentation run, on little data; what they store is what they show."""

import runpy
from pathlib import Path

import nbformat
import pytest

from tests.helpers.commands import ROOT, environment

FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TINY = {
    "from_alexnet_to_zfnet": "train_images, val_images, epochs = 64, 24, 1",
    "what_excites_this_unit": "weights, count = None, 24",  # random weights: nothing is downloaded
}
MEGABYTES = 1.0  # of a notebook with its outputs


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a fresh kernel; nothing of it is a warning."""
    for name, value in environment(1).items():
        monkeypatch.setenv(name, value)
    execute = runpy.run_path(str(FOLDER / "execute.py"))["execute"]
    notebook = execute(path, tmp_path, [TINY[path.stem]])
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output.text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_stores_what_it_shows(path: Path) -> None:
    """Every cell has been run, in order, and the file is small."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any("image/png" in each.get("data", {}) for cell in cells for each in cell.outputs)
    assert path.stat().st_size < MEGABYTES * 2**20
