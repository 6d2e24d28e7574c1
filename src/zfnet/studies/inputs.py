"""What analyses take, loaded as the config says: networks on images, a data set, folders of runs.

load_model(cfg)     # ModelOnData: ckpt=CHECKPOINT, or model=torchvision model.name=NAME
load_models(cfg)    # a list of them: ckpt=[A,B]
load_data(cfg)      # ImageData
run_folders(cfg)    # ["outputs"]
"""

import logging
from pathlib import Path
from typing import Any

import torch
from hydra import compose
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from torch import nn

from zfnet.data import ImageData
from zfnet.errors import InputError, one_line
from zfnet.model_on_data import ModelOnData
from zfnet.models.given_axes import set_axes
from zfnet.models.pretrained import input_of
from zfnet.sizes import Size, as_size, show_size, sides
from zfnet.training.checkpoint import load, read_checkpoint
from zfnet.training.data_config import check_same_data, checked_data, linked_data
from zfnet.training.networks import check_channels, listed, pretrained_network

log = logging.getLogger(__name__)

IMAGE_SIZE = 224  # of a network without a checkpoint of train.py
DATA_SIZE = 112  # of a data set without a network: what train.py stores by default


def load_model(cfg: DictConfig) -> ModelOnData:
    """The network of `ckpt=` or `model=`, and the split of `data=` that it is shown.

    Raises:
        InputError: None or several networks are named, it cannot be read, or the axes that are
            given for its layers are none.
    """
    if OmegaConf.is_list(cfg.ckpt):
        raise InputError(
            f"ckpt={list(cfg.ckpt)}: this analysis takes one network, not {len(cfg.ckpt)}"
        )
    if (cfg.ckpt is None) == ("model" not in cfg):
        raise InputError(
            "which network? ckpt=CHECKPOINT of train.py, or model=torchvision (or timm) "
            "model.name=NAME, and not both"
        )
    complete_data(cfg)
    asked = cfg.data.image_size
    if cfg.ckpt is not None:
        classifier = load(cfg.ckpt, cfg.trust)
        net, prepare, classes = classifier.net, classifier.prepare, classifier.classes
        if asked is not None and as_size(asked) != prepare.crop:
            raise InputError(
                f"data.image_size={show_size(asked)}: the network of {cfg.ckpt} sees "
                f"{show_size(prepare.crop)} pixels"
            )
        cfg.data.image_size = _plain(prepare.crop)
        data = instantiate(cfg.data)
        check_channels(prepare.channels, data.pixel_format.channels)
        images = data.open(cfg.split)
    else:
        words: dict[str, Any] = OmegaConf.to_container(cfg.model, resolve=True)  # type: ignore[assignment]
        expected = input_of(words)
        cfg.data.image_size = asked or (expected.crop if expected else IMAGE_SIZE)
        resizing: dict[str, Any] = {}
        if expected:
            size = as_size(
                [round(side * expected.size / expected.crop) for side in sides(cfg.data.image_size)]
            )
            resizing = {"store_size": _plain(size), "interpolation": expected.interpolation}
        data = instantiate(cfg.data, **resizing)
        net, prepare, classes = pretrained_network(
            *(words, data.image_size, data.store_size, cfg.seed, data.pixel_format.channels)
        )
        images = data.open(cfg.split)
        prepare.set_mean(images.mean)
    _give_axes(net, cfg)
    net = net.to(memory_format=torch.channels_last)
    return ModelOnData(
        *(net, prepare, images, data.sources[cfg.split], classes, data.batch_size),
        channels_shown=data.channels_shown,
    )


def _give_axes(net: nn.Module, cfg: DictConfig) -> None:
    """Gives layers the axes that `axes=` says.

    Raises:
        InputError: There is no such layer, or there are no such axes.
    """
    for layer, axes in (cfg.axes or {}).items():
        if isinstance(layer, float):  # Hydra reads 1.10 as 1.1
            raise InputError(
                f"axes={{{layer}:{axes}}}: the name of the layer looks like a number and is not "
                "kept as it was written: name another layer, or use zfnet.models.set_axes in Python"
            )
        set_axes(net, str(layer), axes)


def _plain(size: Size) -> int | list[int]:
    """A size as configs hold it."""
    return size if isinstance(size, int) else list(size)


def load_models(cfg: DictConfig) -> list[ModelOnData]:
    """One network, or those of `ckpt=[A,B]`, which look at one data set.

    Raises:
        InputError: The list is empty, or they were trained on different data sets.
    """
    complete_data(cfg)
    if not OmegaConf.is_list(cfg.ckpt):
        return [load_model(cfg)]
    if not cfg.ckpt:
        raise InputError("ckpt=[]: this analysis takes one or more networks")
    return [load_model(OmegaConf.merge(cfg, {"ckpt": ckpt})) for ckpt in cfg.ckpt]  # type: ignore[arg-type]


def load_data(cfg: DictConfig) -> ImageData:
    """The data set of `data=`."""
    complete_data(cfg)
    cfg.data.image_size = cfg.data.image_size or DATA_SIZE
    return instantiate(cfg.data)


def run_folders(cfg: DictConfig) -> list[str]:
    """The folders of `runs=A` or `runs=[A,B]`."""
    return list(cfg.runs) if OmegaConf.is_list(cfg.runs) else [cfg.runs]


def complete_data(cfg: DictConfig) -> bool:
    """Without `data=`, sets `cfg.data` to the data set that the checkpoint was trained on.

    Keys `data.KEY=` of the command line replace its keys. Where no checkpoint says what the data
    set was, it is `creatures`.

    Returns:
        Whether the data set was missing.

    Raises:
        InputError: The checkpoints were trained on different data sets, on one that is not trusted
            or no longer exists, or the data set has no such key.
    """
    if "_target_" in cfg.data:
        return False
    given = {
        k: v for k, v in cfg.data.items_ex(resolve=False) if k != "image_size" or v is not None
    }
    ckpts = cfg.ckpt if OmegaConf.is_list(cfg.ckpt) else [cfg.ckpt]
    paths = [ckpt for ckpt in ckpts if isinstance(ckpt, str)]  # check_config rejects others
    trained_on = {path: read_checkpoint(Path(path))["model_config"].get("data") for path in paths}
    if trained_on:
        check_same_data(trained_on)
    described = next(iter(trained_on.values()), None)
    if described is None:
        data = _compose_data("creatures")
        if paths:
            log.info(
                "%s does not say on which data it was trained: looking at creatures (data= "
                "chooses)",
                paths[0],
            )
    else:
        described = checked_data(described, paths[0], listed(cfg.trust))
        root = described.get("root", [])
        roots = root if isinstance(root, list) else [root]
        gone = [each for each in roots if each is not None and not Path(each).exists()]
        if gone and "root" not in given:
            raise InputError(
                f"{paths[0]} was trained on the images in {gone[0]}, which is not here: give "
                "data.root=FOLDER, where they are now, or data= for another data set"
            )
        data = _compose_data("images")
        data.merge_with(linked_data(described))
        name = described["source"]["_target_"].rpartition(".")[2]
        place = f" in {described['root']}" if "root" in described else ""
        log.info("looking at the data set of %s: %s%s", paths[0], name, place)
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


def _compose_data(choice: str) -> DictConfig:
    """What `data=` gives, not resolved."""
    composed = compose("analyze", [f"data={choice}"]).data
    return OmegaConf.create(OmegaConf.to_container(composed, resolve=False))  # type: ignore[return-value]
