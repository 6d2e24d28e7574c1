"""The software's own files, and how each can be damaged."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

Damage = Callable[[Path], None]


@dataclass(frozen=True)
class Kept:
    """A file of ours, below a folder that is copied for each case, and the command that reads it.

    In `words`, {at} is the copy. `survives` names damages that the command gets over: "*" is all.
    """

    file: str
    script: str
    words: tuple[str, ...]
    survives: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.file} ({self.script} {self.words[0]})"


def damages(path: Path) -> Iterator[tuple[str, Damage]]:
    """Names of damages and what does them, those that fit the kind of file."""
    for name, share in (
        ("emptied", 0.0),
        ("cut at 10 %", 0.1),
        ("cut at half", 0.5),
        ("cut at 99 %", 0.99),
    ):
        yield name, lambda file, share=share: _cut(file, share)
    yield (
        "random bytes",
        lambda file: file.write_bytes(random.Random(0).randbytes(file.stat().st_size)),
    )
    yield "a picture", lambda file: file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    yield "a folder", _folder
    yield "a link to itself", _loop
    if path.suffix == ".json":
        for text in ("[]", "{}", "3", '"abc"', "null", "[[1]]", '{"a": NaN}'):
            yield f"{text} for JSON", lambda file, text=text: file.write_text(text)
        yield "not UTF-8", lambda file: file.write_bytes(b'{"\xff": 1}')
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            for key in list(content)[:4]:
                yield f"without {key}", lambda file, key=key: _without(file, key)
                yield f"null for {key}", lambda file, key=key: _json(file, key, None)
                yield f"a list for {key}", lambda file, key=key: _json(file, key, ["x"])
    if path.suffix in (".pt", ".ckpt", ".pth"):
        for value in ([], {}, 3, None, torch.zeros(3)):
            yield f"{value!r} for torch", lambda file, value=value: torch.save(value, file)
        content = torch.load(path, weights_only=True)
        for key in list(content)[:4] if isinstance(content, dict) else []:
            yield f"without {key}", lambda file, key=key: _torch(file, key, None)
            yield f"a number for {key}", lambda file, key=key: _torch(file, key, 3)
    if path.suffix in (".csv", ".txt", ".yaml"):
        yield (
            "not UTF-8",
            lambda file: file.write_bytes(file.read_bytes().replace(b"a", b"\xff\xfe")),
        )
        yield "other text", lambda file: file.write_text("a,b\n1\n{[:\n\t- x: y: z\n")


def _cut(file: Path, share: float) -> None:
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def _without(file: Path, key: str) -> None:
    content = json.loads(file.read_text())
    del content[key]
    file.write_text(json.dumps(content))


def _json(file: Path, key: str, value: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))


def _torch(file: Path, key: Any, value: Any) -> None:
    content = torch.load(file, weights_only=True)
    if value is None:
        del content[key]
    else:
        content[key] = value
    torch.save(content, file)


def copy(source: Path, target: Path) -> None:
    """A fresh copy of a folder."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
