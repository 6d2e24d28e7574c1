"""Images of a data set of the `datasets` library that is read from the network as it is stored.

    images = StreamedImages(..., table=load_dataset(name, streaming=True)["train"], rows=[0, 2])

Nothing but the image store is written to the disk. The threads that build a store ask for the
images almost in their order. Those that are read before they are asked for are kept."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from zfnet.data.datasets.base import Encoded
from zfnet.data.datasets.parquet import image_of_cell
from zfnet.errors import InputError, one_line


@dataclass
class StreamedImages(Encoded):
    """Images of one split of a `datasets.IterableDataset`.

    Args:
        table: the split, whose images are not decoded.
        rows: of the images, increasing.
        column: of the images.
        paths: of the files that the split is read from.
    """

    in_order: ClassVar[bool] = True

    table: Any
    rows: Sequence[int]
    column: str
    paths: Sequence[str]

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._cells: Iterator[Any] = iter(())  # of the rows from `_row` on
        self._row = self._next = 0  # the next row, and the index of the next image
        self._kept: dict[int, Any] = {}  # cells by the index of their image

    def encoded(self, index: int) -> np.ndarray:
        with self._lock:
            if index not in self._kept:
                if index < self._next or self._next == 0:
                    self._start(index)
                while index not in self._kept:
                    self._read_row()
            return image_of_cell(self._kept.pop(index))

    def files(self) -> Iterable[str]:
        return self.paths

    def _start(self, index: int) -> None:
        """Begins to read at an image."""
        self._row, self._next = self.rows[index], index
        self._cells = iter(self.table.skip(self._row))

    def _read_row(self) -> None:
        """Reads a row, and keeps its image if it is one of these.

        Raises:
            InputError: the data set cannot be read, or has become shorter.
        """
        try:
            cell = next(self._cells)[self.column]
        except StopIteration as error:
            raise InputError(f"{self.root}: ends before row {self._row}") from error
        except MemoryError:
            raise
        except Exception as error:  # of the network, Arrow, the hub and their own
            self._next = 0
            raise InputError(
                f"{self.root}, row {self._row}: {one_line(error)}; the same command goes on"
            ) from error
        if self._row == self.rows[self._next]:
            self._kept[self._next] = cell
            self._next += 1
        self._row += 1
