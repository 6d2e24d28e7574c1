"""Images inside tar archives, read by their offset."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zfnet.data.datasets.base import Encoded
from zfnet.data.tar_index import read_part


@dataclass
class TarImages(Encoded):
    """Images in tar archives.

    Args:
        shards: the archives.
        places: int64 (N, 3): of each image the index of its archive, its offset and its size.
    """

    shards: list[Path]
    places: np.ndarray

    def encoded(self, index: int) -> np.ndarray:
        shard, offset, size = self.places[index].tolist()
        return read_part(self.shards[shard], offset, size)

    def files(self) -> Iterable[str]:
        return (str(self.shards[shard]) for shard in np.unique(self.places[:, 0]))
