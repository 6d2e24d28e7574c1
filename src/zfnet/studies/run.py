"""From a config to a figure: the wiring behind analyze.py.

analyze(cfg)        # checkpoint or model → net; data → pictures; analysis → a PNG and a JSON in the run's folder
"""

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from zfnet.data import ImageData
from zfnet.data.image_data import stored_size
from zfnet.data.preprocessing import Preprocessing
from zfnet.errors import InputError
from zfnet.models.pretrained import class_names
from zfnet.studies.subject import Subject
from zfnet.studies.words import check_words
from zfnet.training.checkpoint import build_net, load
from zfnet.training.fit import own_words
from zfnet.training.folders import config_folder, hold
from zfnet.training.memory import keep_freed_memory
from zfnet.training.ranks import check_started_once

log = logging.getLogger(__name__)

IMAGE_SIZE, CLASSES = 224, 1000  # of a net that comes without a checkpoint of train.py
DATA_SIZE = 112  # of a data set that is looked at without a net: what train.py stores by default
WRITTEN = (".png", ".json", ".csv", ".html", ".md")


def analyze(cfg: DictConfig) -> None:
    """Runs the study that `analysis=` names. Raises InputError for what the user can mend."""
    if "study" not in cfg:
        known = sorted(path.stem for path in (config_folder() / "analysis").glob("*.yaml"))
        raise InputError(f"which analysis? analysis={' or analysis='.join(known)}")
    folder = Path(HydraConfig.get().runtime.output_dir)
    check_started_once(cfg)
    hold(folder)
    keep_freed_memory()
    with own_words():
        study = instantiate(cfg.study)
        check_words(study)
        _look(study, shown(study, cfg), folder)
    written = sorted(path.name for path in folder.iterdir() if path.suffix in WRITTEN)
    log.info("in %s: %s", folder, ", ".join(written))


def _look(study: Callable[..., None], what: Any, folder: Path) -> None:
    """Runs a study; where it fails for images that a net does not take at all, the InputError says so."""
    try:
        study(what, folder)
    except (RuntimeError, AssertionError):
        for subject in what if isinstance(what, list) else [what]:
            if isinstance(subject, Subject):
                subject.check_takes_images()
        raise


def shown(study: Callable[..., None], cfg: DictConfig) -> list[str] | ImageData | Subject | list[Subject]:
    """What a study's first word asks for."""
    word = first_word(study)
    if word == "runs":
        return runs_of(cfg)
    if word == "data":
        return _data(cfg, cfg.data.image_size or DATA_SIZE)
    return subjects_for(study, cfg)


def first_word(study: Callable[..., None]) -> str:
    """What a study is shown: `subject`, a net with images; `subjects`, a list of them; without a net `data`, a data
    set, or `runs`, folders."""
    return next(iter(inspect.signature(study).parameters))


def subjects_for(study: Callable[..., None], cfg: DictConfig) -> Subject | list[Subject]:
    """One net, or a list for a study whose first word is `subjects`: ckpt=[A,B]."""
    several = first_word(study) == "subjects"
    if not OmegaConf.is_list(cfg.ckpt):
        return [subject_of(cfg)] if several else subject_of(cfg)
    if not several or not cfg.ckpt:
        wanted = "one or more nets" if several else "one net"
        raise InputError(f"ckpt={list(cfg.ckpt)}: this analysis looks at {wanted}, not at {len(cfg.ckpt)}")
    return [subject_of(OmegaConf.merge(cfg, {"ckpt": ckpt})) for ckpt in cfg.ckpt]  # type: ignore[arg-type]


def runs_of(cfg: DictConfig) -> list[str]:
    """The folders of `runs=A` or runs=[A,B]."""
    return list(cfg.runs) if OmegaConf.is_list(cfg.runs) else [cfg.runs]


def subject_of(cfg: DictConfig) -> Subject:
    """The net of `ckpt=` or `model=`, and the split of `data=` that it is shown."""
    if (cfg.ckpt is None) == ("model" not in cfg):
        raise InputError(
            "which net? ckpt=CHECKPOINT of train.py, or model=torchvision model.name=NAME, and not both"
        )
    if cfg.ckpt is not None:
        classifier = load(cfg.ckpt)
        net, prepare, classes = classifier.net, classifier.prepare, classifier.classes
        if cfg.data.image_size not in (None, prepare.crop):
            raise InputError(
                f"data.image_size={cfg.data.image_size}: the net of {cfg.ckpt} sees {prepare.crop} pixels"
            )
        data = _data(cfg, prepare.crop)
        images = data.open(cfg.split)
    else:
        data = _data(cfg, cfg.data.image_size or IMAGE_SIZE)
        model: dict[str, Any] = OmegaConf.to_container(cfg.model, resolve=True)  # type: ignore[assignment]
        torch.manual_seed(cfg.seed)
        net = build_net(model, CLASSES, data.image_size).eval()
        classes = class_names(model["name"]) if "name" in model else [f"class {i}" for i in range(CLASSES)]
        prepare = Preprocessing(stored_size(data.image_size), data.image_size, model["pixels"])
        images = data.open(cfg.split)
        prepare.set_mean(images.mean)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = net.to(memory_format=torch.channels_last).to(device)
    return Subject(net, prepare, images, data.sources[cfg.split], classes, data.batch_size)


def _data(cfg: DictConfig, image_size: int) -> ImageData:
    if cfg.split not in ("train", "val"):
        raise InputError(f"split={cfg.split!r}: choose train or val")
    cfg.data.image_size = image_size
    return instantiate(cfg.data)
