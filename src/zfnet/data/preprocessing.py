"""From stored images to the network's input, per batch, on the device that trains.

    (x - mean) / std, cropped, mirrored                     x in 0 ... 255

x counts in steps of uint8: uint16 pixels are divided by 257, and float32 pixels, which lie in
[0, 1], are multiplied by 255. Mean and std are therefore the same for every type.

`input_norm` names the three conventions for mean and std:

    paper         the per-pixel training mean, no division: inputs in about [-128, 128] (section 3)
    unit          the same divided by 64: inputs of about unit variance, for a He start
    pretrained    channel means and deviations as pretrained weights expect: ImageNet's, or others
                  that are given

A crop is (y, x, mirrored). The paper's ten are the four corners and the center, plain and mirrored:

    prepare = Preprocessing(store_size=256, crop=224)
    inputs = prepare(images, rows, ten_crops(256, 224)[choice])       # (B, 3, 224, 224)

A size is a side or (height, width).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zfnet.data.pixel_format import STEPS
from zfnet.errors import InputError
from zfnet.sizes import Size, as_size, show_size, sides
from zfnet.versions.python_names import renamed

INPUT_NORMS = ("paper", "unit", "pretrained")
CENTER = 4  # index of the center crop among the ten
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def stored_size(image_size: Size) -> Size:
    """The size of stored images for crops of `image_size`: 8/7 of it, as in the paper.

    >>> stored_size(224), stored_size((224, 336))
    (256, (256, 384))
    """
    return as_size([round(side * 8 / 7) for side in sides(image_size)])


def ten_crops(size: Size, crop: Size) -> Tensor:
    """The paper's ten crops: four corners and the center, then the same mirrored.

    Args:
        size: of stored images.
        crop: of the crops.

    Returns:
        (10, 3) int64 of (y, x, mirrored).
    """
    bottom, right = (whole - part for whole, part in zip(sides(size), sides(crop), strict=True))
    center = (round(bottom / 2), round(right / 2))
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), center]
    return torch.tensor([(y, x, mirrored) for mirrored in (0, 1) for y, x in corners])


def center_crop(size: Size, crop: Size) -> Tensor:
    """The fifth of the ten crops, (3,) int64 of (y, x, mirrored).

    >>> center_crop(256, 224).tolist()
    [16, 16, 0]
    """
    return ten_crops(size, crop)[CENTER]


@renamed(undone="denormalize")
class Preprocessing(nn.Module):
    """Crops, mirrors and normalizes images. Its mean and std are part of the checkpoint.

    Until `set_mean` is given the training mean, "paper" and "unit" subtract 0.

    Args:
        store_size: of stored images: a side or (height, width), in pixels.
        crop: of the network's input.
        input_norm: "paper", "unit" or "pretrained".
        channel_mean, channel_std: those of "pretrained", for pixels in 0 ... 1.
        channels: of the images.

    Raises:
        InputError: `input_norm` is unknown, the crop does not fit, or "pretrained" knows the mean
            of another number of channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        store_size: Size,
        crop: Size,
        input_norm: str = "paper",
        channel_mean: Sequence[float] = IMAGENET_MEAN,
        channel_std: Sequence[float] = IMAGENET_STD,
        channels: int = 3,
    ) -> None:
        super().__init__()
        if input_norm not in INPUT_NORMS:
            raise InputError(
                f"model.input_norm={input_norm!r} is unknown: choose one of "
                f"{', '.join(INPUT_NORMS)}"
            )
        both = zip(sides(crop), sides(store_size), strict=True)
        if not all(1 <= side <= stored for side, stored in both):
            raise InputError(
                f"data.image_size={show_size(crop)} must lie between 1 and the stored size, "
                f"{show_size(store_size)}"
            )
        self.store_size, self.crop = as_size(store_size), as_size(crop)
        self.channels, self.input_norm = channels, input_norm
        mean = torch.zeros(*sides(store_size), channels).permute(2, 0, 1)
        std = torch.ones(channels)
        if input_norm == "unit":
            std *= 64
        elif input_norm == "pretrained":
            if len(channel_mean) != channels:
                raise InputError(
                    f"model.input_norm=pretrained has the mean of {len(channel_mean)} channels, "
                    f"and images have {channels}: give model.input_norm=unit, or "
                    f"data.channels={len(channel_mean)}"
                )
            mean += 255 * torch.tensor(channel_mean)[:, None, None]
            std *= 255 * torch.tensor(channel_std)
        self.register_buffer("mean", mean)  # (C, H, W), its memory in the order H, W, C
        self.register_buffer("std", std)  # (C,)

    def set_mean(self, mean: Tensor) -> None:
        """Takes the per-pixel training mean (C, H, W), unless the convention has a mean of its
        own."""
        if self.input_norm != "pretrained":
            self.mean.copy_(mean)

    def forward(self, images: Tensor, rows: Tensor, crops: Tensor) -> Tensor:
        """Prepares a batch.

        Args:
            images: uint8, uint16 or float32 (N, H, W, C).
            rows: (B,) int64, which of them.
            crops: (B, 3) int64 of (y, x, mirrored).

        Returns:
            float32 (B, C, h, w) of the size of the crops, channels_last.
        """
        cut = self.crop_on_gpu if images.is_cuda else self.crop_on_cpu
        return cut(images, rows, crops).permute(0, 3, 1, 2)

    def denormalize(self, inputs: Tensor) -> Tensor:
        """Inputs (B, C, h, w) at the center crop → pixels in [0, 1]."""
        y, x, _ = center_crop(self.store_size, self.crop).tolist()
        height, width = sides(self.crop)
        mean = self.mean[:, y : y + height, x : x + width].to(inputs.device)
        return (inputs * self.std[:, None, None].to(inputs.device) + mean) / 255

    def _affine(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Scale (W, C) and shift (H, W, C) with (x - mean) / std = scale p + shift, for stored
        pixels p of `dtype`; one row of `scale` for all columns, because a product with only three
        numbers is not vectorized."""
        scale = self.std.reciprocal().expand(sides(self.store_size)[1], -1).contiguous()
        shift = -self.mean.permute(1, 2, 0) * scale
        return scale if dtype == torch.uint8 else scale / STEPS[dtype], shift

    def crop_on_cpu(self, images: Tensor, rows: Tensor, crops: Tensor) -> Tensor:
        # One image at a time stays in the cache: each pixel is read once and written once.
        height, width = sides(self.crop)
        last = sides(self.store_size)[1] - width
        scale, shift = self._affine(images.dtype)
        scale, shifts = scale[:width], (shift, shift.flip(1))
        batch = torch.empty(len(rows), height, width, self.channels, device=images.device)
        for out, row, (y, x, mirrored) in zip(batch, rows.tolist(), crops.tolist(), strict=True):
            cut = images[row, y : y + height, x : x + width]  # (height, width, C)
            if mirrored:
                cut, x = cut.flip(1), last - x
            out.copy_(cut)
            torch.addcmul(shifts[mirrored][y : y + height, x : x + width], out, scale, out=out)
        return batch

    def crop_on_gpu(self, images: Tensor, rows: Tensor, crops: Tensor) -> Tensor:
        # A few launches for the whole batch; a loop over images would cost more than ZFNet's step.
        height, width = sides(self.crop)
        down, right = (torch.arange(side, device=images.device) for side in (height, width))
        y = (crops[:, 0, None] + down)[:, :, None]  # (B, height, 1)
        x = crops[:, 1, None] + torch.where(crops[:, 2, None] > 0, width - 1 - right, right)
        x = x[:, None, :]  # (B, 1, width)
        scale, shift = self._affine(images.dtype)
        if images.dtype == torch.uint16:  # which cannot be indexed on every device
            cut = images.view(torch.int16)[rows[:, None, None], y, x].int() & 0xFFFF
        else:
            cut = images[rows[:, None, None], y, x]
        return torch.addcmul(shift[y, x], cut.float(), scale[:width])
