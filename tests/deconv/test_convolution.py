"""A convolution passes R down only from where it is not 0, and gives what autograd gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.deconv.common import same
from zfnet.deconv import convolution
from zfnet.deconv.convolution import Convolve, find_boxes
from zfnet.deconv.rules import WindowSpec
from zfnet.deconv.steps import Step

SIDES = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=60)
@given(SIDES, SIDES, st.tuples(*[st.integers(0, 1)] * 2), SIDES, st.booleans(), st.data())
def test_as_autograd(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    last: bool,
    data: st.DataObject,
) -> None:
    """R is 0 but for a few cells, at other places in each image."""
    layout = torch.channels_last if last else torch.contiguous_format
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(*shape, dtype=torch.float64, generator=generator)
        for shape in ((3, 5, 11, 12), (2, 5, *kernel))
    )
    x = x.to(memory_format=layout).requires_grad_()
    out = F.conv2d(x, weight, None, stride, padding, dilation)
    r = torch.zeros_like(out)
    for image in range(3):
        for _ in range(data.draw(st.integers(0, 2))):
            y, z = (data.draw(st.integers(0, side - 1)) for side in out.shape[2:])
            r[image, :, y, z] = torch.randn(2, dtype=torch.float64, generator=generator)
    step = Step("conv", WindowSpec(kernel, stride, padding, dilation), weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "WORTH", 0)
        patch.setattr(convolution, "WORTH_1X1", 0)
        boxed = Convolve.apply(x, step)
        same(boxed.detach(), out.detach())
        same(*(torch.autograd.grad(each, x, r)[0] for each in (boxed, out)), 1e-14)


def test_boxes_have_one_size() -> None:
    r = torch.zeros(3, 2, 6, 6)
    r[0, 0, 1, 1], r[0, 1, 2, 4], r[1, 0, 5, 5] = -1.0, 2.0, float("nan")
    assert find_boxes(r) == ([(1, 1), (4, 2), (0, 0)], (2, 4))
