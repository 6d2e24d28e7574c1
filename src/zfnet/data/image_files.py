"""The image files below a folder, at any depth, and a line about what was left out.

    found = find_images("photos")
    found.files      # ["a.jpg", "trip/day 2/b.png"]
    found.summary()  # "photos: 2 images; passed over: 1 hidden (.venv/), 3 not images (.txt, .mp4)"

Files are named relative to the root, those of a folder before those of its subfolders.

Every part of a path is checked, except those of the root. Symbolic links are followed after all
other entries, so that a link never changes what is found without it. A folder that several links
lead to counts once, and a link to a folder above itself is not followed."""

import logging
import os
from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from zfnet.data.decoding import image_extensions
from zfnet.errors import InputError, one_line, printable

log = logging.getLogger(__name__)

# Folders of operating systems, network drives and tools, in lower case.
SYSTEM = {
    *(
        "__macosx",
        "@eadir",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "system volume information",
        "lost+found",
    ),
    *("__pycache__", "node_modules", "site-packages"),
}
THUMBNAILS = {"thumbnail", "thumbnails", "thumbs", "_thumbs"}
EXAMPLES = 3  # that the summary shows of each reason

FILE, FOLDER = "file", "folder"
HIDDEN, OF_SYSTEM, OF_THUMBNAILS, BACKGROUND = "hidden", "of the system", "thumbnails", "background"
NO_IMAGE, NO_FILE, DANGLING = "not images", "not regular files", "links to nothing"
LOOP, TWICE, UNREADABLE = (
    "links that lead back",
    "folders reached twice",
    "folders that cannot be read",
)


