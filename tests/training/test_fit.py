"""What the wiring says of a config that cannot be used, in a line."""

from collections.abc import Callable

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig

from zfnet.errors import InputError
from zfnet.training.fit import own_words


def test_a_key_that_must_be_given_is_named(composed: Callable[..., DictConfig]) -> None:
    with pytest.raises(InputError, match=r"data\.root has no default: give data\.root="), own_words():
        instantiate(composed("data=folder").data)


def test_a_sources_own_error_comes_out_as_it_is(composed: Callable[..., DictConfig]) -> None:
    with pytest.raises(InputError, match=r"^data\.root=/nowhere: no such folder"), own_words():
        instantiate(composed("data=folder", "data.root=/nowhere").data)
