"""One training run: `python train.py model=zfnet data=creatures`; `--help` lists what can be chosen."""
# ruff: noqa: E402

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of an import

import hydra
from omegaconf import DictConfig

from zfnet.training.fit import fit, register_resolvers
from zfnet.training.folders import config_folder
from zfnet.training.launch import launch, reported

register_resolvers()


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="train")
def main(cfg: DictConfig) -> float:
    return reported(fit, cfg)


if __name__ == "__main__":
    launch(main)
