"""A size is a side, or height and width."""

import pytest

from zfnet.errors import InputError
from zfnet.sizes import as_size, show_size, sides


def test_squares_are_one_number() -> None:
    assert as_size([5, 5]) == as_size(5) == 5
    assert as_size([5, 7]) == (5, 7)
    assert sides(5) == (5, 5)
    assert [show_size(size) for size in (5, [5, 5], (5, 7))] == ["5", "5", "[5,7]"]


@pytest.mark.parametrize("size", [[5], [5, 6, 7], []])
def test_other_lists_are_refused(size: list[int]) -> None:
    with pytest.raises(InputError, match=r"\[height,width\]"):
        sides(size)
