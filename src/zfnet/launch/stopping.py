"""How a process ends when it is asked to (SIGTERM, or SIGINT from the keyboard): within a bound.

    stop.watch()                              # once, at the start of a process
    Trainer(callbacks=[StopTogether()])

Where nothing holds the stop, `Stopped` is raised at once. During training it is held until all
processes of the run have done the same batch. They agree on it by an all-reduce, because a signal
comes to each at its own time, or to one alone. Then Lightning raises SIGTERMException on all of
them. A process that is not done `GRACE` seconds after the signal, say because it waits for one that
is gone, is ended by a thread."""

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

SIGNALS = (signal.SIGTERM, signal.SIGINT)
GRACE = 45.0  # seconds from the signal to the end of a run that holds the stop
AT_ONCE = 10.0  # of one that does not
SWEEP_GRACE = GRACE + 12  # of a sweep, which waits for its jobs


class Stopped(SystemExit):
    """This process was asked to stop by a signal. Its exit status is a shell's: 143 for SIGTERM,
    130 for SIGINT."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number
        self.told = False  # whether the user has been told

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}"


class Stop:
    """What this process knows of being asked to stop."""

    def __init__(self) -> None:
        self.number: int | None = None  # of the first signal
        # What the thread does before it ends the process.
        self.before_forced: list[Callable[[], None]] = []
        self._watching = self._held = self._asked = False
        self._noted: Callable[[], None] = lambda: None
        self._grace = AT_ONCE

    def watch(self) -> None:
        """Takes the signals of this process from now on. Only the main thread may call it."""
        if self._watching:
            return
        self._watching = True
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        for number in SIGNALS:
            signal.signal(number, self._ask)
        # The thread hears of a signal even while the main thread is inside a C function and runs no
        # handler.
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        threading.Thread(target=self._bound, args=(reader,), daemon=True, name="stop").start()
        os.register_at_fork(after_in_child=_forget_signals)

    def hold(self, noted: Callable[[], None] = lambda: None, grace: float = GRACE) -> None:
        """From now on a signal only sets `number`. The second SIGINT is an impatient user's, and is
        not held.

        Args:
            noted: is called when a signal comes.
            grace: seconds from the signal until the process is ended.
        """
        self._held, self._noted, self._grace = True, noted, grace

    def release(self) -> None:
        """From now on a signal raises `Stopped` at once, and one that was held does so now."""
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
        while number not in SIGNALS:
            number = os.read(reader, 1)[0]
        self.number = self.number or number  # the main thread may never come to its handler
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
    """A forked child takes its signals as any process does."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


stop = Stop()  # of this process


class StopTogether(Callback):
    """Ends training, validation and test on all processes of a run after the same batch."""

    def __init__(self) -> None:
        # Batches that every process has, of each data loader of an evaluation.
        self._shared: list[int] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Lightning's own handler broadcasts from within, while another process may be in another
        # collective.
        trainer._signal_connector._sigterm_notifier_fn = lambda *_: None  # type: ignore[method-assign]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        stop.release()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._hold(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        # Between accumulated batches the state is not whole. Lightning raises when all callbacks
        # have had the batch.
        if not trainer.fit_loop._should_accumulate() and _agreed(trainer):
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
        """A process alone has nobody to agree with: Lightning may know at once."""

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
    """Whether any process of the run was asked to stop. All of them call it at the same place."""
    number = int(_reduced(trainer, torch.tensor([stop.number or 0]), distributed.ReduceOp.MAX))
    if number:
        stop.number = number  # a signal that came meanwhile is seen at the next place
    return number != 0


def _reduced(trainer: Trainer, values: Tensor, operation: Any) -> Tensor:
    """The values of all processes of a run together; `operation` is one of
    torch.distributed.ReduceOp."""
    if trainer.world_size > 1 and distributed.is_initialized():
        values = values.to(trainer.strategy.root_device)
        distributed.all_reduce(values, operation)
    return values
