"""Processes that share analyses, forked from one: see tests/studies/test_several_processes.py.

python ranks.py SIZE FILE     # FILE: where they meet; FILE.json lists the jobs
"""

import json
import os
import sys
from collections import Counter
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


def fork(size: int) -> tuple[int, list[int]]:
    """Forks size - 1 processes. Returns this process's rank, and the ids of the others."""
    others = []
    for rank in range(1, size):
        if not (process := os.fork()):
            return rank, []
        others.append(process)
    return 0, others


if __name__ == "__main__":
    size, place = int(sys.argv[1]), sys.argv[2]
    rank, others = fork(size)
    torch.set_num_threads(1)
    register_resolvers()
    distributed.init_process_group("gloo", f"file://{place}", rank=rank, world_size=size)
    saved: set[str] = set()  # files; a file that is saved is renamed
    sys.addaudithook(
        lambda event, given: saved.add(str(given[1])) if event == "os.rename" else None
    )
    with (
        initialize_config_dir(str(config_folder()), version_base="1.3"),
        ranks.together(rank, size),
    ):
        for words, folder in json.loads(Path(f"{place}.json").read_text()):
            run(words, folder)
        for file, count in Counter(
            file for each in ranks.collect([saved]) for file in each
        ).items():
            assert count == 1, f"{count} processes save {file}, possibly at the same time"
    for process in others:
        assert os.waitpid(process, 0)[1] == 0
    sys.exit(0)
