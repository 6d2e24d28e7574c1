"""A training step on a GPU does not wait for the GPU: counted on fake tensors, without a GPU.

A fake tensor has a device and no values. Reading a value (`item`, `nonzero`, a mask as an index)
raises an error, and copies to the CPU are counted. The backward pass and the optimizer are torch's
own; tests/gpu runs them where there is a GPU.
"""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics import Metric

from callbacks import FilterRenormalization
from zfnet.data.batches import Batch
from zfnet.launch.stopping import AGREE_EVERY, StopTogether
from zfnet.training.classifier import Classifier
from zfnet.training.divergence import EVERY


class CopiesToCpu(TorchDispatchMode):
    """Counts operators that have an argument on the GPU and a result on the CPU."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        on_gpu = any(isinstance(each, torch.Tensor) and each.is_cuda for each in args)
        self.count += on_gpu and isinstance(result, torch.Tensor) and not result.is_cuda
        return result


def fake(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")


def move_to_fake_gpu(classifier: Classifier) -> None:
    for module in classifier.modules():
        for name, each in module._parameters.items():
            module._parameters[name] = None if each is None else nn.Parameter(fake(each))
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else fake(buffer)
        for name in module._defaults if isinstance(module, Metric) else ():
            setattr(module, name, fake(getattr(module, name)))


@pytest.fixture
def on_fake_gpu(
    tiny_classifier: Callable[..., Classifier], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Classifier, Batch, SimpleNamespace, CopiesToCpu]]:
    """A classifier of twelve classes, with top-5 errors, and a batch on a fake GPU."""
    classifier = tiny_classifier(12)
    trainer = SimpleNamespace(current_epoch=0, global_rank=0, global_step=1, world_size=1)
    monkeypatch.setattr(classifier, "_trainer", trainer)
    monkeypatch.setattr(classifier, "log", lambda *_, **__: None)
    monkeypatch.setattr(classifier, "log_dict", lambda *_, **__: None)
    images = torch.zeros(4, 12, 12, 3, dtype=torch.uint8)
    rows, crops = torch.arange(4), torch.zeros(4, 3, dtype=torch.long)
    with FakeTensorMode(), CopiesToCpu() as copies:
        move_to_fake_gpu(classifier)
        monkeypatch.setattr(classifier, "_device", torch.device("cuda", 0))
        batch = Batch(*map(fake, (images, rows, crops, rows)), indices=rows)
        yield classifier, batch, trainer, copies


def test_a_step_reads_nothing(on_fake_gpu: Any) -> None:
    """Forward pass, loss, metrics and renormalization of filters."""
    classifier, batch, trainer, copies = on_fake_gpu
    renormalization = FilterRenormalization()
    renormalization.setup(trainer, classifier, "fit")
    for step in range(1, EVERY):
        trainer.global_step = step
        assert classifier.training_step(batch, step).is_cuda
        renormalization.on_train_batch_end(trainer, classifier)
    assert copies.count == 0
    assert len(renormalization.layers) == 1


def test_the_loss_is_read_at_intervals(on_fake_gpu: Any) -> None:
    classifier, batch, trainer, _ = on_fake_gpu
    for step in (0, EVERY, 2 * EVERY):
        trainer.global_step = step
        with pytest.raises(DataDependentOutputException, match="_local_scalar_dense"):
            classifier.training_step(batch, step)


def test_a_copy_to_the_cpu_is_counted(on_fake_gpu: Any) -> None:
    *_, copies = on_fake_gpu
    value = fake(torch.zeros(3))
    value + 1
    assert copies.count == 0
    value.cpu()
    assert copies.count == 1
    with pytest.raises(DataDependentOutputException):
        value.sum().item()


@pytest.mark.parametrize("every", [1, AGREE_EVERY])
def test_processes_agree_at_intervals(monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    """Whether to stop is an all-reduce of all GPUs, which is read."""
    calls = []
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "all_reduce", lambda *_: calls.append(1))
    loop = SimpleNamespace(_should_accumulate=lambda: False)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    together = StopTogether()
    together.every = every
    for step in range(1, 31):
        trainer: Any = SimpleNamespace(
            fit_loop=loop, global_step=step, world_size=2, strategy=strategy
        )
        together.on_train_batch_end(trainer, None)  # type: ignore[arg-type]
    assert len(calls) == 30 / every
