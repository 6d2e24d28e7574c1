"""Optimizer steps in one pass over the weights, where torch has such a kernel.

    optimizer = use_fused(SGD(net.parameters(), lr=0.01, momentum=0.9))

An optimizer that is told `fused` or `foreach` is left as it is.
"""

from torch.optim import SGD, Adam, AdamW, Optimizer

FUSED = (SGD, Adam, AdamW)
DEVICES = ("cpu", "cuda")


def use_fused(optimizer: Optimizer) -> Optimizer:
    """Makes an optimizer of `FUSED` step with torch's fused kernel, in place.

    Its argument `fused=True` would also take over the scaling of float16 gradients, with which
    Lightning clips no gradients. A checkpoint restores the choice it was saved with, so a run
    resumes with the same rounding.

    Args:
        optimizer: any optimizer. It is not changed if it is of another class, or if a parameter is
            on another device or not of a floating-point type.

    Returns:
        The optimizer.
    """
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    able = all(each.device.type in DEVICES and each.is_floating_point() for each in parameters)
    if able and type(optimizer) in FUSED:
        for group in optimizer.param_groups:
            if group["fused"] is None and group["foreach"] is None and not group["differentiable"]:
                group["fused"] = True
    return optimizer
