"""Writes checkpoints atomically: to a temporary file that is flushed and then renamed.

    Trainer(plugins=[AtomicCheckpointIO()])

A process that is killed leaves no incomplete checkpoint.
"""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO

from zfnet.io import save_torch, writing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically.

    Lightning's own plugin writes to TMPDIR and copies the file if that is on another disk. If the
    process is killed, the copy is incomplete.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Writes a checkpoint.

        Args:
            checkpoint: the content.
            path: the file.
            storage_options: ignored.

        Raises:
            InputError: if the file cannot be written. An existing file is kept.
        """
        path = Path(path)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        save_torch(path, checkpoint)
