"""Runs notebooks and stores their outputs in them: `make notebooks`.

`python docs/notebooks/execute.py NOTEBOOK [LINE ...]` runs one. Each LINE of Python, such as
`weights="w.pth"`, runs after the cell with the parameters; it is not stored."""

import base64
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

HERE = Path(__file__).parent
COLORS = 256
TIMEOUT = 3600  # seconds that a cell may take


def execute(path: Path, folder: Path, lines: Sequence[str] = ()) -> NotebookNode:
    """Runs every cell of a notebook in a fresh kernel.

    Args:
        path: the notebook. Its cell with the tag `parameters` holds the parameters.
        folder: the working directory.
        lines: Python that runs after the parameters.

    Returns:
        The notebook with its outputs.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    parameters = next(
        cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])
    )
    given = parameters.source
    parameters.source = "\n".join([given, *lines])
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    parameters.source = given
    return notebook


def small_png(png: str) -> str:
    """A PNG in base64, with a palette."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        small, out = image.convert("RGB").quantize(COLORS), io.BytesIO()
    small.save(out, "png", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def store(path: Path, lines: Sequence[str]) -> None:
    """Runs a notebook and writes it back, with small images and without the times of its cells."""
    notebook = execute(path, HERE, lines)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                output.data["image/png"] = small_png(png)
    notebook.metadata = {
        "kernelspec": notebook.metadata.kernelspec,
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)


if __name__ == "__main__":
    name, *given = sys.argv[1:]
    store(Path(name), given)
