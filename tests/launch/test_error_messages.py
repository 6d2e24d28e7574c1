"""Whatever goes wrong is said in one line."""

from collections.abc import Callable

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from zfnet.errors import InputError
from zfnet.launch.error_messages import explain


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["nokey=1"], "Could not override 'nokey'. To append to your config use +nokey=1"),
        (
            ["model=nosuch"],
            "Could not find 'model/nosuch' Available options in 'model': alexnet custom timm "
            "torchvision zfnet",
        ),
        (["seed=[1"], "seed=[1: no viable alternative at input '[1'"),
        (["+seed=1"], "An item is already at 'seed'"),
        (["~nokey"], "'nokey' does not exist"),
        (["model=null"], "Config group override must be a string or a list"),
        (["callbacks=3"], "a group takes the names of its files"),
    ],
)
def test_what_hydra_says(
    composed: Callable[..., DictConfig], overrides: list[str], said: str
) -> None:
    with pytest.raises(Exception, match=r".+") as error:
        composed(*overrides)
    line, known = explain(error.value)
    assert said in line
    assert known
    assert "\n" not in line
    assert "http" not in line


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (
            {"_target_": "lightning.Trainer", "accelerator": "cpu", "strategy": "nosuch"},
            "invalid strategy name",
        ),
        (
            {"_target_": "lightning.Trainer", "accelerator": "cpu", "precision": "nosuch"},
            "Precision 'nosuch' is invalid",
        ),
        (
            {"_target_": "lightning.Trainer", "accelerator": "cpu", "nosuch": 1},
            "unexpected keyword argument 'nosuch'",
        ),
    ],
)
def test_what_an_object_refuses(node: dict[str, object], said: str) -> None:
    with pytest.raises(Exception, match=r".+") as error:
        instantiate({"trainer": {"_target_": "lightning.Trainer", "accelerator": "cpu", **node}})
    line, known = explain(error.value)
    assert line.startswith("trainer: ")
    assert said in line
    assert known
    assert "\n" not in line


def test_our_own_line_comes_through_a_resolver() -> None:
    def refuse() -> None:
        raise InputError("resume=yes: must be true or false")

    OmegaConf.register_new_resolver("test_refuse", refuse, replace=True)
    with pytest.raises(Exception, match=r".+") as error:
        OmegaConf.create({"a": "${test_refuse:}"}).a  # noqa: B018
    assert explain(error.value) == ("resume=yes: must be true or false", True)


def test_files_and_faults() -> None:
    assert explain(PermissionError(13, "Permission denied", "/etc/x")) == (
        "/etc/x: Permission denied",
        True,
    )
    assert explain(RuntimeError("the oven\nis on fire")) == (
        "RuntimeError: the oven is on fire",
        False,
    )
