"""From stored uint8 images to the network's input, per batch, on the device that trains.

    (x - mean) / std, cropped, mirrored                     x in 0 ... 255

`input_norm` names the three conventions for mean and std:

    paper         the per-pixel training mean, no division: inputs in about [-128, 128] (section 3)
    unit          the same divided by 64: inputs of about unit variance, for a He start
    pretrained    channel means and deviations as pretrained weights expect: ImageNet's, or others
                  that are given

A crop is (y, x, mirrored). The paper's ten are the four corners and the center, plain and mirrored:

    prepare = Preprocessing(store_size=256, crop=224)
    inputs = prepare(images, rows, ten_crops(256, 224)[choice])       # (B, 3, 224, 224)
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zfnet.errors import InputError
from zfnet.versions.python_names import renamed

INPUT_NORMS = ("paper", "unit", "pretrained")
CENTER = 4  # index of the center crop among the ten
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def stored_size(image_size: int) -> int:
    """The side of stored images, in pixels, for crops of `image_size`: 8/7 of it, as in the paper.

    >>> stored_size(224)
    256
    """
    return round(image_size * 8 / 7)


def ten_crops(size: int, crop: int) -> Tensor:
    """The paper's ten crops: four corners and the center, then the same mirrored.

    Args:
        size: the side of stored images.
        crop: the side of the crops.

    Returns:
        (10, 3) int64 of (y, x, mirrored).
    """
    far, middle = size - crop, round((size - crop) / 2)
    corners = [(0, 0), (0, far), (far, 0), (far, far), (middle, middle)]
    return torch.tensor([(y, x, mirrored) for mirrored in (0, 1) for y, x in corners])


def center_crop(size: int, crop: int) -> Tensor:
    """The fifth of the ten crops, (3,) int64 of (y, x, mirrored).

    >>> center_crop(256, 224).tolist()
    [16, 16, 0]
    """
    return ten_crops(size, crop)[CENTER]


@renamed(undone="denormalize")
class Preprocessing(nn.Module):
    """Crops, mirrors and normalizes uint8 images. Its mean and std are part of the checkpoint.

    `channel_mean` and `channel_std`, of pixels in 0 ... 1, are those of "pretrained". Until
    `set_mean` is given the training mean, "paper" and "unit" subtract 0."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        store_size: int,
        crop: int,
        input_norm: str = "paper",
        channel_mean: Sequence[float] = IMAGENET_MEAN,
        channel_std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        if input_norm not in INPUT_NORMS:
            raise InputError(
                f"model.input_norm={input_norm!r} is unknown: choose one of "
                f"{', '.join(INPUT_NORMS)}"
            )
        if not 1 <= crop <= store_size:
            raise InputError(
                f"data.image_size={crop} must lie between 1 and the stored size, {store_size}"
            )
        self.store_size, self.crop, self.input_norm = store_size, crop, input_norm
        mean, std = torch.zeros(store_size, store_size, 3).permute(2, 0, 1), torch.ones(3)
        if input_norm == "unit":
            std *= 64
        elif input_norm == "pretrained":
            mean += 255 * torch.tensor(channel_mean)[:, None, None]
            std *= 255 * torch.tensor(channel_std)
        self.register_buffer("mean", mean)  # (3, S, S), its memory in the order S, S, 3
        self.register_buffer("std", std)  # (3,)

    def set_mean(self, mean: Tensor) -> None:
        """Takes the per-pixel training mean (3, S, S), unless the convention has a mean of its
        own."""
        if self.input_norm != "pretrained":
            self.mean.copy_(mean)

    def forward(self, images: Tensor, rows: Tensor, crops: Tensor) -> Tensor:
        """Prepares a batch.

        Args:
            images: uint8 (N, S, S, 3).
            rows: (B,) int64, which of them.
            crops: (B, 3) int64 of (y, x, mirrored).

        Returns:
            float32 (B, 3, crop, crop), channels_last.
        """
        cut = self.crop_on_gpu if images.is_cuda else self.crop_on_cpu
        return cut(images, rows, crops).permute(0, 3, 1, 2)

    def denormalize(self, inputs: Tensor) -> Tensor:
        """Inputs (B, 3, crop, crop) at the center crop → pixels in [0, 1]."""
        y, x, _ = center_crop(self.store_size, self.crop).tolist()
        mean = self.mean[:, y : y + self.crop, x : x + self.crop]
        return (inputs * self.std[:, None, None] + mean) / 255

    def _affine(self) -> tuple[Tensor, Tensor]:
        """Scale (S, 3) and shift (S, S, 3) with (x - mean) / std = scale x + shift; one row of
        `scale` for all columns, because a product with only three numbers is not vectorized."""
        scale = self.std.reciprocal().expand(self.store_size, 3).contiguous()
        return scale, -self.mean.permute(1, 2, 0) * scale

    def crop_on_cpu(self, images: Tensor, rows: Tensor, crops: Tensor) -> Tensor:
        # One image at a time stays in the cache: each pixel is read once and written once.
        size, crop = self.store_size, self.crop
        scale, shift = self._affine()
        shifts = shift, shift.flip(1)
        batch = torch.empty(len(rows), crop, crop, 3, device=images.device)
        for out, row, (y, x, mirrored) in zip(batch, rows.tolist(), crops.tolist(), strict=True):
            cut = images[row, y : y + crop, x : x + crop]  # (crop, crop, 3)
            if mirrored:
                cut, x = cut.flip(1), size - crop - x
            out.copy_(cut)
            torch.addcmul(shifts[mirrored][y : y + crop, x : x + crop], out, scale[:crop], out=out)
        return batch

    def crop_on_gpu(self, images: Tensor, rows: Tensor, crops: Tensor) -> Tensor:
        # A few launches for the whole batch; a loop over images would cost more than ZFNet's step.
        span = torch.arange(self.crop, device=images.device)
        y = (crops[:, 0, None] + span)[:, :, None]  # (B, crop, 1)
        x = crops[:, 1, None] + torch.where(crops[:, 2, None] > 0, self.crop - 1 - span, span)
        x = x[:, None, :]  # (B, 1, crop)
        scale, shift = self._affine()
        return torch.addcmul(
            shift[y, x], images[rows[:, None, None], y, x].float(), scale[: self.crop]
        )
