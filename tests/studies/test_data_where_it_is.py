"""Lists, archives and tables: from the files to a net, and again from the net to the files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.commands import Commands
from tests.helpers.made_data import write_photos
from tests.helpers.made_shards import write_hugging_face, write_parquet, write_webdataset
from tests.helpers.train_command import NARROW

CLASSES = ["<b>ant</b>", "bee", "cat"]
COMMON = ["data.image_size=48", "data.batch_size=8", f"model.edit={NARROW}", "callbacks=none"]


def write_list(root: Path) -> str:
    """Photos with a csv beside them."""
    write_photos(root, train=16, val=8)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    rows = ["path,label,split"] + [f"{n},{n.split('/')[1]},{n.split('/')[0]}" for n in names]
    (root / "list.csv").write_text("\n".join(rows) + "\n")
    return f"data.root={root}/list.csv"


WRITERS: dict[str, Callable[[Path], str]] = {
    "csv": write_list,
    "webdataset": lambda root: f"data.root={write_webdataset(root, train=2, val=1)}",
    "parquet": lambda root: f"data.root={write_parquet(root, CLASSES, train=16, val=8)}",
    "huggingface": lambda root: (
        f"data.dataset={write_hugging_face(root, CLASSES, train=16, validation=8)}"
    ),
}
NEEDS = {"parquet": "pyarrow", "huggingface": "datasets"}


@pytest.mark.parametrize("name", WRITERS)
def test_a_net_is_trained_and_looks_at_its_data_again(
    commands: Commands, tmp_path: Path, name: str
) -> None:
    """The checkpoint says where the data are; when they are gone, the error says so."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    place = WRITERS[name](tmp_path / "data")
    here = [f"data.store_dir={tmp_path}/stores", f"paths.log_dir={tmp_path}"]
    given = [f"data={name}", place, *COMMON, *here, "name=a", "logger=none", "test=false"]
    ended = commands.run("train.py", [*given, "trainer.max_epochs=1"])
    assert ended.status == 0, ended.errors
    ckpt = f"ckpt={tmp_path}/train/a/checkpoints/last.ckpt"
    ended = commands.run("analyze.py", ["analysis=doctor", ckpt, *here, "name=b", "images=4"])
    assert ended.status == 0, ended.errors
    assert json.loads((tmp_path / "analysis" / "b" / "doctor.json").read_text())
    shutil.rmtree(tmp_path / "data")
    ended = commands.run("analyze.py", ["analysis=doctor", ckpt, *here, "name=c"])
    assert ended.status != 0
    line = (ended.errors + ended.output).strip().splitlines()[-1]
    assert f"{tmp_path}/data" in line
    assert "Traceback" not in ended.errors
