"""From a config to a figure: the wiring behind analyze.py.

analyze(cfg)        # checkpoint or model → net; data → pictures; analysis → a PNG and a JSON in the run's folder
"""

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from zfnet.config import Analysis, check_config
from zfnet.data import ImageData
from zfnet.data.preprocessing import Preprocessing
from zfnet.errors import InputError, one_line
from zfnet.io import save
from zfnet.launch.distributed import check_started_once
from zfnet.launch.malloc import keep_freed_memory
from zfnet.launch.run_dirs import config_folder, hold
from zfnet.model_on_data import ModelOnData
from zfnet.models.pretrained import ExpectedInput, class_names, input_of
from zfnet.training.checkpoint import build_net, listed, load, read_checkpoint
from zfnet.training.data_config import check_same_data, checked_data, linked_data
from zfnet.training.fit import translate_hydra_errors

log = logging.getLogger(__name__)

IMAGE_SIZE, CLASSES = 224, 1000  # of a net that comes without a checkpoint of train.py
DATA_SIZE = 112  # of a data set that is looked at without a net: what train.py stores by default
WRITTEN = (".png", ".json", ".csv", ".html", ".md")


def analyze(cfg: DictConfig) -> None:
    """Runs the study that `analysis=` names. Raises InputError for what the user can mend."""
    if "study" not in cfg:
        known = sorted(path.stem for path in (config_folder() / "analysis").glob("*.yaml"))
        raise InputError(f"which analysis? analysis={' or analysis='.join(known)}")
    completed = complete_data(cfg)
    check_config(cfg, Analysis)
    folder = Path(HydraConfig.get().runtime.output_dir)
    check_started_once(cfg)
    hold(folder)
    if completed and (folder / ".hydra").is_dir():
        save(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(cfg).encode(errors="surrogateescape"))
    keep_freed_memory()
    with translate_hydra_errors():
        study = instantiate(cfg.study)
        _look(study, what_is_shown(study, cfg), folder)
    written = sorted(path.name for path in folder.iterdir() if path.suffix in WRITTEN)
    log.info("in %s: %s", folder, ", ".join(written))


def _look(study: Callable[..., None], what: Any, folder: Path) -> None:
    """Runs a study; where it fails for images that a net does not take at all, the InputError says so."""
    try:
        study(what, folder)
    except (RuntimeError, AssertionError):
        for subject in what if isinstance(what, list) else [what]:
            if isinstance(subject, ModelOnData):
                subject.check_takes_images()
        raise


def what_is_shown(
    study: Callable[..., None], cfg: DictConfig
) -> list[str] | ImageData | ModelOnData | list[ModelOnData]:
    """What a study's first word asks for."""
    word = first_word(study)
    if word == "runs":
        return runs_of(cfg)
    if word == "data":
        return _data(cfg, cfg.data.image_size or DATA_SIZE)
    return subjects_for(study, cfg)


def complete_data(cfg: DictConfig) -> bool:
    """Without `data=` on the command line, `cfg.data` becomes the data set of the checkpoint's training, with the
    `data.KEY=` that were given; `creatures` where no checkpoint says what that was.

    Returns:
        Whether it was incomplete.

    Raises:
        InputError: the checkpoints were trained on different data sets, on one that is not trusted or no longer
            there, or a key is none of the data set's.
    """
    if "_target_" in cfg.data:
        return False
    given = {
        key: value
        for key, value in cfg.data.items_ex(resolve=False)
        if key != "image_size" or value is not None
    }
    ckpts = cfg.ckpt if OmegaConf.is_list(cfg.ckpt) else [] if cfg.ckpt is None else [cfg.ckpt]
    paths = [ckpt for ckpt in ckpts if isinstance(ckpt, str)]  # check_config says what others are
    own = {path: read_checkpoint(Path(path))["card"].get("data") for path in paths}
    described = next(iter(own.values()), None)
    if own:
        check_same_data(own)
    if described is None:
        data = _data_of_conf("creatures")
        if own:
            log.info(
                "%s does not say on which data it was trained: looking at creatures (data= chooses)", paths[0]
            )
    else:
        described = checked_data(described, paths[0], listed(cfg.trust))
        _check_root(described, given, paths[0])
        data = _data_of_conf("images")
        data.merge_with(linked_data(described))
        log.info("looking at the data set of %s: %s", paths[0], _said(described))
    data.image_size = None
    OmegaConf.set_struct(data, True)
    try:
        data.merge_with(given)
    except ConfigKeyError as error:
        raise InputError(
            f"data.{error.full_key}: there is no such key; there are {', '.join(data)}"
        ) from error
    except OmegaConfBaseException as error:
        raise InputError(f"data.{error.full_key}: {one_line(error.msg)}") from error
    cfg.data = data
    return True


