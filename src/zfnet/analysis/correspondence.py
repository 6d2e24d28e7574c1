"""Figure 8 and Table 1: does masking the same part change the same features in different images?

A part (an eye, the nose) is covered by a gray square in each of N images. With f the features of a
layer,

    eps_i = f(x_i) - f(x_i masked)                what the part contributes in image i
    Delta = mean of H(sign eps_i, sign eps_j)     over pairs i < j; H: share of dimensions that
                                                  disagree

A small Delta means that the same features rise and fall in all images: the network knows the part
as such. The control masks random squares away from the parts. These squares are also more scattered
than the parts and look less alike, which alone makes their Delta larger. Parts therefore differ
from the control in an untrained network too, with a small p. What was learned is the size of the
difference, compared with an untrained network.

sign(0) = 0 is a third sign that only agrees with 0: H counts sign_i != sign_j over all dimensions.
Rectified features that neither square touches therefore agree, as they must for the paper's 0.07
(random signs would give at least 0.5). But then a square that changes little also has a small
Delta. `mean_of_changed` divides by the number of dimensions that changed in either image instead. A
change below 1e-5 of the image's largest feature is rounding error and counts as 0. Where no square
changes anything, as in a dead layer, there are no signs to compare, and the result is None.

    control = random_places(parts, 224, side=45, draws=10)    # {"nose": (N, 2), ...} → (10, N, 2)
    found = correspondence(net, images, parts, control, ["conv5", "fc7"], side=45)
    found["conv5"]["nose"].mean, found["conv5"]["random"].mean
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zfnet.errors import InputError
from zfnet.models.introspection import capture_outputs, check_called_once, eval_mode, find_modules
from zfnet.sizes import show_size, sides

ROUNDING = 1e-5  # of the largest feature
RANDOM = "random"
AT_ONCE = 1 << 16  # dimensions compared at a time
TESTED_AT_ONCE = 500  # permutations


@dataclass(frozen=True)
class SignChange:
    """Hamming distances over all pairs of images; for "random", over the pairs of all draws.

    Attributes:
        mean: Delta; None if no square changes anything.
        std: standard deviation over the pairs.
        mean_of_changed: the same over the dimensions that changed in either image.
        std_of_changed: its standard deviation.
        p: probability that random squares give a mean as small; None for "random".
        p_of_changed: the same for `mean_of_changed`.
    """

    mean: float | None = None
    std: float | None = None
    mean_of_changed: float | None = None
    std_of_changed: float | None = None
    p: float | None = None
    p_of_changed: float | None = None


def correspondence(
    model: nn.Module,
    images: Tensor,
    parts: Mapping[str, Tensor],
    control: Tensor,
    layers: Sequence[str],
    side: int,
    permutations: int = 9999,
    seed: int = 0,
    fill: float = 0.0,
) -> dict[str, dict[str, SignChange]]:
    """Measures the sign change of each part and of the control.

    A part's p is from a permutation test. If its square were just another random one, any square of
    an image could be the part; p is the share of such relabelings whose mean is no larger.

    Args:
        model: any model.
        images: (N, C, H, W), at least two, on the model's device.
        parts: name → (N, 2), the centers (x, y) of a part's squares, in pixels.
        control: (draws, N, 2), the centers of random squares.
        layers: names of layers.
        side: of the squares, in pixels.
        permutations: number of relabelings.
        seed: of the permutations.
        fill: value of the squares; 0 is mean gray.

    Returns:
        layer → part, or "random" for the control → `SignChange`.

    Raises:
        InputError: an argument is out of range, or a layer is unknown or not finite.
    """
    if RANDOM in parts:
        raise InputError(f"a part cannot be called {RANDOM!r}: that is the control")
    if len(images) < 2:
        raise InputError(
            f"correspondence compares images: at least two are needed, not {len(images)}"
        )
    if permutations < 1:
        raise InputError(f"permutations={permutations}: the test needs at least one")
    if control.dim() != 3 or not len(control):
        raise InputError(
            f"control is (draws, {len(images)}, 2), at least one draw, not {tuple(control.shape)}"
        )
    for each in [*parts.values(), *control]:
        _check(images, each, side)
    places = torch.cat([*(each[None] for each in parts.values()), control])  # (parts + draws, N, 2)
    generator = torch.Generator().manual_seed(seed)
    choices = torch.randint(1 + len(control), (permutations, len(images)), generator=generator)
    result = {}
    for layer, signs in sign_changes(model, images, places, layers, side, fill).items():
        whole, changed = (
            each.unflatten(0, signs.shape[:2]) for each in normalized_hamming(signs.flatten(0, 1))
        )
        whole, changed = (each.unflatten(2, signs.shape[:2]) for each in (whole, changed))
        draws = range(len(parts), len(places))
        moved = signs.any(2).any(1).tolist()  # whether a row's squares change anything in any image
        result[layer] = {
            name: SignChange(
                *_over_pairs(whole, [row]),
                *_over_pairs(changed, [row]),
                _p(whole, [row, *draws], choices),
                _p(changed, [row, *draws], choices),
            )
            if moved[row]
            else SignChange()
            for row, name in enumerate(parts)
        }
        random = (*_over_pairs(whole, draws), *_over_pairs(changed, draws))
        result[layer][RANDOM] = (
            SignChange(*random) if any(moved[row] for row in draws) else SignChange()
        )
    return result


def mask_square(images: Tensor, places: Tensor, side: int, fill: float = 0.0) -> Tensor:
    """Returns a copy of the images with a square in each, cut off at the border.

    Args:
        images: (N, C, H, W).
        places: (N, 2), the centers (x, y) of the squares, in pixels.
        side: of the squares, in pixels.
        fill: value of the squares.
    """
    _check(images, places, side)
    covered = images.clone()
    height, width = images.shape[-2:]
    for image, (left, top) in zip(covered, corners(places, side).tolist(), strict=True):
        image[:, max(0, top) : min(height, top + side), max(0, left) : min(width, left + side)] = (
            fill
        )
    return covered


def corners(places: Tensor, side: int) -> Tensor:
    """Returns the left and top pixel of squares around centers (..., 2), int64.

    The center of pixel (x, y) is at (x, y).
    """
    return (places.double() - (side - 1) / 2 + 0.5).floor().long()


@torch.inference_mode()
def sign_changes(
    model: nn.Module,
    images: Tensor,
    places: Tensor,
    layers: Sequence[str],
    side: int,
    fill: float = 0.0,
) -> dict[str, Tensor]:
    """Computes sign(eps) of each layer, int8 (places, images, dimensions).

    `places` are centers (places, images, 2) of squares.
    """
    for each in places:
        _check(images, each, side)
    modules = find_modules(model, layers)
    signs: dict[str, list[Tensor]] = {layer: [] for layer in modules}

    def read(layer: str, output: Tensor) -> None:
        # Of shape (1 + places, dimensions); the image itself is the first.
        features = output.flatten(1).float()
        if not features.isfinite().all():
            raise InputError(
                f"layer {layer!r} is not finite for image {len(signs[layer])}: nothing can be "
                "measured on it"
            )
        change = features[:1] - features[1:]
        change[change.abs() <= ROUNDING * features[0].abs().max()] = 0
        signs[layer].append(change.sign().to(torch.int8).cpu())

    with eval_mode(model):
        check_called_once(model, modules, images[:1])
        for image, at in zip(images, places.transpose(0, 1), strict=True):
            covered = mask_square(image.repeat(len(at), 1, 1, 1), at, side, fill)
            with capture_outputs(modules, read):
                model(torch.cat([image[None], covered]))
    return {layer: torch.stack(each, 1) for layer, each in signs.items()}


def normalized_hamming(signs: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the normalized Hamming distances between rows.

    Args:
        signs: (M, D), of -1, 0 and 1.

    Returns:
        Two float64 (M, M), over all dimensions and over those where either row is not 0 (0 if
        there are none).

    Example:
        >>> normalized_hamming(torch.tensor([[1, 0, -1, 0], [1, 0, 1, 0]]))[0]
        tensor([[0.0000, 0.2500],
                [0.2500, 0.0000]], dtype=torch.float64)
    """
    agree, still = (torch.zeros(len(signs), len(signs), dtype=torch.float64) for _ in range(2))
    for part in signs.split(AT_ONCE, dim=1):  # counts below 2^24 are exact in float32
        up, down, zero = ((part == sign).float() for sign in (1, -1, 0))
        both_still = zero @ zero.T
        agree += up @ up.T + down @ down.T + both_still
        still += both_still
    dimensions = signs.shape[1]
    differ = dimensions - agree
    return differ / dimensions, differ / (dimensions - still).clamp(min=1)


