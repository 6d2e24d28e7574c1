"""trainer.compile=true: checkpoints, hooks and resume are those of a plain network."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch._inductor import metrics

from tests.helpers.commands import Ended
from tests.helpers.compare_runs import same
from zfnet.data.preprocessing import Preprocessing
from zfnet.errors import InputError
from zfnet.models.introspection import capture_outputs
from zfnet.training.classifier import Classifier
from zfnet.training.trainer_options import check_trainer_options


class Watch(Callback):
    """Reads a layer with hooks in the middle of training."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        images = torch.linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8)
        net: Any = pl_module.net
        with torch.no_grad(), capture_outputs({"conv1": net.conv1.relu}, self.read):
            net(images)

    def read(self, _: str, output: torch.Tensor) -> None:
        self.seen.append(output.clone())


def test_names_hooks_and_checkpoints_stay(
    tiny_classifier: Callable[..., Classifier],
    tiny_data: Callable[..., Any],
    tiny_trainer: Callable[..., Trainer],
    tmp_path: Path,
) -> None:
    """The backend "eager" compiles to torch's own operations: the same bits."""
    found = []
    for compiled in (False, True):
        watch = Watch()
        first, second = tiny_classifier(), tiny_classifier()
        if compiled:
            first.net.compile(backend="eager")
            second.net.compile(backend="eager")
        path = tmp_path / f"{compiled}.ckpt"
        trainer = tiny_trainer(callbacks=[watch], max_epochs=1)
        trainer.fit(first, datamodule=tiny_data())
        trainer.save_checkpoint(path)
        tiny_trainer(callbacks=[watch], max_epochs=2).fit(
            second, datamodule=tiny_data(), ckpt_path=path, weights_only=True
        )
        found.append((watch.seen, torch.load(path, weights_only=True), second.state_dict()))
    (seen, saved, resumed), (seen_compiled, saved_compiled, resumed_compiled) = found
    assert len(seen_compiled) == 6
    assert same(seen, seen_compiled)
    for key in ("state_dict", "optimizer_states"):
        assert same(saved[key], saved_compiled[key])
    assert same(resumed, resumed_compiled)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_preparation_for_a_gpu_is_one_kernel() -> None:
    """Compiled here for a CPU. On a GPU the same graph is compiled."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (9, 16, 16, 3), generator=generator, dtype=torch.uint8)
    rows, crops = torch.tensor([8, 0, 3]), torch.tensor([[0, 2, 1], [2, 0, 0], [1, 1, 1]])
    prepare = Preprocessing(16, 14, "unit")
    prepare.set_mean(torch.rand(3, 16, 16, generator=generator) * 255)
    before = metrics.generated_kernel_count
    found = torch.compile(prepare.crop_on_gpu, fullgraph=True)(images, rows, crops)
    assert metrics.generated_kernel_count == before + 1
    torch.testing.assert_close(found, prepare.crop_on_cpu(images, rows, crops))


def test_without_a_compiler_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    options = {"max_epochs": 1, "compile": True}
    check_trainer_options({**options, "compile": False})
    with pytest.raises(InputError, match="needs the C\\+\\+ compiler no-such-compiler; install"):
        check_trainer_options(options)


@pytest.mark.slow
def test_a_compiled_run_resumes_bit_for_bit(command: Callable[..., Ended], tmp_path: Path) -> None:
    """And not without compilation, which rounds and drops out differently."""
    words = ("trainer.compile=true", "callbacks=[checkpoint,stop_checkpoint]", "test=false")
    stopper = "_target_:tests.helpers.mishaps.Stopper,step:6,number:15"
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert command(*words, f"hydra.run.dir={whole}").status == 0
    stopped = command(*words, f"hydra.run.dir={broken}", f"+callbacks.stopper={{{stopper}}}")
    assert stopped.status == 143
    eager = command("trainer.compile=false", *words[1:], f"hydra.run.dir={broken}", "resume=true")
    assert eager.status == 1
    assert "was made with trainer.compile=True" in eager.output
    assert command(*words, f"hydra.run.dir={broken}", "resume=true").status == 0
    states = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (whole, broken)
    ]
    assert same(*states)
