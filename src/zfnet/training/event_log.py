"""A TensorBoard log that contains each point exactly once, even after a run is killed and resumed.

    logger = EventLogger(folder)
    lengths = logger.lengths()      # at a checkpoint: {"events.out.tfevents...": 5120}
    cut_back(folder, lengths)       # on resume: removes everything after the checkpoint

TensorBoard's own writer uses a thread. On a full disk it prints a traceback and leaves an
incomplete record in the file. This writer writes immediately.
"""

import io
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import FileWriter, SummaryWriter

from zfnet.io import length_of, writing

PATTERN = "events.out.tfevents.*"


class EventFile:
    """One event file, as a replacement for TensorBoard's EventFileWriter.

    A record is written completely or not at all.

    Args:
        folder: the directory. It is created if needed.

    Raises:
        InputError: if the file cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self.path = (
            folder / f"events.out.tfevents.{time.time():017.6f}.{platform.node()}.{os.getpid()}.0"
        )
        self.length = 0
        with writing(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def get_logdir(self) -> str:
        """Returns the directory of the file."""
        return str(self.path.parent)

    def add_event(self, event: Event) -> None:
        """Appends a record.

        Args:
            event: the record.

        Raises:
            InputError: if the disk is full. The incomplete record is removed.
        """
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        rest = record.getbuffer()
        with writing(self.path):
            try:
                while rest:
                    rest = rest[os.write(self._file, rest) :]
            except OSError:
                os.ftruncate(self._file, self.length)
                os.lseek(self._file, self.length, os.SEEK_SET)
                raise
        self.length += len(record.getbuffer())

    def flush(self) -> None:
        """Does nothing, because records are written immediately."""

    def sync(self) -> None:
        """Flushes the file to the disk."""
        with writing(self.path):
            os.fsync(self._file)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


class _Writer(FileWriter):
    def __init__(self, folder: Path) -> None:
        self.event_writer = EventFile(folder)


class EventWriter(SummaryWriter):
    """torch's SummaryWriter with an EventFile."""

    file_writer: FileWriter | None  # type: ignore[assignment]
    all_writers: dict[str, FileWriter] | None  # type: ignore[assignment]

    def _get_file_writer(self) -> FileWriter:
        if self.file_writer is None:
            self.file_writer = _Writer(Path(self.log_dir))
            self.all_writers = {self.log_dir: self.file_writer}
            if self.purge_step is not None:
                session = Event(wall_time=time.time(), step=self.purge_step)
                session.session_log.status = 1  # START: readers drop later steps of earlier files
                self.file_writer.event_writer.add_event(session)
                self.purge_step = None
        return self.file_writer


class EventLogger(TensorBoardLogger):
    """Lightning's TensorBoard logger, which writes to the run directory immediately.

    Args:
        folder: the run directory.
        purge_step: if the log was written by another writer, readers ignore its points from this
            step on.
    """

    def __init__(self, folder: str | Path, purge_step: int | None = None) -> None:
        super().__init__(folder, name="", version="")
        self._folder, self.purge_step = Path(folder), purge_step

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The writer."""
        if self._experiment is None:
            self._experiment = EventWriter(str(self._folder), purge_step=self.purge_step)
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Writes metrics.

        Args:
            metrics: values by name.
            step: the optimizer step.
        """
        for name, value in metrics.items():
            self.experiment.add_scalar(name, value, step)

    def save(self) -> None:
        """Does nothing, because records are written immediately."""

    def lengths(self) -> dict[str, int]:
        """Flushes this process's file to the disk, and returns the lengths of all event files.

        Returns:
            Lengths in bytes by file name; {} in processes other than the first.
        """
        if not isinstance(self._experiment, EventWriter):
            return {}
        if self._experiment.file_writer is not None:  # None after training, when it is closed
            self._experiment.file_writer.event_writer.sync()
        return {path.name: length_of(path) for path in sorted(self._folder.glob(PATTERN))}


def cut_back(folder: Path, lengths: Mapping[str, int]) -> None:
    """Removes all records that were written after a checkpoint.

    Args:
        folder: the run directory.
        lengths: the result of `EventLogger.lengths` at the checkpoint; {} to remove all files.

    Raises:
        InputError: if the files cannot be changed.
    """
    for path in folder.glob(PATTERN):
        with writing(path):
            if path.name not in lengths:
                path.unlink()
            elif length_of(path) > lengths[path.name]:
                os.truncate(path, lengths[path.name])
