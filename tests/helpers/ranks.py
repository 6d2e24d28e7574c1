"""One of several processes that share analyses; started by tests/studies/test_several_processes.py.

python ranks.py RANK SIZE FILE     # FILE: where they meet, and a list of jobs as JSON beside it
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch import distributed

from zfnet import ranks
from zfnet.launch.project import config_folder
from zfnet.launch.resolvers import register_resolvers
from zfnet.studies.run import LOADERS, build_analysis


def run(words: list[str], folder: str) -> None:
    """Runs an analysis as analyze.py does."""
    cfg = compose("analyze", words)
    analysis: Any = build_analysis(cfg)
    assert analysis.shares
    Path(folder).mkdir(parents=True, exist_ok=True)
    analysis.run(LOADERS[analysis.takes](cfg), Path(folder))


if __name__ == "__main__":
    rank, size, place = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    register_resolvers()
    distributed.init_process_group("gloo", f"file://{place}", rank=rank, world_size=size)
    with (
        initialize_config_dir(str(config_folder()), version_base="1.3"),
        ranks.together(rank, size),
    ):
        for words, folder in json.loads(Path(f"{place}.json").read_text()):
            run(words, folder)
