"""Trains a network: `python train.py model=zfnet data=creatures`; `--help` lists the choices."""
# ruff: noqa: E402

import os
import signal

for number in (signal.SIGINT, signal.SIGTERM):  # exits during the imports without a traceback
    signal.signal(number, lambda number, _: os._exit(128 + number))

import hydra
from omegaconf import DictConfig

from zfnet.launch.entry_point import launch, reported
from zfnet.launch.project import config_folder
from zfnet.launch.resolvers import register_resolvers
from zfnet.training.fit import fit

register_resolvers()


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="train")
def main(cfg: DictConfig) -> float:
    """Runs `fit` with the composed config."""
    return reported(fit, cfg)


if __name__ == "__main__":
    launch(main)
