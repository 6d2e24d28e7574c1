"""The `>>>` examples in docstrings run and print what they say."""

import doctest
import importlib
from collections.abc import Iterator

import pytest
import torch

from tests.helpers.commands import ROOT


def modules_with_examples() -> Iterator[str]:
    """Modules are chosen by their text, so that those without examples are not imported."""
    for folder, package in ((ROOT / "src", "zfnet"), (ROOT, "callbacks")):
        for path in sorted((folder / package).rglob("*.py")):
            if ">>>" in path.read_text():
                yield ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(
                    ".__init__"
                )


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples_print_what_they_say(name: str) -> None:
    torch.manual_seed(0)
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted
    assert not result.failed
