"""Stops a process after SIGTERM, SIGINT, SIGUSR1 or SIGUSR2, within a time limit.

    stop.watch()                              # once, at the start of a process
    Trainer(callbacks=[StopTogether()])

By default a signal raises `Stopped` at once. During training the stop is deferred until all
processes of the run have finished the same batch. They agree on that batch with an all-reduce,
because a signal may reach them at different times, or only one of them. Lightning then raises
SIGTERMException in all of them. If a process has not ended `GRACE` seconds after the signal, for
example because it waits for a process that died, a thread ends it.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, distributed

from zfnet.launch.processes import further_process

# Clusters announce preemption and the end of a job's time by SIGTERM, SIGUSR1 or SIGUSR2.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
AGREE_EVERY = 10  # steps between agreements of several GPUs, since each waits for all of them
GRACE = 45.0  # seconds that a process has to end after a signal, while it defers the stop
AT_ONCE = 10.0  # the same, while it does not
SWEEP_GRACE = GRACE + 12  # the same for a sweep, which waits for its jobs


class Stopped(SystemExit):
    """A signal stopped this process.

    The exit status is 128 and its number: 143 after SIGTERM, 130 after SIGINT, 138 after SIGUSR1
    and 140 after SIGUSR2.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number
        self.told = False  # whether the stop has been reported

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}"


class Stop:
    """Handles the signals that stop this process.

    Attributes:
        number: the first signal, or None.
        before_forced: functions that are called before the process is ended by force.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.before_forced: list[Callable[[], None]] = []
        self._watched: list[int] = []  # signals
        self._held = self._asked = False
        self._noted: Callable[[], None] = lambda: None
        self._grace = AT_ONCE

    def watch(self) -> None:
        """Installs the signal handlers. Only the main thread may call this.

        A launcher's own handlers of SIGUSR1 and SIGUSR2 stay: submitit requeues a job with one.
        """
        if self._watched:
            return
        self._watched = [
            number
            for number in SIGNALS
            if number in (signal.SIGTERM, signal.SIGINT)
            or signal.getsignal(number) == signal.SIG_DFL
        ]
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        for number in self._watched:
            signal.signal(number, self._ask)
        # The thread reads signals from the pipe even while the main thread is inside a C function
        # and runs no handler.
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        threading.Thread(target=self._bound, args=(reader,), daemon=True, name="stop").start()
        os.register_at_fork(after_in_child=_forget_signals)

    def hold(self, noted: Callable[[], None] = lambda: None, grace: float = GRACE) -> None:
        """Defers the stop: a signal only sets `number`. A second SIGINT still stops the process.

        Args:
            noted: called when a signal arrives.
            grace: seconds from the signal until the process is ended by force.
        """
        self._held, self._noted, self._grace = True, noted, grace

    def release(self) -> None:
        """Ends the deferral. From now on, a signal raises `Stopped` at once.

        Raises:
            Stopped: if a signal arrived during the deferral.
        """
        self._held, self._noted, self._grace = False, lambda: None, AT_ONCE
        if self.number is not None:
            raise Stopped(self.number)

    def _ask(self, number: int, _: FrameType | None) -> None:
        impatient, self._asked = number == signal.SIGINT and self._asked, True
        self.number = self.number or number
        self._noted()
        if impatient or not self._held:
            raise Stopped(self.number)

    def _bound(self, reader: int) -> None:
        number = 0
        while number not in self._watched:
            number = os.read(reader, 1)[0]
        self.number = self.number or number  # the main thread may never run its handler
        asked = time.monotonic()
        while time.monotonic() < asked + self._grace:
            time.sleep(0.2)
        if not further_process():
            line = f"{Stopped(number)}: not done within {self._grace:.0f} s, so it was ended\n"
            os.write(2, line.encode())
        for action in self.before_forced:
            action()
        os._exit(128 + number)


def _forget_signals() -> None:
    """Restores the default signal handlers in a forked child."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


stop = Stop()  # the only instance of this process


class StopTogether(Callback):
    """Stops training, validation and testing after the same batch in all processes of a run."""

    def __init__(self) -> None:
        # For each evaluation loader, the number of batches that every process has.
        self._shared: list[int] = []
        self.every = 1  # optimizer steps between agreements

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Lightning's own handler broadcasts, while another process may be in another collective.
        trainer._signal_connector._sigterm_notifier_fn = lambda *_: None  # type: ignore[method-assign]
        gpus = trainer.world_size > 1 and trainer.strategy.root_device.type != "cpu"
        self.every = AGREE_EVERY if gpus else 1

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        stop.release()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._hold(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        # Between accumulated batches the state is incomplete. Lightning raises SIGTERMException
        # after all callbacks have run.
        due = not trainer.fit_loop._should_accumulate() and trainer.global_step % self.every == 0
        if due and _agreed(trainer):
            trainer._signal_connector.received_sigterm = True

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start(
            trainer,
            trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches,
        )

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._end(trainer, batch_idx, dataloader_idx)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start(trainer, trainer.num_test_batches)

    on_test_batch_end = on_validation_batch_end

    @staticmethod
    def _hold(trainer: Trainer) -> None:
        """Defers the stop. A single process tells Lightning at once, without agreement."""

        def noted() -> None:
            trainer._signal_connector.received_sigterm |= trainer.world_size == 1

        stop.hold(noted)

    def _start(self, trainer: Trainer, batches: Sequence[float]) -> None:
        self._hold(trainer)
        counts = torch.tensor([min(count, 2**62) for count in batches], dtype=torch.long)
        self._shared = _reduced(trainer, counts, distributed.ReduceOp.MIN).tolist()
        if _agreed(trainer):
            raise SIGTERMException

    def _end(self, trainer: Trainer, batch: int, loader: int) -> None:
        if batch < self._shared[loader] and _agreed(trainer):
            raise SIGTERMException


def _agreed(trainer: Trainer) -> bool:
    """Whether any process of the run received a signal. All processes must call it together."""
    number = int(_reduced(trainer, torch.tensor([stop.number or 0]), distributed.ReduceOp.MAX))
    if number:
        stop.number = number  # a signal that arrives meanwhile is seen at the next call
    return number != 0


def _reduced(trainer: Trainer, values: Tensor, operation: Any) -> Tensor:
    """Reduces values over all processes with an operation of `torch.distributed.ReduceOp`."""
    if trainer.world_size > 1 and distributed.is_initialized():
        values = values.to(trainer.strategy.root_device)
        distributed.all_reduce(values, operation)
    return values
