"""A narrow, untrained ZFNet and three images of noise, for tests of what a projection can claim."""

import pytest
import torch

from zfnet.models import ZFNET, ConvNet, apply_edit

SIDE = 48


@pytest.fixture(scope="module")
def net() -> ConvNet:
    torch.manual_seed(1)
    narrow = {
        **{f"conv{i}": {"channels": 8} for i in range(1, 6)},
        "fc6": {"units": 16},
        "fc7": {"units": 16},
    }
    return ConvNet(apply_edit(ZFNET, narrow), 5, SIDE, init="he").eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
