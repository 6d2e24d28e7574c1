"""Where the time of a training step goes, by operator of PyTorch.

Trainer(callbacks=[OperatorProfile(steps=5)])
"""

import logging
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from zfnet.validation import Count

log = logging.getLogger(__name__)
ROWS = 20


class OperatorProfile(Callback):
    """Profiles a few steps after the first one, and logs a table of operators, slowest first.

    Times are those of an operator itself, without the operators that it calls: on the GPU for a
    network on a GPU, otherwise on the CPU. The profiler slows small operators down.

    Args:
        steps: how many steps are profiled.
    """

    def __init__(self, steps: Count = 5) -> None:
        self.steps, self._done = steps, 0
        self._profile: profile | None = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx >= 1 and self._done == 0 and self._profile is None:
            on_gpu = pl_module.device.type == "cuda"
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
            self._profile = profile(activities=activities)
            self._profile.__enter__()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self._profile is not None:
            self._done += 1
            if self._done == self.steps or trainer.is_last_batch:
                self._stop(pl_module.device.type == "cuda")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if self._profile is not None:
            self._profile.__exit__(None, None, None)
            self._profile = None

    def _stop(self, on_gpu: bool) -> None:
        assert self._profile is not None
        self._profile.__exit__(None, None, None)
        events = [
            each for each in self._profile.key_averages() if each.device_type == DeviceType.CPU
        ]
        self._profile = None
        times = {
            each.key: (
                each.self_device_time_total if on_gpu else each.self_cpu_time_total,
                each.count,
            )
            for each in events
        }
        log.info("%s", "\n".join(table(times, self._done)))


def table(times: dict[str, tuple[float, int]], steps: int) -> list[str]:
    """Returns the lines of the table.

    Args:
        times: for each operator its time in microseconds and its calls, in all steps together.
        steps: the number of steps.
    """
    total = sum(time for time, _ in times.values()) or 1.0
    slowest = sorted(times.items(), key=lambda each: -each[1][0])[:ROWS]
    head = f"{steps} training steps of {total / steps / 1000:.1f} ms, by operator"
    return [
        head,
        " share  ms a step  calls a step  operator",
        *(
            f"{time / total:6.1%}  {time / steps / 1000:9.2f}  {calls / steps:12.4g}  {name}"
            for name, (time, calls) in slowest
        ),
    ]
