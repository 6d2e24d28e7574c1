"""Building an image store: images are decoded in threads, in order, one group at a time.

    Build(source, Path("stores/photos"), settings, max_bad=10).run(workers=2)

After each group its pixels are synced and progress.npz is replaced: the number of images that were
read, the exact sum of their pixels, and which could not be read. A build that was killed resumes
from there."""

import json
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zfnet.data.decoding import UnreadableImage, resize_and_crop
from zfnet.data.jpeg import can_be_jpeg
from zfnet.data.pixel_format import STEPS
from zfnet.data.source import Source
from zfnet.data.store_files import OFFSETS, compare, format_of, hash_of, is_jpeg
from zfnet.data.store_writers import Writer, writer_of
from zfnet.errors import InputError
from zfnet.io import npy, npz, read_back, save, save_lines
from zfnet.progress import progress_bar
from zfnet.sizes import Size, as_size, show_size, sides

GROUP = 128  # images between two syncs, two groups in memory; 128 * 255 fits in int16
TASK = 8  # images a thread takes at once
log = logging.getLogger(__name__)


class _Decoded(NamedTuple):
    """What came of one image: its JPEG if JPEGs are stored, or why it cannot be read."""

    jpeg: bytes
    reason: str | None


class Build:
    """One build, which resumes an earlier one."""

    def __init__(
        self, source: Source, folder: Path, settings: dict[str, Any], max_bad: int
    ) -> None:
        self.source, self.folder, self.settings, self.max_bad = source, folder, settings, max_bad
        self.size: Size = as_size(settings["size"])
        pixel_format = format_of(settings)
        self.dtype = pixel_format.torch_dtype
        self.shape = (*sides(self.size), pixel_format.channels)
        self.writer: Writer | None = writer_of(folder, settings) if settings["pixels"] else None
        self.done = 0  # images that were read, or could not be
        # Sums of uint16 are exact in float64, too.
        exact = torch.int64 if self.dtype == torch.uint8 else torch.float64
        self.total = torch.zeros(self.shape, dtype=exact)
        self.bad: list[tuple[int, str]] = []  # indices of unreadable images, and why
        self._resume()

    def run(self, workers: int | None) -> None:
        self._announce()
        start, already = time.monotonic(), self.done
        pool = ThreadPoolExecutor(workers)
        try:
            with self.writer or nullcontext(), progress_bar() as bar:
                task = bar.add_task("", total=len(self.source), completed=self.done)
                for group, waiting in self._groups(pool):
                    decoded: list[_Decoded] = []
                    for future in waiting:
                        decoded += future.result()
                        bar.update(task, completed=self.done + len(decoded))
                    self._commit(group, decoded)
                if self.writer is not None:
                    self.writer.finish(self.kept)
        finally:
            pool.shutdown(cancel_futures=True)
        self._finish()
        seconds = time.monotonic() - start
        speed = (self.done - already) / max(seconds, 1e-9)
        log.info(
            f"{self.folder}: {self.kept:,} images at {show_size(self.size)} pixels, "
            f"{len(self.bad)} unreadable, "
            f"{seconds:.1f} s, {speed:.0f} images/s"
        )

    @property
    def kept(self) -> int:
        return self.done - len(self.bad)

    def _announce(self) -> None:
        left = len(self.source) - self.done
        row = self.writer.image_bytes if self.writer is not None else 0
        needed = 2 * self.total.nbytes + left * row
        free = shutil.disk_usage(self.folder).free
        verb = "storing" if self.writer is not None else "only averaging"
        kind = " as JPEG" if is_jpeg(self.settings) else ""
        about = "about " if kind else ""
        log.info(
            f"{self.folder}: {verb} {left:,} images of {self.settings['source']} at "
            f"{show_size(self.size)} pixels{kind}, "
            f"{about}{needed:,} bytes ({row:,} an image), {free:,} free"
        )
        if needed > free:
            jpeg = can_be_jpeg(format_of(self.settings)) and not is_jpeg(self.settings)
            raise InputError(
                f"{self.folder}: the store needs {needed:,} bytes and {free:,} are free; "
                "free some space, or choose another data.store_dir, "
                f"{'data.store_format=jpeg ' if jpeg else ''}or data.store=false"
            )

    def _groups(
        self, pool: ThreadPoolExecutor
    ) -> Iterator[tuple[Tensor, list[Future[list[_Decoded]]]]]:
        """Groups of images being decoded; the next one is begun before the last is yielded."""
        count = len(self.source)
        buffers = torch.empty(2, min(GROUP, count), *self.shape, dtype=self.dtype)
        ahead: deque[tuple[Tensor, list[Future[list[_Decoded]]]]] = deque()
        for turn, first in enumerate(range(self.done, count, GROUP)):
            group = buffers[turn % 2][: count - first]
            starts = range(0, len(group), TASK)
            waiting = [pool.submit(self._decode, first + i, group[i : i + TASK]) for i in starts]
            ahead.append((group, waiting))
            if len(ahead) == 2:
                yield ahead.popleft()
        yield from ahead

    def _decode(self, first: int, out: Tensor) -> list[_Decoded]:
        """Decodes the images from `first` on into `out`."""
        decoded = []
        for row, pixels in enumerate(out, first):
            jpeg = b""
            try:
                image = resize_and_crop(self.source.read(row), self.size)
            except UnreadableImage as error:
                decoded.append(_Decoded(b"", str(error)))
                continue
            if self.writer is None:
                pixels.copy_(image)
            else:
                jpeg = self.writer.store(image, pixels)
            decoded.append(_Decoded(jpeg, None))
        return decoded

    def _commit(self, group: Tensor, decoded: list[_Decoded]) -> None:
        """Writes one more group: its images, then progress.npz."""
        reasons = [each.reason for each in decoded]
        bad = [(self.done + i, reason) for i, reason in enumerate(reasons) if reason is not None]
        found = len(self.bad) + len(bad)
        if found > self.max_bad:
            self._report(self.bad + bad)
        first = (self.bad + bad)[0][1] if found else ""
        check_bad(self.folder, found, self.done + len(group), self.max_bad, first)
        if bad:
            group = group[torch.tensor([reason is None for reason in reasons])]
        if self.writer is not None:
            jpegs = [each.jpeg for each in decoded if each.reason is None]
            self.writer.append(group, jpegs, self.kept)
        total = torch.zeros(
            self.shape, dtype=torch.int16 if self.dtype == torch.uint8 else torch.float64
        )
        for image in group:
            total.add_(image)
        self.total += total
        self.bad += bad
        self.done += len(decoded)
        state = {"done": self.done, "total": self.total.numpy(), "bad": json.dumps(self.bad)}
        save(self.folder / "progress.npz", npz(**state, settings=json.dumps(self.settings)))

    def _resume(self) -> None:
        path = self.folder / "progress.npz"
        if not os.path.lexists(path):
            return
        try:
            settings, done, total, bad = read_back(path, self._progress, "the build starts again")
        except InputError as error:
            log.warning("%s", error)
            return
        compare(self.folder, settings, self.settings)
        if self.writer is not None and not self.writer.has(done - len(bad)):
            log.warning(
                f"{self.folder}: {self.writer.names[0]} is shorter than it was; building from the "
                "start"
            )
            return
        self.done, self.total, self.bad = done, total, bad

    def _progress(self, path: Path) -> tuple[dict[str, Any], int, Tensor, list[tuple[int, str]]]:
        """Settings, number of images, sum, and unreadable images of an earlier build; checked."""
        with path.open("rb") as file, np.load(file) as state:
            settings = json.loads(str(state["settings"]))
            done, total, bad = int(state["done"]), state["total"], json.loads(str(state["bad"]))
        if not isinstance(settings, dict):
            raise TypeError("settings are no mapping")
        if settings != self.settings:  # `compare` names the difference
            return settings, 0, self.total, []
        if (total.shape, total.dtype) != (self.shape, self.total.numpy().dtype):
            raise ValueError(f"a sum of {total.dtype} {total.shape}")
        rows = [row for row, reason in bad if isinstance(row, int) and isinstance(reason, str)]
        if len(rows) < len(bad) or rows != sorted(set(rows)) or not 0 <= done <= len(self.source):
            raise ValueError(f"{done} images read, {len(bad)} unreadable")
        if rows and not 0 <= rows[0] <= rows[-1] < done:
            raise ValueError(f"image {rows[-1]} of {done} is unreadable")
        return settings, done, torch.from_numpy(total), [(row, reason) for row, reason in bad]

    def _report(self, bad: list[tuple[int, str]]) -> None:
        save_lines(
            self.folder / "unreadable.txt", [f"{self.source.ids[row]}\t{why}" for row, why in bad]
        )

    def _finish(self) -> None:
        if not self.kept:
            self._report(self.bad)
            raise InputError(
                f"{self.bad[0][1]}; none of the {self.done} images can be read: see "
                f"{self.folder / 'unreadable.txt'}"
            )
        skipped = {row for row, _ in self.bad}
        rows = [row for row in range(self.done) if row not in skipped]
        mean = (self.total.double() / self.kept / STEPS[self.dtype]).float()
        mean = mean.clamp(0, 255).permute(2, 0, 1).contiguous()  # floats may be rounded beyond
        self._report(self.bad)
        save_lines(self.folder / "ids.txt", [self.source.ids[row] for row in rows])
        save(self.folder / "labels.npy", npy(np.array(self.source.labels, dtype=np.int64)[rows]))
        save(self.folder / "mean.npy", npy(mean.numpy()))
        hashed = [
            "ids.txt",
            "labels.npy",
            "mean.npy",
            *([OFFSETS] if is_jpeg(self.settings) else []),
        ]
        hashes = {name: hash_of(self.folder / name) for name in hashed}
        index = {
            **self.settings,
            "kept": self.kept,
            "classes": list(self.source.classes),
            "hashes": hashes,
        }
        save(self.folder / "index.json", json.dumps(index, indent=1).encode())
        (self.folder / "progress.npz").unlink(missing_ok=True)


def check_bad(folder: Path, found: int, of: int, max_bad: int, first: str = "") -> None:
    """Raises InputError if `found` images of the first `of` are unreadable, more than `max_bad`;
    `first` says what is wrong with the first one."""
    if found > max_bad:
        reason = f"{first}; " if first else ""
        raise InputError(
            f"{reason}{found} of {of} images are unreadable, more than data.max_bad={max_bad}: "
            f"see {folder / 'unreadable.txt'}, fix or remove them, or raise data.max_bad"
        )
