"""What a finished run leaves: `result.json`, whole or not at all, and the lines that say where all of it is.

    finish({"val/top1_error": 0.075, "seconds": 250.0}, folder)
    read_result(folder)                                   # the same numbers, or None

A run is finished when this file is there. Errors and accuracies are fractions: `val/` is the centre crop,
`test/` the mean of the paper's ten, `trained/` the finished net on its own training pictures.
"""

import json
import logging
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from zfnet.data.store_files import save

log = logging.getLogger(__name__)


def read_result(folder: Path) -> dict[str, Any] | None:
    """A finished run's numbers; None when it is not finished."""
    path = folder / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


@rank_zero_only
def finish(result: dict[str, Any], folder: Path) -> None:
    """Writes the numbers and logs the errors and what lies in `folder`."""
    save(folder / "result.json", (json.dumps(result, indent=1) + "\n").encode())
    lines = [f"validation top-1 error {result['val/top1_error']:.1%}"]
    if "val/top5_error" in result:
        lines[0] += f", top-5 {result['val/top5_error']:.1%}"
    if "test/top1_error" in result:
        lines[0] += f"; ten crops: top-1 {result['test/top1_error']:.1%}"
    if "trained/top1_error" in result:
        lines[0] += f"; training pictures: top-1 {result['trained/top1_error']:.1%}"
    lines.append(f"TensorBoard: tensorboard --logdir {folder} --samples_per_plugin images=1000")
    written = sorted(path for path in folder.rglob("*") if path.suffix in (".ckpt", ".png", ".json"))
    lines.append(f"in {folder}: {', '.join(str(path.relative_to(folder)) for path in written)}")
    log.info("\n".join(lines))
