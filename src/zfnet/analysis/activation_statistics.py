"""Statistics of all channels over a data set, gathered beside a search for the strongest images.

An image's activation of a channel is its largest activation at any position: the value that the
search compares. From all images come the mean, the deviation, the share of images that activate a
channel, the number of those that reach its largest activation, and the mean of each class. From a
random sample, which is everything for small data sets, come histograms, quantiles, class
selectivity and the similarity of two networks. Memory depends on the channels and classes only.
Parts of a data set can be merged.

    >>> import torch
    >>> from zfnet.analysis import ActivationStatistics
    >>> from zfnet.deconv import top_activations
    >>> from zfnet.models import ZFNET, ConvNet
    >>> net = ConvNet(ZFNET, num_classes=10, image_size=64)
    >>> images, labels = torch.randn(8, 3, 64, 64), torch.arange(8) % 2
    >>> statistics = ActivationStatistics({"conv5": 256}, labels, classes=2)
    >>> _ = top_activations(net, [images], ["conv5"], each=statistics.update, progress=False)
    >>> statistics.class_means("conv5").shape
    torch.Size([2, 256])
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zfnet.deconv import Top, random_subset
from zfnet.errors import InputError

SAMPLE_BYTES = 2**29  # of the values and places of the sampled images, all layers together
BINS = 24  # of histograms
SAMPLED = ("values", "places")  # what is kept of each sampled image
BY_CLASS = ("counts", "sum")  # and of each class


class ActivationStatistics:
    """Sums over all images, and the activations of a sample of them.

    Args:
        layers: the number of channels by the name of the layer.
        labels: int64 (N,), the class of each image; all 0 if there are no classes.
        classes: the number of classes.
        sample: the number of sampled images; None for as many as fit into SAMPLE_BYTES. A smaller
            sample of the same N images is part of a larger one.

    Attributes:
        labels: int64 (N,).
        classes: the number of classes.
        images: int64 (S,), the sampled images in increasing order.

    Raises:
        InputError: there are no images.
    """

    def __init__(
        self, layers: Mapping[str, int], labels: Tensor, classes: int, sample: int | None = None
    ) -> None:
        if not len(labels):
            raise InputError("statistics need at least one image")
        if sample is None:
            sample = SAMPLE_BYTES // (8 * sum(layers.values()))
        self.labels, self.classes = labels.long().cpu(), classes
        count = min(len(labels), max(1, sample))
        self.images = random_subset(len(labels), count)
        self._rows = torch.full((len(labels),), -1)
        self._rows[self.images] = torch.arange(count)
        self._seen = torch.zeros(count, dtype=torch.bool)
        self._layers = {
            name: _Sums.empty(channels, self.classes, count) for name, channels in layers.items()
        }

    def update(self, layer: str, largest: Top) -> None:
        """Adds the activations of some images.

        Args:
            layer: name of the layer.
            largest: (C, B), the largest activation of each channel in each of B images, as
                `top_activations` gives them to `each`. `images` are indices of `labels`.
        """
        sums, images = self._layers[layer], largest.images[0]
        values, labels = largest.values.float(), self.labels[images]
        sums.add(values.t(), labels)
        rows = self._rows[images]
        chosen = rows >= 0
        self._seen[rows[chosen]] = True
        sums.values[rows[chosen]] = values.t()[chosen]
        sums.places[rows[chosen], :, 0] = largest.y.t()[chosen].to(torch.int16)
        sums.places[rows[chosen], :, 1] = largest.x.t()[chosen].to(torch.int16)

    def merge(self, state: Mapping[str, Any]) -> None:
        """Adds the statistics of other images of the same data set.

        Args:
            state: the `state_dict` of their statistics, with the same layers and sample.

        Raises:
            ValueError: it is of other layers, images or samples.
        """
        rows = state["rows"]
        _check_indices("rows", rows, len(self.images))
        for name, sums in self._layers.items():
            sums.check(state["layers"][name], len(rows))
        for name, sums in self._layers.items():
            sums.merge(state["layers"][name], rows)
        self._seen[rows] = True

    def empty(self) -> "ActivationStatistics":
        """Returns statistics of the same layers, data set and sample, of no images so far."""
        channels = {name: sums.values.shape[1] for name, sums in self._layers.items()}
        return ActivationStatistics(channels, self.labels, self.classes, len(self.images))

    def values(self, layer: str) -> Tensor:
        """Returns the activations of the sampled images, float32 (S, C)."""
        return self._layers[layer].values

    def places(self, layer: str) -> Tensor:
        """Returns the rows and columns of these activations, int16 (S, C, 2)."""
        return self._layers[layer].places

    def seen(self, layer: str) -> int:
        """Returns the number of images."""
        return int(self._layers[layer].counts.sum())

    def mean(self, layer: str) -> Tensor:
        """Returns the mean activation of each channel, (C,)."""
        sums = self._layers[layer]
        return sums.sum.sum(0) / sums.counts.sum()

    def deviation(self, layer: str) -> Tensor:
        """Returns the standard deviation of each channel's activations, (C,)."""
        sums = self._layers[layer]
        variance = sums.square / sums.counts.sum() - self.mean(layer).square()
        return variance.clamp(min=0).sqrt()

    def active(self, layer: str) -> Tensor:
        """Returns the share of images that activate each channel, (C,)."""
        sums = self._layers[layer]
        return sums.active / sums.counts.sum()

    def ties(self, layer: str) -> Tensor:
        """Returns how many images reach the largest activation of each channel, int64 (C,)."""
        return self._layers[layer].ties

    def class_means(self, layer: str) -> Tensor:
        """Returns the mean activation by class, (classes, C); NaN for a class without images."""
        sums = self._layers[layer]
        return sums.sum / sums.counts[:, None]

    def histogram(self, layer: str, bins: int = BINS) -> tuple[Tensor, Tensor]:
        """Counts the activations of the sampled images.

        Args:
            layer: name of the layer.
            bins: their number, between the smallest and the largest activation of a channel.

        Returns:
            The smallest and the largest activation (C, 2), and the counts, int64 (C, bins). The
            largest activation is in the last bin. If all are equal, they are in the first.
        """
        values = self.values(layer)
        low, high = values.amin(0), values.amax(0)
        width = (high - low).where(high > low, 1)
        bin_ = ((values - low) / width * bins).long().clamp(max=bins - 1)
        counts = torch.zeros(values.shape[1], bins, dtype=torch.int64)
        counts.scatter_add_(1, bin_.t(), torch.ones_like(bin_.t()))
        return torch.stack([low, high], 1), counts

    def quantiles(self, layer: str, shares: Sequence[float]) -> Top:
        """Finds sampled images with ordinary activations.

        Args:
            layer: name of the layer.
            shares: Q numbers in [0, 1]; 0.9 asks for the image that activates the channel more than
                90 % of the sampled images do.

        Returns:
            (C, Q). Of equal activations, images with smaller indices come first.
        """
        values = self.values(layer)
        ordered, order = values.sort(dim=0, stable=True)
        ranks = torch.tensor([round(share * (len(values) - 1)) for share in shares])
        rows = order[ranks]  # (Q, C)
        places = self.places(layer).gather(0, rows[:, :, None].expand(-1, -1, 2)).long()
        images = self.images[rows]
        return Top(ordered[ranks].t(), images.t(), places[:, :, 0].t(), places[:, :, 1].t())

    def selectivity(self, layer: str) -> tuple[Tensor, Tensor]:
        """Measures how well each channel tells each class from the others, by the sampled images.

        Returns:
            The area under the ROC curve and z, (classes, C); see `class_auc`.
        """
        return class_auc(self.values(layer), self.labels[self.images], self.classes)

    def state_dict(self) -> dict[str, Any]:
        """Returns tensors in plain containers, for `torch.save`: of the images and classes seen."""
        rows = self._seen.nonzero()[:, 0]
        return {"rows": rows, "layers": {n: sums.state(rows) for n, sums in self._layers.items()}}


