"""Operations are counted as by hand, without a trace on the network or the random state."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import nn

from callbacks.throughput import percent_per_image
from zfnet.models import ConvNet, convnet
from zfnet.training.classifier import Classifier
from zfnet.training.peak import operations_per_image, peak_rate


def test_zfnet_by_hand() -> None:
    """Out positions x filters x inputs x kernel; conv1 has no gradient of its images."""
    convolutions = [
        110**2 * 96 * 3 * 7**2,
        26**2 * 256 * 96 * 5**2,
        13**2 * 384 * 256 * 3**2,
        13**2 * 384 * 384 * 3**2,
        13**2 * 256 * 384 * 3**2,
    ]
    linear = [9216 * 4096, 4096 * 4096, 4096 * 1000]
    expected = 2 * (3 * sum(convolutions + linear) - convolutions[0])
    assert operations_per_image(convnet("zfnet", 1000, 224), (3, 224, 224)) == expected


def test_nothing_is_changed() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten())
    state = {name: each.clone() for name, each in net.state_dict().items()}
    random = torch.get_rng_state()
    assert operations_per_image(net, (3, 5, 5)) == 2 * 2 * 9 * 4 * 27
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(each, state[name]) for name, each in net.state_dict().items())
    assert all(each.grad is None for each in net.parameters())


@pytest.mark.parametrize(
    ("device", "precision", "tf32", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16-mixed", True, 989e12),
        ("NVIDIA H200", "32-true", True, 494e12),
        ("NVIDIA A100-SXM4-40GB", "32-true", False, 19.5e12),
        ("NVIDIA A100 80GB PCIe", "16-mixed", True, 312e12),
        ("NVIDIA L4", "bf16-mixed", True, 121e12),
        ("NVIDIA L40S", "bf16-mixed", True, 362e12),
        ("NVIDIA H100 NVL", "bf16-mixed", True, None),
        ("NVIDIA H200", "64-true", True, None),
        ("Tesla P4", "32-true", True, None),
    ],
)
def test_peaks(device: str, precision: str, tf32: bool, expected: float | None) -> None:
    assert peak_rate(device, precision, tf32) == expected


def test_the_share_of_the_peak(
    tiny_classifier: Callable[..., Classifier],
    tiny_trainer: Callable[..., Trainer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer, classifier = tiny_trainer(precision="bf16-mixed"), tiny_classifier()
    each = operations_per_image(classifier.net, (3, 8, 8))
    assert percent_per_image(classifier, "NVIDIA H200", trainer) == 100 * each / 989e12
    assert percent_per_image(classifier, "a CPU", trainer) is None

    class Own(ConvNet):
        def forward(self, images: torch.Tensor) -> Any:
            return super().forward(images) * images.sum().item()

    classifier.net.__class__ = Own
    caplog.set_level("INFO")
    assert percent_per_image(classifier, "NVIDIA H200", trainer) is None
    assert "pct_of_peak is not logged" in caplog.text
