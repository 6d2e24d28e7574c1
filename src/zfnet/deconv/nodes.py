"""Names the nodes of autograd's graph by what they do with the values that depend on the pixels.

>>> import torch
>>> from zfnet.deconv.nodes import kind
>>> pixels = torch.ones(2, requires_grad=True)
>>> kind((pixels * 2).grad_fn), kind(pixels.sum().grad_fn)
('Mul', 'Sum')
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

Edge = tuple[Any, int]  # a node and the number of one of its outputs
BATCH_NORM = {"NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"}  # linear in their first input
ADDITIVE = {"Add", "Sub", "Rsub", "Neg", "Clone", "ToCopy", "Alias", "Lerp"}
# Positions of two factors: linear if only one of them depends on the pixels.
FACTORS = {
    **dict.fromkeys(("Mul", "Div", "Mm", "Bmm", "Mv", "Dot", "Linear", "MkldnnLinear"), (0, 1)),
    **dict.fromkeys(("Convolution", "ConvolutionOverrideable", "MkldnnConvolution"), (0, 1)),
    **dict.fromkeys(("Addmm", "Addbmm", "Baddbmm", "Addmv", "Addcmul", "Addcdiv"), (1, 2)),
    "GridSampler2D": (0, 1),
    "Lerp": (0, 2),
}
ELEMENTWISE = {"Mul", "Div"}
MIXING = {  # they move or mix positions, in the same way for every image
    "View", "UnsafeView", "ReshapeAlias", "Expand", "Permute", "Transpose", "T", "Stack", "Unbind",
    "Slice", "Select", "Split", "SplitWithSizes", "Index", "Narrow", "Squeeze", "Unsqueeze", "Mean",
    "Sum", "AvgPool2D", "AdaptiveAvgPool2D", "MkldnnAdaptiveAvgPool2D", "ConstantPadNd",
    "ReflectionPad2D", "ReplicationPad2D", "AsStrided", "UpsampleNearest2D", "UpsampleBilinear2D",
    "UpsampleNearestExact2D", "UpsampleBicubic2D", "UpsampleBilinear2DAa", "UpsampleBicubic2DAa",
    "PixelShuffle", "PixelUnshuffle", "Repeat", "RepeatInterleave", "Roll", "Flip", "Cat", "Im2Col",
    "Col2Im", "Unfold", "Gather", "IndexSelect", "NativeChannelShuffle", "Cumsum", "Diagonal",
    "Tril", "Triu", "Rot90", "MaskedFill", "Where", "SplitWithSizesCopy", "UnsafeSplit",
    "UnsafeSplitWithSizes", "FftR2C", "FftC2C", "FftC2R", "ViewAsReal", "ViewAsComplex", "Real",
    "AdaptiveAvgPool1D", "AvgPool1D", "UpsampleLinear1D", "AvgPool3D", "Movedim", "Trace",
    "IndexPut", "IndexCopy", "IndexAdd", "Scatter", "ScatterAdd", "SliceScatter", "SelectScatter",
    "MaskedScatter",
}  # fmt: skip
VIEWS = {  # they show all of a value
    "View", "UnsafeView", "ReshapeAlias", "Permute", "Transpose", "T", "Squeeze", "Unsqueeze",
    "Expand", "Clone", "Alias",
}  # fmt: skip
RESHAPING = {  # they keep each unit at its position if the grid of rows and columns is the same
    "View", "UnsafeView", "ReshapeAlias", "Permute", "Transpose", "T", "Squeeze", "Unsqueeze",
    "Slice", "Split", "SplitWithSizes", "Select", "Unbind", "Cat", "Expand", "Narrow",
    "Mm", "Addmm", "Linear", "MkldnnLinear",
}  # fmt: skip
RULES = {"Rectify", "MaxPool", "ApplySwitch", "Scale", "Convolve"}
CHANNELWISE = {"Cat", "Slice", "Split", "Select", "Unsqueeze", "SplitWithSizes", "Unbind"}
SUPPORTED = BATCH_NORM | ADDITIVE | set(FACTORS) | MIXING | RULES


def kind(node: Any) -> str:
    """Returns the operation of a node: MulBackward0 → Mul, RectifyBackward → Rectify."""
    return node.name().split("::")[-1].rstrip("0123456789").removesuffix("Backward")


def call_name(node: Any) -> str:
    """Returns the name of the function that made a node, as the model called it."""
    return node.metadata.get("call") or kind(node).lower()


def edges_below(start: Edge, enter: Callable[[Edge], bool]) -> Iterator[Edge]:
    """Yields an edge of autograd's graph and those below it, each once.

    Args:
        start: the first edge.
        enter: whether to go on below an edge. It is asked after the edge was yielded.
    """
    stack, seen = [start], set[Edge]()
    while stack:
        edge = stack.pop()
        if edge[0] is None or edge in seen:
            continue
        seen.add(edge)
        yield edge
        if enter(edge):
            stack += list(edge[0].next_functions)


def mark_pixels(image: Tensor) -> None:
    """Marks the leaf of autograd's graph that `image` was computed from as the pixels."""
    node: Any = image.grad_fn
    node.next_functions[0][0].metadata["pixels"] = True


def depends(value: Any) -> bool:
    """Whether a value is a tensor that depends on the pixels by autograd, see `mark_pixels`."""
    return isinstance(value, Tensor) and depends_on_pixels(value.grad_fn)


def depends_on_pixels(node: Any) -> bool:
    """Whether a node of autograd's graph depends on the pixels, see `mark_pixels`.

    If so, this is noted on the node, where the next walk ends: every operation of a forward pass
    asks, and walks through the whole graph would take quadratic time.
    """
    below = (each.metadata for each, _ in edges_below((node, 0), lambda _: True))
    if found := any("pixels" in notes or "depends" in notes for notes in below):
        node.metadata["depends"] = True
    return found