class _Sums:
    """The sums of one layer."""

    def __init__(self, **parts: Tensor) -> None:
        self.counts, self.sum, self.square = parts["counts"], parts["sum"], parts["square"]
        self.active, self.values, self.places = parts["active"], parts["values"], parts["places"]
        self.largest, self.ties = parts["largest"], parts["ties"]

    @staticmethod
    def empty(channels: int, classes: int, sample: int) -> "_Sums":
        return _Sums(
            counts=torch.zeros(classes, dtype=torch.int64),
            sum=torch.zeros(classes, channels, dtype=torch.float64),
            square=torch.zeros(channels, dtype=torch.float64),
            active=torch.zeros(channels, dtype=torch.int64),
            largest=torch.full((channels,), -torch.inf),
            ties=torch.zeros(channels, dtype=torch.int64),
            values=torch.zeros(sample, channels),
            places=torch.zeros(sample, channels, 2, dtype=torch.int16),
        )

    def add(self, values: Tensor, labels: Tensor) -> None:
        """Adds activations (B, C) of images of these classes (B,)."""
        exact = values.double()
        self.counts += labels.bincount(minlength=len(self.counts))
        self.sum.index_add_(0, labels, exact)
        self.square += exact.square().sum(0)
        self.active += (values > 0).sum(0)
        largest = values.amax(0)
        self._count_ties(largest, (values == largest).sum(0))

    def state(self, rows: Tensor) -> dict[str, Tensor]:
        """Returns the sums, those by class only of classes with images, and the sampled images of
        some rows."""
        classes = self.counts.nonzero()[:, 0]
        kept = {**dict.fromkeys(SAMPLED, rows), **dict.fromkeys(BY_CLASS, classes)}
        parts = {n: t[kept[n]] if n in kept else t for n, t in vars(self).items()}
        return {"classes": classes, **parts}

    def check(self, state: Mapping[str, Tensor], rows: int) -> None:
        """Raises ValueError if a state does not have these shapes."""
        classes = state["classes"]
        _check_indices("classes", classes, len(self.counts))
        lengths = {**dict.fromkeys(SAMPLED, rows), **dict.fromkeys(BY_CLASS, len(classes))}
        for name, tensor in vars(self).items():
            shape = (lengths.get(name, len(tensor)), *tensor.shape[1:])
            if state[name].shape != shape or state[name].dtype != tensor.dtype:
                raise ValueError(f"{name} are {state[name].dtype} {tuple(state[name].shape)}")

    def merge(self, state: Mapping[str, Tensor], rows: Tensor) -> None:
        """Adds the sums of a state, whose sampled images belong to these rows."""
        self._count_ties(state["largest"], state["ties"])
        for name, tensor in vars(self).items():
            if name in SAMPLED:
                tensor[rows] = state[name]
            elif name in BY_CLASS:
                tensor[state["classes"]] += state[name]
            elif name not in ("largest", "ties"):
                tensor += state[name]

    def _count_ties(self, largest: Tensor, ties: Tensor) -> None:
        """Adds the largest activations (C,) of some images, and how many of them reach these."""
        before = self.largest.clone()
        torch.maximum(before, largest, out=self.largest)
        self.ties *= before == self.largest
        self.ties += ties * (largest == self.largest)


