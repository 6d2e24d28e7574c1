"""transfer=frozen: trains a new classifier on the features of a trained network (Tables 4, 6)."""

import logging
import time
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from zfnet.data import ImageData
from zfnet.data.preprocessing import Preprocessing
from zfnet.errors import InputError
from zfnet.model_on_data import ModelOnData
from zfnet.models.pretrained import input_of
from zfnet.probing.transfer import TransferConfig, transfer, whole_data_set
from zfnet.sizes import show_size
from zfnet.training.checkpoint import check_image_size, load
from zfnet.training.networks import ARCHITECTURES, check_channels, pretrained_network

log = logging.getLogger(__name__)


def transfer_frozen(cfg: DictConfig, data: ImageData) -> dict[str, Any]:
    """Trains a new classifier on the features of a trained network.

    Args:
        cfg: the composed config.
        data: the data module.

    Returns:
        The content of result.json.

    Raises:
        InputError: if the network is not trained, or as in `transfer`.
    """
    start = time.perf_counter()
    config = TransferConfig(
        **{key: value for key, value in cfg.transfer.items() if key != "method"}
    )
    net, prepare = _pretrained(cfg, data)
    images = {split: data.open(split) for split in ("train", "val")}
    if cfg.ckpt is None:
        prepare.set_mean(whole_data_set(images["train"])[0].mean)
    train, val = (
        ModelOnData(net, prepare, each, data.sources[split], list(data.classes), data.batch_size)
        for split, each in images.items()
    )
    kept = data.folder.parents[1] / "features" / data.folder.name
    result = transfer(train, val, config, kept, cfg.seed)
    return result | {"seconds": round(time.perf_counter() - start, 1)}


def _pretrained(cfg: DictConfig, data: ImageData) -> tuple[nn.Module, Preprocessing]:
    """Returns the network of `ckpt=` or of a `model=` with weights, and its preprocessing."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if cfg.ckpt is not None:
        classifier = load(cfg.ckpt, cfg.trust)
        check_image_size(classifier.prepare.crop, cfg.ckpt, data.image_size)
        check_channels(classifier.prepare.channels, data.pixel_format.channels)
        return classifier.net.to(device), classifier.prepare
    model: dict[str, Any] = OmegaConf.to_container(cfg.model, resolve=True)  # type: ignore[assignment]
    if model["_target_"] in ARCHITECTURES and model.get("weights") is None:
        raise InputError(
            "transfer=frozen needs a net that has learned: ckpt=CHECKPOINT of train.py, or "
            "model=torchvision or timm with model.name= and model.weights=, or model=custom"
        )
    expected = input_of(model)
    if expected and (expected.crop, expected.size) != (data.image_size, data.store_size):
        log.info(
            "%s expects %s; here it is %s of %s pixels, bilinear",
            *(model["name"], expected, show_size(data.image_size), show_size(data.store_size)),
        )
    net, prepare, _ = pretrained_network(
        *(model, data.image_size, data.store_size, cfg.seed, data.pixel_format.channels)
    )
    return net.to(memory_format=torch.channels_last).to(device), prepare
