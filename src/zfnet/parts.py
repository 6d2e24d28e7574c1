"""A long job in parts. Each finished part is in a file, and processes share the parts out.

    parts = Parts(folder, "search", fingerprint)
    for number in parts.missing(count):         # those of this process
        parts.save(number, compute(number))
    found = parts.results(count, parse)         # of all processes, in order
    parts.delete()                              # once the result is written

What a part is must not depend on the number of processes. Then the result has the same bytes with
any number of them, and an interrupted job continues with any number.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from zfnet import ranks
from zfnet.errors import InputError
from zfnet.progress_file import ProgressFile

T = TypeVar("T")
BLOCKS, LEAST = 64, 64  # blocks of images at most, and images of a block at least
APPEARS = 90.0  # seconds until a network's file system shows what another machine wrote


class Parts:
    """The files of a job, NAME_0.pt, NAME_1.pt, ...

    Args:
        folder: where they are. All processes must see it.
        name: of the job.
        fingerprint: what the results depend on.
    """

    def __init__(self, folder: Path, name: str, fingerprint: Mapping[str, Any]) -> None:
        self.folder, self.name, self.fingerprint = folder, name, fingerprint

    def missing(self, count: int) -> list[int]:
        """Returns this process's share of the parts that are not finished.

        Every process must call it.

        Args:
            count: the number of parts.

        Raises:
            InputError: a file is damaged, or was made with another fingerprint.
        """
        missing = [n for n in range(count) if self._file(n).load(lambda _: True) is None]
        # All count with what the first process sees, before any of them saves a part.
        return list(ranks.share(ranks.collect([missing])[0]))

    def begun(self, number: int) -> ProgressFile:
        """Returns the file of a part that takes minutes, for what is found so far."""
        return ProgressFile(self.folder / f"{self.name}_{number}.begun.pt", self.fingerprint)

    def save(self, number: int, found: Any) -> None:
        """Writes a finished part, and deletes what was begun.

        Args:
            number: of the part.
            found: tensors in plain containers.
        """
        self._file(number).save(found)
        self.begun(number).delete()

    def results(self, count: int, parse: Callable[[int, Any], T]) -> list[T]:
        """Waits for all processes, and returns what they found, in order.

        Args:
            count: the number of parts.
            parse: given the number of a part and what was saved, checks it and returns it as it is
                needed. Whatever it raises means that the file is damaged.

        Raises:
            InputError: a file is damaged, was made with another fingerprint, or is not there.
        """
        ranks.wait()
        found = []
        for number in range(count):
            file = self._file(number)
            until = time.monotonic() + APPEARS
            while (each := file.load(partial(parse, number))) is None:
                if time.monotonic() > until:
                    raise InputError(
                        f"{file.path}: another process wrote it, and it is not here: all machines "
                        "must see one folder"
                    )
                time.sleep(0.5)
            found.append(each)
        ranks.wait()  # before the first process deletes them
        return found

    def delete(self) -> None:
        """Deletes all files of the job."""
        for path in self.folder.glob(f"{self.name}_*.pt"):
            path.unlink(missing_ok=True)

    def _file(self, number: int) -> ProgressFile:
        return ProgressFile(self.folder / f"{self.name}_{number}.pt", self.fingerprint)


def image_blocks(count: int, batch_size: int) -> list[range]:
    """Divides images into blocks of whole batches.

    Args:
        count: the number of images.
        batch_size: the number of images of a batch.
    """
    batches = -(-max(LEAST, count // BLOCKS) // batch_size)
    step = batches * batch_size
    return [range(start, min(start + step, count)) for start in range(0, count, step)]
