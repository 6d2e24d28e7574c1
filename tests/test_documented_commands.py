"""Every command that README and the configs' heads show composes."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

ROOT = Path(__file__).parents[1]
COMMAND = re.compile(r"python (train|analyze)\.py((?: +(?!#)[^\s`;]+)*)")
PLACEHOLDERS = {
    "NAME",
    "KEY",
    "CHECKPOINT",
    "LAYER",
    "FOLDER",
}  # of commands that show a pattern, not a value


def commands() -> list[tuple[str, str]]:
    """(script, words) of every command, once."""
    texts = [(ROOT / "README.md").read_text().replace("\\\n", " ")]
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        lines = path.read_text().splitlines()
        texts.append("\n".join(line.removeprefix("#") for line in lines if line.startswith("#")))
    found = {(script, words.strip()) for text in texts for script, words in COMMAND.findall(text)}
    return sorted(found)


def overrides(words: str) -> list[str]:
    """The words of one run: of a sweep the first values, of optional words in brackets the words."""
    plain = re.sub(r"\[((?:[\w.]+=)[^ ]*)\]", r"\1", words.replace(",...]", "]"))
    given = [word.rstrip(",.") for word in shlex.split(plain)]
    given = [
        word
        for word in given
        if "=" in word and word[0] != "[" and not set(re.split(r"[=.]", word)) & PLACEHOLDERS
    ]
    parsed = OverridesParser.create().parse_overrides(given)
    return [
        f"{word.partition('=')[0]}={next(iter(each.sweep_string_iterator()))}"
        if each.is_sweep_override()
        else word
        for word, each in zip(given, parsed, strict=True)
    ]


@pytest.mark.parametrize(("script", "words"), commands(), ids=lambda part: part.replace("/", "-"))
def test_a_documented_command_composes(composed: Callable[..., DictConfig], script: str, words: str) -> None:
    assert composed(*overrides(words), root=script)


def test_commands_are_found() -> None:
    assert len(commands()) > 40
    assert ("train", "model=zfnet") in commands()
