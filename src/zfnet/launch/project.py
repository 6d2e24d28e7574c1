"""Finds the project directory, for a checkout and for an installed wheel."""

from pathlib import Path


def project_root() -> Path:
    """Returns the checkout with `train.py`, or the working directory for an installed wheel."""
    checkout = Path(__file__).parents[3]
    return checkout if (checkout / "train.py").is_file() else Path.cwd()


def config_folder() -> Path:
    """Returns Hydra's `conf` directory: in the checkout, or inside the installed wheel."""
    checkout = project_root() / "conf"
    return checkout if checkout.is_dir() else Path(__file__).parents[1] / "conf"
