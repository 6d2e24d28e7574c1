"""The deconvnet, guided backpropagation or the gradient, by one word.

>>> from zfnet.deconv import make_deconvnet
>>> from zfnet.models import ZFNET, ConvNet
>>> make_deconvnet(ConvNet(ZFNET, num_classes=10, image_size=64), "guided").rules.relu
'guided'
"""

from torch import nn

from zfnet.deconv.projection import Deconvnet


def make_deconvnet(
    model: nn.Module,
    relu: str,
    seed: str = "activation",
    contrast: int = 0,
    contrast_seed: int = 0,
) -> Deconvnet:
    """Returns the deconvnet that the key `relu` of an analysis names.

    Args:
        model: any network.
        relu: "deconv" or "guided", the rule of the ReLU; or "gradient", which is the gradient
            through all operations, also through normalization, gates and attention.
        seed: see `zfnet.deconv.rules`.
        contrast: as for `Deconvnet`.
        contrast_seed: as for `Deconvnet`.

    Raises:
        InputError: `relu` is none of these.
    """
    normalization, others = "identity", "refuse"
    if relu == "gradient":
        normalization = others = "gradient"
    return Deconvnet(
        *(model, relu),
        normalization=normalization,
        seed=seed,
        others=others,
        contrast=contrast,
        contrast_seed=contrast_seed,
    )
