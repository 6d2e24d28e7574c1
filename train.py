"""One training run: `python train.py model=zfnet data=creatures`; `--help` lists what can be chosen."""

import logging
import sys

import hydra
from omegaconf import DictConfig

from zfnet.errors import InputError
from zfnet.training.fit import fit, register_resolvers
from zfnet.training.folders import config_folder

register_resolvers()


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="train")
def main(cfg: DictConfig) -> float:
    try:
        return fit(cfg)
    except InputError as error:
        logging.getLogger("train").error("%s", error)
        sys.exit(1)
    except Exception:  # into the run's train.log as well
        logging.getLogger("train").exception("the run failed")
        sys.exit(1)


if __name__ == "__main__":
    main()
