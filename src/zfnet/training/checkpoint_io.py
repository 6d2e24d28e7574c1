"""Checkpoints on the disk: each is written beside its place, flushed, and renamed.

Trainer(plugins=[AtomicCheckpointIO()])
"""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO

from zfnet.io import save_torch, writing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's own writes into TMPDIR and copies, which a kill cuts short where that is another
    disk."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Writes a checkpoint.

        Raises:
            InputError: the disk is full, or the folder cannot be written. The checkpoint before it
                is left.
        """
        path = Path(path)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        save_torch(path, checkpoint)