def free_places(parts: Tensor, height: int, width: int, side: int) -> Tensor:
    """Returns where a square does not overlap those of the parts.

    Args:
        parts: (P, 2), the centers (x, y) of the parts' squares.
        height: of the image.
        width: of the image.
        side: of all squares.

    Returns:
        bool (height - side + 1, width - side + 1), for each position of the square's upper left
        pixel.
    """
    left, top = corners(parts, side).T[:, :, None, None]  # (P, 1, 1) each
    rows, columns = torch.arange(height - side + 1), torch.arange(width - side + 1)
    # Of shape (P, rows, columns).
    beside = ((rows[:, None] - top).abs() >= side) | ((columns - left).abs() >= side)
    return beside.all(0)


def random_places(
    parts: Mapping[str, Tensor],
    size: int | tuple[int, int],
    side: int,
    draws: int,
    seed: int = 0,
    allowed: Tensor | None = None,
) -> Tensor:
    """Draws random squares inside the images that do not overlap those of the parts.

    Args:
        parts: name → (N, 2), the centers (x, y) of a part's squares.
        size: of the images, in pixels: a side, or (height, width).
        side: of the squares, in pixels.
        draws: number of squares for each image.
        seed: of the random numbers.
        allowed: bool (N, H, W), where the centers may lie, such as an object's mask; None:
            anywhere.

    Returns:
        (draws, N, 2), the centers (x, y).

    Raises:
        InputError: there is no room for a square.
    """
    height, width = sides(size)
    if not 1 <= side <= min(height, width):
        raise InputError(
            f"a patch of {side} pixels does not fit an image of {show_size((height, width))}"
        )
    if draws < 1:
        raise InputError(
            f"draws={draws}: the control needs at least one random patch for each image"
        )
    generator, half = torch.Generator().manual_seed(seed), (side - 1) // 2
    images = []
    for n, own in enumerate(torch.stack(list(parts.values()), 1)):  # (P, 2)
        free = free_places(own, height, width, side)
        if allowed is not None:
            free &= allowed[n, half : half + free.shape[0], half : half + free.shape[1]]
        corner = free.nonzero()
        if not len(corner):
            raise InputError(f"image {n}: no room for a patch of {side} pixels away from its parts")
        drawn = corner[torch.randint(len(corner), (draws,), generator=generator)]
        images.append(drawn.flip(1) + (side - 1) / 2)  # (draws, 2) of (x, y)
    return torch.stack(images, 1)


