"""Images come as torchvision's own transforms of the weights make them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from torchvision import models
from torchvision.transforms import functional as T

from zfnet.data import ImageData
from zfnet.data.datasets import photos
from zfnet.data.resizing import Resizing
from zfnet.data.source import AnnotatedSource
from zfnet.errors import InputError
from zfnet.studies.inputs import load_model

SHAPES = [(40, 31), (31, 40), (64, 64), (33, 200), (57, 56), (24, 25), (25, 24), (37, 300)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Smooth noise in images of many shapes."""
    root = tmp_path / "photos"
    root.mkdir()
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(SHAPES):
        small = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
        Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(
            root / f"{number}.png"
        )
    return root


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("size", "crop"), [(29, 28), (31, 28), (32, 28), (33, 28), (34, 28), (28, 28), (37, 24)]
)
@pytest.mark.parametrize("store", [True, False])
def test_the_pixels_are_torchvisions(
    folder: Path, tmp_path: Path, interpolation: str, size: int, crop: int, store: bool
) -> None:
    data = ImageData(
        partial(photos, root=folder), crop, 4, str(tmp_path / "stores"),
        store_size=size, store=store, interpolation=interpolation,
    )  # fmt: skip
    images = data.open("val")
    assert (data.store_size, images.size, len(images)) == (size, size, len(SHAPES))
    top = round((size - crop) / 2)
    for number, id_ in enumerate(images.ids):
        whole = Image.open(folder / id_)
        resize = T.InterpolationMode(interpolation)
        theirs = torch.from_numpy(np.array(T.center_crop(T.resize(whole, [size], resize), [crop])))
        ours = images.read(number)[top : top + crop, top : top + crop]
        off = (ours.int() - theirs.int()).abs()
        assert off.max() <= (
            2 if max(whole.size) > 4 * min(whole.size) or data.resizing is None else 0
        ), id_


def test_stores_of_another_resize_are_others(folder: Path, tmp_path: Path) -> None:
    """The usual one keeps its name, whoever asks for it."""
    words = {"image_size": 28, "batch_size": 4, "store_dir": str(tmp_path / "stores")}
    source = partial(photos, root=folder)
    usual = ImageData(source, **words).open("val")
    same = ImageData(source, **words, store_size=32).open("val")
    bicubic = ImageData(source, **words, store_size=32, interpolation="bicubic").open("val")
    assert usual.folder == same.folder != bicubic.folder
    assert not torch.equal(usual.read(0), bicubic.read(0))
    with pytest.raises(
        InputError,
        match=r"data\.interpolation='nearest' is unknown: choose one of bilinear, bicubic",
    ):
        Resizing(32, 28, "nearest")


def test_what_is_drawn_at_its_size_is_not_resized(
    composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    """Masks and parts are those of the image as it is drawn."""
    words = [
        "model=torchvision",
        "model.name=mobilenet_v2",
        "data.source.val=4",
        f"data.store_dir={tmp_path}",
    ]
    subject = load_model(composed(*words, "data.image_size=56", root="analyze"))
    assert isinstance(subject.source, AnnotatedSource)
    assert (subject.images.size, subject.crop) == (64, 56)


@pytest.mark.parametrize("name", ["alexnet", "mobilenet_v2", "efficientnet_b0"])
def test_a_net_sees_what_its_weights_transforms_give(
    composed: Callable[..., DictConfig], folder: Path, tmp_path: Path, name: str
) -> None:
    """224 of 256 and of 232, bilinear, but for roundings; 224 of 256, bicubic, but for very long
    images."""
    words = ["model=torchvision", f"model.name={name}", "data=photos", f"data.root={folder}"]
    subject = load_model(composed(*words, f"data.store_dir={tmp_path / 'stores'}", root="analyze"))
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    inputs = subject.inputs(range(len(SHAPES)))
    assert inputs.shape == (len(SHAPES), 3, 224, 224)
    for number, id_ in enumerate(subject.images.ids):
        theirs = transforms(Image.open(folder / id_))
        assert (inputs[number] - theirs).abs().max() < (
            1e-4 if name == "efficientnet_b0" and number not in (3, 7) else 0.05
        ), id_


def test_normalization_is_the_weights_own(
    composed: Callable[..., DictConfig], folder: Path, tmp_path: Path
) -> None:
    words = [
        "model=torchvision",
        "model.name=vgg16",
        "data=photos",
        f"data.root={folder}",
        "data.image_size=32",
    ]
    words += ["+model.transforms=IMAGENET1K_FEATURES", f"data.store_dir={tmp_path / 'stores'}"]
    prepare = load_model(composed(*words, root="analyze")).prepare
    torch.testing.assert_close(prepare.std, torch.ones(3))
    mean = 255 * torch.tensor([0.48235, 0.45882, 0.40784])
    torch.testing.assert_close(prepare.mean[:, 3, 5], mean)
