"""A kept file is used again only for what it was made with; a difference is named."""

import pytest
import torch

from zfnet.errors import InputError
from zfnet.fingerprint import check_fingerprint, digest, flat


def test_equal_ones_pass() -> None:
    check_fingerprint("f", {"a": {"b": [1, 2]}}, {"a": {"b": (1, 2)}}, "")


def test_a_difference_is_named_wherever_it_is_nested() -> None:
    old, new = ({"optimizer": {"lr": 0.1 * n, "seed": n}, "edit": {}} for n in (1, 2))
    with pytest.raises(InputError) as caught:
        check_fingerprint("run/last.ckpt", old, new, "use another name=")
    assert str(caught.value) == (
        "run/last.ckpt was made with optimizer.lr=0.1, and this run has optimizer.lr=0.2 (and 1 "
        "more differ); "
        "use another name="
    )


def test_a_setting_is_named_before_those_that_follow_it() -> None:
    old, new = {"data": {"seed": 0}, "seed": 0}, {"data": {"seed": 7}, "seed": 7}
    with pytest.raises(
        InputError, match=r"a was made with seed=0, and this run has seed=7 \(and 1 more"
    ):
        check_fingerprint("a", old, new, "b")


def test_what_one_side_lacks_differs_also_from_null() -> None:
    with pytest.raises(
        InputError, match=r"a was made with lr=\(not set\), and this run has lr=None; b"
    ):
        check_fingerprint("a", {}, {"lr": None}, "b")
    with pytest.raises(InputError, match="edit"):
        check_fingerprint("a", {"edit": None}, {"edit": {"conv3": None}}, "b")


def test_flat_keeps_empty_mappings() -> None:
    assert flat({"a": {}, "b": {"c": (1,)}}) == {"a": {}, "b.c": [1]}


def test_digests_differ_by_value_shape_and_type() -> None:
    x = torch.arange(6)
    each = [(x,), (x.view(2, 3),), (x.float(),), (x + 1,), ("x",), ("x", 1), ({"x": 1},), (x, x)]
    assert len({digest(*values) for values in each}) == len(each)
    assert digest(x) == digest(x.clone())
    assert digest("\udcff") == digest("\udcff")
