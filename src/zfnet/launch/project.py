"""Where the project lies: the checkout, or an installed wheel."""

from pathlib import Path


def project_root() -> Path:
    """The checkout that holds `conf` and `train.py`; the working directory for an installed
    wheel."""
    checkout = Path(__file__).parents[3]
    return checkout if (checkout / "train.py").is_file() else Path.cwd()


def config_folder() -> Path:
    """Hydra's `conf`: at the checkout's top, or inside an installed wheel."""
    checkout = project_root() / "conf"
    return checkout if checkout.is_dir() else Path(__file__).parents[1] / "conf"
