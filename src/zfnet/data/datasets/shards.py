"""The files of a data set that is cut into shards: those of training and those of validation.

shards = Shards.find("photos", "train-{000..009}.tar", "**/*val*.tar")  # as shells write ranges
shards.labeled(TarImages, [records_of(shard) for shard in shards.all], "train")
"""

import glob
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from zfnet.data.datasets.records import Classes, Records, records_of_split
from zfnet.data.image_files import check_line_breaks, expand
from zfnet.data.source import Split
from zfnet.errors import InputError

RANGE = re.compile(r"(\d+)\.\.(\d+)")
BRACES = re.compile(r"\{([^{}]*)\}")
log = logging.getLogger(__name__)
MOST = 1_000_000  # names of one pattern
T = TypeVar("T")


@dataclass(frozen=True)
class Shards:
    """The files of both splits; without those of "val", a share of "train" is kept for it."""

    root: Path
    train: list[Path]
    val: list[Path]

    @classmethod
    def find(cls, root: str | Path, train: str, val: str | None) -> "Shards":
        """The files that two patterns name.

        Args:
            root: the folder of the files, or one file, which is then the only shard.
            train, val: the patterns, as of `find_shards`; no `val` is null.

        Raises:
            InputError: there are no such files, or a file is of both splits.
        """
        root = expand(root)
        found = find_shards(root, "train", train)
        held_out = [] if val is None or root.is_file() else find_shards(root, "val", val)
        if both := sorted({*found} & {*held_out}):
            raise InputError(
                f"data.train={train} and data.val={val} both name {both[0]}; name each file once"
            )
        return cls(root, found, held_out)

    @property
    def all(self) -> list[Path]:
        return [*self.train, *self.val]

    def labeled(
        self,
        kind: Callable[..., T],
        parts: Sequence[Records],
        split: Split,
        classes: Classes | None = None,
        val_fraction: float = 0.1,
        seed: int = 0,
    ) -> T:
        """The images of one split.

        Args:
            kind: what makes the data set: `Encoded` with the further fields `shards` and `places`.
            parts: the records of each file of `all`.
            split, classes, val_fraction, seed: as of `records_of_split`.

        Raises:
            InputError: no image is left, or as `records_of_split`.
        """
        root, count = self.root, len(self.train)
        held_out = Records.concatenate(parts[count:]) if self.val else None
        found = records_of_split(
            f"data.root={root}",
            Records.concatenate(parts[:count]),
            *(held_out, split, classes, val_fraction, seed),
        )
        check_line_breaks(root, found.records.ids)
        return kind(
            name=root.stem if root.is_file() else root.resolve().name or "shards",
            root=root.parent if root.is_file() else root,
            classes=found.classes,
            ids=found.records.ids,
            labels=found.labels,
            shards=self.all,
            places=found.records.places,
            faults=found.records.faults,
        )


def find_shards(root: Path, key: str, pattern: str) -> list[Path]:
    """The sorted files below `root` that a pattern names.

    Args:
        root: the folder; if it is a file, it is the only shard.
        key: of the pattern, "train" or "val", for messages.
        pattern: relative to `root`, with *, ?, **, {a,b} and {000..009}. Names without * and ? are
            returned whether they exist or not.

    Raises:
        InputError: there is no such folder or no such file.
    """
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise InputError(f"data.root={root}: no such folder")
    found: set[str] = set()
    for name in expand_braces(pattern):
        if glob.has_magic(name):
            found |= {f"{root}/{file}" for file in glob.iglob(name, root_dir=root, recursive=True)}  # noqa: PTH207 (Path.glob refuses "../")
        else:
            found.add(f"{root}/{name}")
        if len(found) > MOST:
            raise InputError(f"data.{key}={pattern}: more than {MOST:,} files")
    if not found:
        remedy = "; null keeps a tenth of the others for validation" if key == "val" else ""
        raise InputError(f"data.{key}={pattern}: no such file in {root}{remedy}")
    check_line_breaks(root, found)
    return [Path(path) for path in sorted(found)]


def expand_braces(pattern: str) -> Iterator[str]:
    """Every name of a pattern with {a,b} and {000..009}.

    >>> list(expand_braces("{a,b}-{09..11}.tar"))[:4]
    ['a-09.tar', 'a-10.tar', 'a-11.tar', 'b-09.tar']
    """
    braces = BRACES.search(pattern)
    if braces is None:
        yield pattern
        return
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    span = RANGE.fullmatch(braces[1])
    if span is None:
        parts: Iterator[str] = iter(braces[1].split(","))
    else:
        width = len(span[1])
        parts = (f"{number:0{width}d}" for number in range(int(span[1]), int(span[2]) + 1))
    for part in parts:
        yield from expand_braces(f"{before}{part}{after}")


def shard_name(shard: Path, root: Path) -> str:
    """A shard's path relative to the root, for ids."""
    return shard.name if shard == root else shard.relative_to(root).as_posix()


@cache
def log_damage(shard: Path, damage: str) -> None:
    """Warns of a damaged shard, once in a process, because both splits may read it."""
    log.warning("%s: %s; what comes after is not used", shard, damage)


def file_state(path: Path) -> tuple[int, int]:
    """A file's size and date, for caches; zeros if there is none."""
    try:
        state = path.stat()
    except OSError:
        return 0, 0
    return state.st_size, state.st_mtime_ns
