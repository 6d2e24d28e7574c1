"""A user's own data set, as zfnet.data.source documents it, named on the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from zfnet.data import AnnotatedSource, ImageData, MultiLabelSource
from zfnet.data.creatures import Creatures
from zfnet.data.subset import Selection


class Shades:
    """Two images of one shade each."""

    name, classes = "shades", ["dark", "light"]
    ids, labels = ["0", "1"], [0, 1]

    def __len__(self) -> int:
        return 2

    def read(self, index: int) -> Tensor:
        return torch.full((3, 64, 64), 50 + 150 * index, dtype=torch.uint8)


class ShownTogether(Shades):
    """The same, with both classes in the second one."""

    targets = torch.tensor([[1, 0], [1, 1]], dtype=torch.int8)


def shades(split: str) -> Shades:
    assert split in ("train", "val")
    return Shades()


def test_it_is_stored_and_batched(composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    words = ["data=images", f"data.source._target_={__name__}.shades", "data.image_size=14"]
    data: ImageData = instantiate(
        composed(*words, f"data.store_dir={tmp_path}", "data.batch_size=2").data
    )
    data.setup("fit")
    (batch,) = data.val_dataloader()
    assert batch.labels.tolist() == [0, 1]
    assert [image.unique().tolist() for image in batch.images[batch.rows]] == [[50], [200]]
    assert data.images["val"].classes == ["dark", "light"]


@pytest.mark.parametrize(
    ("source", "annotated", "multi_label"),
    [
        (Shades(), False, False),
        (ShownTogether(), False, True),
        (Creatures(2, size=16), True, False),
    ],
)
def test_what_it_offers_beside_is_optional(
    source: Shades | Creatures, annotated: bool, multi_label: bool
) -> None:
    """A selection offers what its whole does."""
    for each in (source, Selection(source, [1], "all")):
        assert isinstance(each, AnnotatedSource) == annotated
        assert isinstance(each, MultiLabelSource) == multi_label
