"""The TensorBoard log of a run that may be killed: after a resume it holds each point exactly once.

    logger = EventLogger(folder)
    lengths = logger.lengths()      # at a checkpoint: {"events.out.tfevents...": 5120}
    cut_back(folder, lengths)       # on resume: what came after the checkpoint is gone

TensorBoard's own writer leaves writing to a thread, which on a full disk fails with a traceback of
its own and half a record in the file. This one writes at once."""

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
    """One event file, in the place of TensorBoard's EventFileWriter. A record is in it whole or not
    at all."""

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
        return str(self.path.parent)

    def add_event(self, event: Event) -> None:
        """Appends a record.

        Raises:
            InputError: the disk is full. What was written of the record is taken back.
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
        """Everything is written already."""

    def sync(self) -> None:
        """To the disk itself."""
        with writing(self.path):
            os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


class _Writer(FileWriter):
    def __init__(self, folder: Path) -> None:
        self.event_writer = EventFile(folder)


class EventWriter(SummaryWriter):
    """torch's SummaryWriter on an EventFile."""

    file_writer: FileWriter | None  # type: ignore[assignment]
    all_writers: dict[str, FileWriter] | None  # type: ignore[assignment]

    def _get_file_writer(self) -> FileWriter:
        if self.file_writer is None:
            self.file_writer = _Writer(Path(self.log_dir))
            self.all_writers = {self.log_dir: self.file_writer}
            if self.purge_step is not None:
                session = Event(wall_time=time.time(), step=self.purge_step)
                # START: readers drop the later steps of earlier files.
                session.session_log.status = 1
                self.file_writer.event_writer.add_event(session)
                self.purge_step = None
        return self.file_writer


class EventLogger(TensorBoardLogger):
    """Lightning's logger, writing at once, into the run's own folder.

    Args:
        folder: the run's.
        purge_step: of a log that another writer left: readers drop what it has from this step on.
    """

    def __init__(self, folder: str | Path, purge_step: int | None = None) -> None:
        super().__init__(folder, name="", version="")
        self._folder, self.purge_step = Path(folder), purge_step

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        if self._experiment is None:
            self._experiment = EventWriter(str(self._folder), purge_step=self.purge_step)
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            self.experiment.add_scalar(name, value, step)

    def save(self) -> None:
        """Everything is written already."""

    def lengths(self) -> dict[str, int]:
        """How long each event file of the folder is, once all of this process's is on the disk; {}
        on the other processes of a run."""
        if not isinstance(self._experiment, EventWriter):
            return {}
        if self._experiment.file_writer is not None:  # it is closed after training
            self._experiment.file_writer.event_writer.sync()
        return {path.name: length_of(path) for path in sorted(self._folder.glob(PATTERN))}


def cut_back(folder: Path, lengths: Mapping[str, int]) -> None:
    """Takes everything out of a folder's event files that came after a checkpoint.

    Args:
        folder: the run's.
        lengths: of `EventLogger.lengths`, kept in the checkpoint; {} for a start from the
            beginning.

    Raises:
        InputError: the files cannot be written.
    """
    for path in folder.glob(PATTERN):
        with writing(path):
            if path.name not in lengths:
                path.unlink()
            elif length_of(path) > lengths[path.name]:
                os.truncate(path, lengths[path.name])