def _check_indices(name: str, indices: Tensor, count: int) -> None:
    """Raises ValueError if these are not different indices of `count` items, int64 (N,)."""
    if indices.dtype != torch.int64 or indices.dim() != 1:
        raise ValueError(f"the {name} are {indices.dtype} {tuple(indices.shape)}")
    if len(indices) and not (indices.min() >= 0 and indices.max() < count):
        raise ValueError(f"{name} beyond {count}")
    if len(indices.unique()) < len(indices):
        raise ValueError(f"{name} are repeated")


def class_auc(values: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Measures how well the activation of each channel tells each class from all others.

    The area under the ROC curve is the share of pairs, of an image of the class and one of another
    class, in which the image of the class activates the channel more; equal activations count half.
    0.5 is chance. z compares it with chance: the Mann-Whitney statistic in its standard deviations
    (with the correction for ties), so that a class of one image does not win by luck.

    Args:
        values: (N, C), activations.
        labels: int64 (N,).
        classes: K, their number.

    Returns:
        The area and z, float64 (K, C); NaN for a class that has no image, or all. z is 0 for a
        channel whose activations are all equal.

    Example:
        >>> values = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
        >>> class_auc(values, torch.tensor([0, 0, 1, 1]), 2)[0].flatten()
        tensor([0., 1.], dtype=torch.float64)
    """
    count = len(values)
    sizes = labels.bincount(minlength=classes).double()[:, None]  # (K, 1)
    others = count - sizes
    ranks, ties = _average_ranks(values)
    sums = torch.zeros(classes, values.shape[1], dtype=torch.float64).index_add_(0, labels, ranks)
    pairs = sizes * others
    area = (sums - sizes * (sizes + 1) / 2) / pairs
    spread = pairs / 12 * (count + 1 - ties / max(1, count * (count - 1)))
    z = (area - 0.5) * pairs / spread.sqrt()
    return area, z.where(spread > 0, torch.zeros_like(z)).where(pairs > 0, area)


def _average_ranks(values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the ranks from 1 of each column (N, C), equal values sharing the mean of theirs, and
    the sum of t³ - t over groups of t equal values (C,)."""
    columns = values.t().contiguous()
    ordered = columns.sort(dim=1).values
    left = torch.searchsorted(ordered, columns)
    right = torch.searchsorted(ordered, columns, right=True)
    tied = (right - left).double()  # the size of each value's group
    return (left + right + 1).double().t() / 2, (tied.square() - 1).sum(1)
