"""One figure or table of the paper, from a checkpoint: `python analyze.py analysis=top_activations ckpt=...`."""

import logging
import sys

import hydra
from omegaconf import DictConfig

from zfnet.errors import InputError
from zfnet.studies.run import analyze
from zfnet.training.fit import register_resolvers
from zfnet.training.folders import config_folder

register_resolvers()


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="analyze")
def main(cfg: DictConfig) -> None:
    try:
        analyze(cfg)
    except InputError as error:
        logging.getLogger("analyze").error("%s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
