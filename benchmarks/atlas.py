"""The atlas of ZFNet at 224 pixels: 1,376 channels of conv1-5, for 1,000 images, without occlusion.

The peer is the work that cannot be avoided: the search, and the projections of all units that the
atlas shows, controls counted. The difference are the statistics, connections, tiles and files.

Multiplications, in billions, with the windows of projection.py: the search takes 1,110, and the
connections 120. Each channel of conv3, conv4 and conv5 has 17 windows on the way up and 33 on the
way down, 16 of them the random channels of the contrastive projection: 910, 2,290 and 3,020 for
all channels. So the atlas needs about 7,500: 150 s of a core that multiplies 50 billion times a
second, which is as fast as its convolutions become. Two minutes need 62 billion.

The statistics beside the search are timed alone, and compared with the forward pass."""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks.handwritten import zfnet
from benchmarks.measuring import TINY, Row, Worker, alternate, seconds_of, sized
from benchmarks.photos import in_memory
from zfnet.analysis import ActivationStatistics
from zfnet.atlas.build import make_atlas
from zfnet.atlas.overview import Origin, Settings
from zfnet.atlas.units import EXAMPLES, UnitTiles
from zfnet.data.datasets import Arrays
from zfnet.data.image_store import ImageStore
from zfnet.data.preprocessing import Preprocessing
from zfnet.deconv import Deconvnet, Top, TopActivations, top_activations
from zfnet.deconv.contrast import Contrast
from zfnet.launch.malloc import keep_freed_memory
from zfnet.model_on_data import ModelOnData

IMAGES, SIZE = sized((1000, 224), (6, 64))
LAYERS = sized([f"conv{number}" for number in range(1, 6)], ["conv1", "conv2"])
CLASSES = 10
SETTINGS = Settings()


def bench() -> list[Row]:
    with Worker(atlas) as ours, Worker(projections) as peer:
        one, other = alternate(ours, peer, repeats=1)
    with Worker(statistics) as beside, Worker(forward) as whole:
        more, plain = alternate(beside, whole, repeats=3)
    return [
        Row(
            f"atlas of ZFNet, {IMAGES} images (search and projections)",
            f"{one:.1f} s",
            f"{other:.1f} s",
            one / other,
            "<= 1.3, ours <= 120 s",
        ),
        Row(
            "statistics beside the search (forward pass)",
            f"{more * 1e3:.2f} ms a batch",
            f"{plain * 1e3:.0f} ms a batch",
            more / plain,
            "<= 0.05",
        ),
    ]


def model_on_images() -> ModelOnData:
    """ZFNet before smooth images with noise, of ten classes."""
    keep_freed_memory()
    torch.manual_seed(0)
    net = zfnet(SIZE, init="he").to(memory_format=torch.channels_last).eval()
    coarse = torch.rand(IMAGES, 3, 12, 12)
    pixels = torch.empty(IMAGES, SIZE, SIZE, 3, dtype=torch.uint8)
    for image, each in zip(pixels, coarse, strict=True):
        smooth = F.interpolate(each[None], SIZE, mode="bicubic")[0]
        noisy = (smooth + 0.03 * torch.randn(smooth.shape)).clamp(0, 1) * 255
        image.copy_(noisy.permute(1, 2, 0))
    ids, names = [str(number) for number in range(IMAGES)], [str(c) for c in range(CLASSES)]
    labels, mean = torch.arange(IMAGES) % CLASSES, torch.full((3, SIZE, SIZE), 127.0)
    store = ImageStore(Path("memory"), ids, names, labels, mean, SIZE, pixels)
    source = Arrays("smooth", names, ids, labels.tolist(), pixels.numpy())
    prepare = Preprocessing(SIZE, SIZE, "unit")
    prepare.set_mean(mean)
    return ModelOnData(net, prepare, store, source, names, batch_size=32)


def atlas() -> Callable[[], float]:
    model = model_on_images()

    def make() -> None:
        with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
            make_atlas(model, Path(folder) / "net_1", Origin("zfnet"), SETTINGS, LAYERS)

    return without_warm_up(make)


def projections() -> Callable[[], float]:
    model = model_on_images()
    units = Deconvnet(model.net)
    channels = {name: units.units(name)[0] for name in LAYERS}

    def search_and_project() -> None:
        tops = TopActivations(LAYERS)
        found = ActivationStatistics(channels, model.images.labels, CLASSES)
        top_activations(model.net, model.batches(), LAYERS, top=tops, each=found.update)
        for name in LAYERS:
            examples = found.quantiles(name, EXAMPLES)
            contrast = Contrast(SETTINGS.contrast, SETTINGS.seed)
            tiles = UnitTiles(model, name, tops[name], examples, contrast, None)
            for _ in tiles.parts(range(channels[name])):
                pass

    return without_warm_up(search_and_project)


def without_warm_up(job: Callable[[], None]) -> Callable[[], float]:
    """Seconds of a job of minutes. The first call, by which a Worker warms up, does nothing."""
    calls = itertools.count()
    return lambda: seconds_of(job) if next(calls) or TINY else 0.0


def forward() -> Callable[[], float]:
    """Seconds of a forward pass up to conv5, for a batch."""
    model = model_on_images()
    images = model.inputs(range(min(32, IMAGES)))
    layers = LAYERS

    def run() -> None:
        top_activations(model.net, [images], layers, progress=False)

    return lambda: seconds_of(run)


def statistics() -> Callable[[], float]:
    """Seconds of the statistics of a batch: sums, sums by class, and the sample."""
    model = model_on_images()
    units = Deconvnet(model.net)
    channels = {name: units.units(name)[0] for name in LAYERS}
    found = ActivationStatistics(channels, model.images.labels, CLASSES)
    batches: list[tuple[str, Top]] = []
    images = model.inputs(range(min(32, IMAGES)))
    keep = lambda layer, top: batches.append((layer, top))  # noqa: E731
    top_activations(model.net, [images], LAYERS, progress=False, each=keep)

    def run() -> None:
        for layer, top in batches:
            found.update(layer, top)

    return lambda: seconds_of(run)
