"""The API reference has every name that a public package exports."""

import importlib
import re
from types import ModuleType

import pytest

import callbacks
import zfnet
from tests.helpers.commands import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text()
PACKAGES = ("analysis", "atlas", "data", "deconv", "models", "training", "viz")


@pytest.mark.parametrize(
    "package", [callbacks, *(importlib.import_module(f"zfnet.{name}") for name in PACKAGES)]
)
def test_every_exported_name_is_described(package: ModuleType) -> None:
    """Sphinx takes those with a docstring from the package; numbers and tables stand on the
    page."""
    assert f".. automodule:: {package.__name__}\n   :members:\n   :imported-members:\n" in PAGE
    for name in package.__all__:
        if not callable(value := getattr(package, name)):
            assert re.search(rf"^\.\. py:data:: {name}$", PAGE, re.MULTILINE), name
        else:
            assert value.__doc__, name


def test_the_top_has_its_names() -> None:
    assert set(re.findall(r"autofunction:: zfnet\.(\w+)$", PAGE, re.MULTILINE)) == set(
        zfnet.__all__
    )


def test_the_modules_of_probing_are_there() -> None:
    modules = {path.stem for path in (ROOT / "src" / "zfnet" / "probing").glob("*.py")}
    assert set(re.findall(r"automodule:: zfnet\.probing\.(\w+)", PAGE)) == modules - {
        "__init__",
        "solver",
    }