@dataclass
class PassedOver:
    """What was left out: the number for each reason, and some examples."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, example: str) -> None:
        self.counts[reason] += 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) <= EXAMPLES and example not in shown:
            shown.append(example)

    def __str__(self) -> str:
        return ", ".join(
            f"{count:,} {reason} ({', '.join(self.examples[reason][:EXAMPLES])}"
            f"{', ...' if len(self.examples[reason]) > EXAMPLES else ''})"
            for reason, count in self.counts.items()
        )


@dataclass
class ImageFiles:
    """The image files below `root`, as ordered paths relative to it, with "/"."""

    root: Path
    files: list[str]
    passed_over: PassedOver

    def summary(self) -> str:
        left_out = f"; passed over: {self.passed_over}" if self.passed_over.counts else ""
        return printable(f"{self.root}: {len(self.files):,} images{left_out}")

    def announce(self) -> None:
        """Logs the summary, once in a process, because both splits of a folder give the same
        one."""
        _log_once(self.summary())


@cache
def _log_once(line: str) -> None:
    log.info(line)


def find_images(root: str | os.PathLike[str], background: Collection[str] = ()) -> ImageFiles:
    """Finds the image files below a folder, at any depth.

    Args:
        root: the folder.
        background: folders of the first level to leave out.

    Raises:
        InputError: the folder cannot be read, or an image's path has a line break.
    """
    walk = _Walk(Path(root), background)
    order = sorted(walk.found, key=lambda folder: folder.split("/")[:-1])
    files = [folder + name for folder in order for name in sorted(walk.found[folder])]
    check_line_breaks(walk.root, files)
    return ImageFiles(walk.root, files, walk.passed_over)


def subfolders(root: str | os.PathLike[str]) -> list[str]:
    """The sorted names of the folders in a folder that `find_images` enters.

    Raises:
        InputError: the folder cannot be read.
    """
    here = os.path.realpath(root)
    return sorted(
        entry.name
        for entry in list_entries(root)
        if _kind(entry) == FOLDER
        and _why_left_out(entry.name, FOLDER) is None
        and not _leads_back(os.path.realpath(entry), here)
    )


def check_line_breaks(root: Path, ids: Iterable[str]) -> None:
    """Raises InputError for an id with a line break, because stores list one id per line."""
    for id_ in ids:
        if "\n" in id_:
            raise InputError(f"{f'{root}/{id_}'!r}: a name with a line break; rename it")


def expand(path: str | os.PathLike[str]) -> Path:
    """The path with ~ expanded; ~name of an unknown user stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False if the system cannot tell, as for a name that is too
    long."""
    try:
        return path.is_dir()
    except OSError:
        return False


class _Walk:
    """`found` holds the names of images by folder: "" for the root, else "trip/day 2/"."""

    def __init__(self, root: Path, background: Collection[str]) -> None:
        self.root, self.background = root, background
        self.extensions = image_extensions()
        self.found: dict[str, list[str]] = {}
        self.passed_over = PassedOver()
        self._entered: set[str] = set()  # real paths
        # Folders to enter later, with their real paths.
        self._links: deque[tuple[str, str]] = deque()
        here = os.path.realpath(root)
        self._enter("", here)
        while self._links:
            folder, place = self._links.popleft()
            if _leads_back(place, here):
                self.passed_over.add(LOOP, folder)
            else:
                self._enter(folder, place)

    def _enter(self, folder: str, place: str) -> None:
        """Collects what is below a folder whose real path is `place`; links to folders are entered
        later."""
        waiting = [(folder, place)]
        links: list[tuple[str, str]] = []
        while waiting:
            folder, place = waiting.pop()
            if place in self._entered:
                self.passed_over.add(TWICE, folder)
                continue
            self._entered.add(place)
            try:
                entries = list_entries(place)
            except InputError:
                if not folder:
                    raise
                self.passed_over.add(UNREADABLE, folder)
                continue
            inside: list[tuple[str, str]] = []
            images = []
            for entry in entries:
                kind = _kind(entry)
                if not self._passes(entry.name, kind, folder):
                    continue
                if kind == FILE:
                    images.append(entry.name)
                elif not entry.is_symlink():
                    inside.append((f"{folder}{entry.name}/", f"{place.rstrip('/')}/{entry.name}"))
                elif _leads_back(target := os.path.realpath(entry), place):
                    self.passed_over.add(LOOP, f"{folder}{entry.name}/")
                else:
                    links.append((f"{folder}{entry.name}/", target))
            if images:
                self.found[folder] = images
            waiting += sorted(inside, reverse=True)
        self._links += sorted(links)

    def _passes(self, name: str, kind: str, folder: str) -> bool:
        """Whether an entry is an image file or a folder to enter; others are counted as passed
        over."""
        reason, example = _why_left_out(name, kind), folder + name
        if reason is None and kind == FILE:
            stem, dot, ending = name.lower().rpartition(".")
            if dot + ending in self.extensions:
                return True
            reason, example = NO_IMAGE, dot + ending if stem else name
        elif reason is None and not folder and name in self.background:
            reason = BACKGROUND
        if reason is not None:
            self.passed_over.add(reason, f"{example}/" if kind == FOLDER else example)
        return reason is None


def _why_left_out(name: str, kind: str) -> str | None:
    """Why an entry is left out whatever it contains; None if it is not."""
    if name[0] == ".":
        return HIDDEN
    if kind == FILE:
        return None
    if kind != FOLDER:
        return kind
    lower = name.lower()
    return OF_SYSTEM if lower in SYSTEM else OF_THUMBNAILS if lower in THUMBNAILS else None


def list_entries(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(os.fspath(folder)) as entries:
            return list(entries)
    except OSError as error:
        raise InputError(
            f"{folder}: the folder cannot be read ({error.strerror or one_line(error)})"
        ) from error


def _kind(entry: os.DirEntry[str]) -> str:
    """FILE, FOLDER, NO_FILE (a pipe, a device) or DANGLING. Only links cost a system call."""
    try:
        if entry.is_file():
            return FILE
        if entry.is_dir():
            return FOLDER
    except OSError:  # a link to itself
        return DANGLING
    return DANGLING if entry.is_symlink() and not Path(entry).exists() else NO_FILE


def _leads_back(target: str, place: str) -> bool:
    """Whether the folder `target` is `place` or contains it; both are real paths."""
    return f"{place}/".startswith(f"{target.rstrip('/')}/")
