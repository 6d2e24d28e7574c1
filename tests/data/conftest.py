"""Small photos written where a test wants them."""

from collections.abc import Callable

import pytest

from tests.helpers.made_data import paint


@pytest.fixture(scope="session", name="paint")
def _paint() -> Callable[..., None]:
    return paint
