"""What only a trained net can show, on creatures with known masks: half a minute of training."""

from functools import partial
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor
from torch.nn import functional as F

from tests.helpers.learning import learning
from zfnet.analysis import occlusion_sweep
from zfnet.data import ImageData
from zfnet.data.datasets import creatures
from zfnet.model_on_data import ModelOnData, object_of
from zfnet.training import build

SIDE = 64
CONV = {
    f"conv{i}": {"channels": channels} for i, channels in enumerate((24, 48, 64, 64, 64), start=1)
}
EDIT = {**CONV, "fc6": {"units": 128, "dropout": 0}, "fc7": {"units": 128, "dropout": 0}}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> ModelOnData:
    """A narrow ZFNet after seven epochs of 1200 creatures; it errs on less than 35 % of 200
    others."""
    source = partial(creatures, train=1200, val=200, image_size=SIDE)
    stores = str(tmp_path_factory.mktemp("stores"))
    data = ImageData(source, image_size=SIDE, batch_size=32, store_dir=stores, crops="random")
    words = {"architecture": "zfnet", "edit": EDIT, "init": "he", "input_norm": "unit"}
    model = {"_target_": "zfnet.models.convnet", **words}
    torch.manual_seed(3)
    card = {
        "model": model,
        "classes": data.classes,
        "image_size": SIDE,
        "store_size": data.store_size,
    }
    classifier = build(card, **learning(lr=0.02, schedule="cosine"))
    quiet: dict[str, Any] = dict.fromkeys(
        ["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False
    )
    trainer = Trainer(
        max_epochs=7, accelerator="cpu", num_sanity_val_steps=0, log_every_n_steps=1, **quiet
    )
    trainer.fit(classifier, datamodule=data)
    assert trainer.callback_metrics["val/top1_error"] < 0.35
    net = classifier.eval().net
    return ModelOnData(
        net, classifier.prepare, data.images["val"], data.sources["val"], data.classes, 32
    )


def test_the_drop_falls_on_the_object(subject: ModelOnData) -> None:
    """Figure 7: covering the creature takes away the true class and the strongest channel.

    Covering the rest hardly does."""
    indices = list(range(64))
    labels = subject.images.labels[indices]
    sweep = occlusion_sweep(
        subject.net, subject.inputs(indices), labels, size=14, stride=5, layer="conv5"
    )
    assert sweep.activity is not None
    assert sweep.clean_activity is not None
    which = torch.arange(len(indices))
    probability = sweep.clean_logits.softmax(1)[which, labels]
    lost = probability[:, None, None] - sweep.probability
    activity = (
        1
        - sweep.activity[which, :, :, sweep.strongest] / sweep.clean_activity.amax(1)[:, None, None]
    )
    masks = torch.stack([object_of(subject, i).mask for i in indices]).float()
    share = F.avg_pool2d(masks[:, None], 14, 5)[:, 0]  # of the square that covers the creature
    assert share.shape == lost.shape
    known = probability > 0.5
    assert known.sum() > 30
    for drop, chosen, factor in ((lost, known, 4), (activity, which, 2)):
        on, off = weighted(drop, share)[chosen], weighted(drop, 1 - share)[chosen]
        assert on.mean() > factor * off.mean().abs()
        assert (on > off).float().mean() > 0.85


def weighted(drop: Tensor, weights: Tensor) -> Tensor:
    """The mean drop of each image (N, ny, nx), weighted by place."""
    return (drop * weights).sum((1, 2)) / weights.sum((1, 2))