def _over_pairs(distances: Tensor, rows: Sequence[int]) -> tuple[float, float]:
    """Returns mean and deviation over the pairs of images in some rows of distances (P, N, P,
    N)."""
    first, second = torch.triu_indices(distances.shape[1], distances.shape[1], 1)
    pairs = torch.cat([distances[row, first, row, second] for row in rows])
    return pairs.mean().item(), pairs.std(correction=0).item()


def _p(distances: Tensor, rows: list[int], choices: Tensor) -> float:
    """Returns p of the first of `rows`; `choices` (permutations, N) are indices into `rows`."""
    images = torch.arange(distances.shape[1])

    def total(chosen: Tensor) -> Tensor:
        which = torch.tensor(rows)[chosen]
        return distances[which[:, :, None], images[:, None], which[:, None], images].sum((1, 2))

    limit = total(torch.zeros(1, len(images), dtype=torch.long)) + 1e-9
    smaller = sum(int((total(each) <= limit).sum()) for each in choices.split(TESTED_AT_ONCE))
    return (1 + smaller) / (1 + len(choices))


def _check(images: Tensor, places: Tensor, side: int) -> None:
    if images.dim() != 4:
        raise InputError(f"images are (N, C, H, W), not {tuple(images.shape)}")
    if not images.isfinite().all():
        raise InputError("the images hold NaN or infinite numbers: nothing can be measured on them")
    height, width = images.shape[-2:]
    if not 1 <= side <= min(height, width):
        raise InputError(f"a patch of {side} pixels does not fit images of {width} x {height}")
    limit = torch.tensor([width, height]) - 0.5
    if places.shape != (len(images), 2) or not ((places >= -0.5) & (places < limit)).all():
        raise InputError(
            f"parts are (x, y) for each of {len(images)} images, inside {width} x {height} pixels, "
            "not "
            f"{places.tolist()}"
        )
