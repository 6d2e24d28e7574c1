"""One figure or table of the paper, from a checkpoint: `python analyze.py analysis=top_activations ckpt=...`."""
# ruff: noqa: E402

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of an import

import hydra
from omegaconf import DictConfig

from zfnet.studies.run import analyze
from zfnet.training.fit import register_resolvers
from zfnet.training.folders import config_folder
from zfnet.training.launch import launch, reported

register_resolvers()


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="analyze")
def main(cfg: DictConfig) -> None:
    reported(analyze, cfg)


if __name__ == "__main__":
    launch(main)
