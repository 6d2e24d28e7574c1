"""The share of a GPU's peak rate that training reaches: counted operations and published peaks.

    each = operations_per_image(net, (3, 224, 224))         # 6.67e9 for ZFNet
    peak = peak_rate("NVIDIA H100 80GB HBM3", "bf16-mixed")     # 989e12
    share = images_per_second * each / peak

There is no published figure for CPUs.
"""

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from zfnet.models.eager import force_eager
from zfnet.models.layers import ContrastNormalization

# Dense rates in 10¹² operations a second, from NVIDIA's data sheets: bfloat16 and float16 (tensor
# cores, without sparsity), TF32, float32. The first name that a device's name contains counts.
PEAKS = {
    "H100 PCIe": (756.0, 378.0, 51.0),
    "H100 80GB HBM3": (989.0, 494.0, 67.0),  # SXM
    "H200 NVL": (835.0, 417.0, 60.0),
    "H200": (989.0, 494.0, 67.0),
    "A100": (312.0, 156.0, 19.5),
    "L40S": (362.0, 183.0, 91.6),
    "L4": (121.0, 60.0, 30.3),
}
HALF = ("bf16-mixed", "bf16-true", "bf16", "16-mixed", "16-true", "16")
FULL = ("32-true", "32")


def peak_rate(device: str, precision: str, tf32: bool = True) -> float | None:
    """Returns the published peak of a GPU in operations a second.

    Args:
        device: the name of the GPU, as `torch.cuda.get_device_name` gives it.
        precision: that of the trainer.
        tf32: whether float32 convolutions may use TF32, as cuDNN does by default.

    Returns:
        The rate; a multiplication and an addition are two operations. None if it is not known.
    """
    words = device.replace("-", " ").split()
    for name, (half, tensor, full) in PEAKS.items():
        if all(word in words for word in name.split()):
            if precision in HALF:
                return half * 1e12
            if precision in FULL:
                return (tensor if tf32 else full) * 1e12
    return None


def operations_per_image(net: nn.Module, shape: tuple[int, int, int]) -> int:
    """Counts the operations of convolutions and matrix products in a training step, for one image.

    Nothing is computed: parameters and images are fake tensors. Forward and backward are counted, a
    multiplication and an addition as two operations. Contrast normalization is left out, although
    it computes its sums by a product.

    Args:
        net: the network, in training mode. It is not changed.
        shape: of an image, (C, H, W).
    """
    device = next(net.parameters()).device
    with force_eager(), FakeTensorMode() as fake, FlopCounterMode(display=False) as counter:
        tensors = {
            name: fake.from_tensor(each)
            for name, each in (*net.named_parameters(), *net.named_buffers())
        }
        images = torch.empty(2, *shape, device=device)
        functional_call(net, tensors, (images,)).sum().backward()  # type: ignore[arg-type]
    norms = [name for name, each in net.named_modules() if isinstance(each, ContrastNormalization)]
    counts = {name: sum(each.values()) for name, each in counter.get_flop_counts().items()}
    inside = sum(counts.get(f"{type(net).__name__}.{name}", 0) for name in norms)
    return (counter.get_total_flops() - inside) // 2
