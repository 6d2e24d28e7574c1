"""What an analysis has found so far, in a file, so that an interrupted run continues.

file = ProgressFile(folder / "search.pt", fingerprint)
found = file.load(parse)    # None where there is no file
if file.is_due:
    file.save(found)
file.delete()
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from zfnet.fingerprint import check_fingerprint
from zfnet.io import read_json, read_torch, save_json, save_torch

DELETE = "delete it to start again"
SAVED_EVERY = 60  # seconds of work that a kill may cost
T = TypeVar("T")


class ProgressFile:
    """A file of intermediate results. It is read only with the network, images and settings it was
    made with.

    Args:
        path: JSON where its name ends in .json, otherwise torch's format.
        fingerprint: What the results depend on.
    """

    def __init__(self, path: Path, fingerprint: Mapping[str, Any]) -> None:
        self.path, self.fingerprint = path, dict(fingerprint)
        self._saved = time.monotonic()

    def load(self, parse: Callable[[Any], T]) -> T | None:
        """What was saved; None where there is no file.

        Args:
            parse: Checks what was saved, and returns it as it is needed. Whatever it raises means
                that the file is damaged.

        Raises:
            InputError: The file is damaged, or was made with another fingerprint.
        """

        def checked(content: Any) -> T:
            if not isinstance(content, dict) or not isinstance(content.get("fingerprint"), dict):
                raise ValueError("it does not say what it was made with")
            remedy = f"give the same settings, or {DELETE}"
            check_fingerprint(self.path, content["fingerprint"], self.fingerprint, remedy)
            return parse(content["found"])

        if not os.path.lexists(self.path):
            return None
        return (read_json if self.path.suffix == ".json" else read_torch)(
            self.path, DELETE, checked
        )

    def save(self, found: Any) -> None:
        """Writes the whole file, or leaves the old one."""
        content = {"fingerprint": self.fingerprint, "found": found}
        (save_json if self.path.suffix == ".json" else save_torch)(self.path, content)
        self._saved = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the last save was more than a minute ago."""
        return time.monotonic() - self._saved > SAVED_EVERY

    def delete(self) -> None:
        """Removes the file, if it exists."""
        self.path.unlink(missing_ok=True)