def _data_of_conf(choice: str) -> DictConfig:
    """What `data=` gives, not resolved."""
    composed = compose("analyze", [f"data={choice}"]).data
    return OmegaConf.create(OmegaConf.to_container(composed, resolve=False))  # type: ignore[return-value]


def _check_root(described: dict[str, Any], given: dict[str, Any], path: str) -> None:
    root = described.get("root")
    if root is not None and "root" not in given and not Path(root).is_dir():
        raise InputError(
            f"{path} was trained on the images in {root}, which is no folder here: give data.root=FOLDER, where "
            "they are now, or data= for another data set"
        )


def _said(described: dict[str, Any]) -> str:
    name = described["source"]["_target_"].rpartition(".")[2]
    return f"{name} in {described['root']}" if "root" in described else name


def first_word(study: Callable[..., None]) -> str:
    """What a study is shown: `subject`, a net with images; `subjects`, a list of them; without a net `data`, a data
    set, or `runs`, folders."""
    return next(iter(inspect.signature(study).parameters))


def subjects_for(study: Callable[..., None], cfg: DictConfig) -> ModelOnData | list[ModelOnData]:
    """One net, or a list for a study whose first word is `subjects`: ckpt=[A,B]."""
    complete_data(cfg)
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


def subject_of(cfg: DictConfig) -> ModelOnData:
    """The net of `ckpt=` or `model=`, and the split of `data=` that it is shown."""
    if (cfg.ckpt is None) == ("model" not in cfg):
        raise InputError(
            "which net? ckpt=CHECKPOINT of train.py, or model=torchvision model.name=NAME, and not both"
        )
    if cfg.ckpt is not None:
        classifier = load(cfg.ckpt, cfg.trust)
        net, prepare, classes = classifier.net, classifier.prepare, classifier.classes
        if cfg.data.image_size not in (None, prepare.crop):
            raise InputError(
                f"data.image_size={cfg.data.image_size}: the net of {cfg.ckpt} sees {prepare.crop} pixels"
            )
        data = _data(cfg, prepare.crop)
        images = data.open(cfg.split)
    else:
        model: dict[str, Any] = OmegaConf.to_container(cfg.model, resolve=True)  # type: ignore[assignment]
        expected = input_of(model)
        data = _data(cfg, cfg.data.image_size or (expected.crop if expected else IMAGE_SIZE), expected)
        torch.manual_seed(cfg.seed)
        net = build_net(model, CLASSES, data.image_size).eval()
        classes = class_names(model["name"]) if "name" in model else [f"class {i}" for i in range(CLASSES)]
        channels = {"channel_mean": expected.mean, "channel_std": expected.std} if expected else {}
        prepare = Preprocessing(data.store_size, data.image_size, model["pixels"], **channels)
        images = data.open(cfg.split)
        prepare.set_mean(images.mean)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = net.to(memory_format=torch.channels_last).to(device)
    return ModelOnData(net, prepare, images, data.sources[cfg.split], classes, data.batch_size)


def _data(cfg: DictConfig, image_size: int, expected: ExpectedInput | None = None) -> ImageData:
    """The data set at a size, resized as `expected`, in the same ratio."""
    complete_data(cfg)
    cfg.data.image_size = image_size
    if expected is None:
        return instantiate(cfg.data)
    size = round(image_size * expected.size / expected.crop)
    return instantiate(cfg.data, store_size=size, interpolation=expected.interpolation)
