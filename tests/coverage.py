"""Which networks can be looked into: one small model of each family of timm, and of torchvision.

    python -m tests.coverage docs/coverage.md [FAMILY ...]      # `make coverage`

For each default layer of each model, with random weights in float64 and one image of noise:

- the search equals a brute-force maximum;
- the projection by gradients only equals autograd;
- the projection equals the reference that walks down autograd's graph (tests/reference).

Models that cost more than LARGEST parameters at 224 pixels are left out. The table is written after
each model.
"""

import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from timm.models._registry import _module_to_models
from torch import Tensor, nn

from tests.reference.graph_walk import walk
from zfnet.deconv import Deconvnet, Unit, default_layers, top_activations
from zfnet.errors import InputError
from zfnet.models.introspection import capture_outputs, find_modules

LARGEST = 150_000_000
SECONDS = 300  # for one model
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Result:
    """What became of one model."""

    family: str
    model: str
    layers: int
    works: int
    rules: str
    search: bool
    gradient: bool
    reference: bool | None  # None: the reference does not cover the model
    reason: str


def smallest(names: list[str]) -> tuple[float, str]:
    """The model with the fewest parameters, weighted by its image size, and this number."""
    found = []
    for name in sorted(names):
        try:
            with torch.device("meta"):
                net = timm.create_model(name)
        except (RuntimeError, NotImplementedError, AttributeError, TypeError, ValueError):
            continue
        count = sum(each.numel() for each in net.parameters())
        side = net.default_cfg.get("input_size", (3, 224, 224))[-1]
        found.append((count * max(1, (side / 224) ** 2), name))
    return min(found)


def families() -> list[tuple[float, str, str, Callable[[], nn.Module]]]:
    """Returns cost, family, name and constructor of each model, cheap ones first."""
    found: list[tuple[float, str, str, Callable[[], nn.Module]]] = []
    for family, names in _module_to_models.items():
        cost, name = smallest(list(names))
        found.append((cost, f"timm.{family}", name, partial(timm.create_model, name)))
    builders: dict[str, list[tuple[int, str]]] = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        weights = torchvision.models.get_model_weights(name).DEFAULT
        count, family = weights.meta["num_params"], type(weights).__module__
        builders.setdefault(family.rpartition(".")[2], []).append((count, name))
    for family, models in builders.items():
        cost, name = min(models)
        build = partial(torchvision.models.get_model, name, **_options(name))
        found.append((cost, f"torchvision.{family}", name, build))
    return sorted(found, key=lambda each: each[:3])


def _options(name: str) -> dict[str, Any]:
    return {"init_weights": False} if name in ("googlenet", "inception_v3") else {}


def image_for(net: nn.Module, name: str) -> Tensor:
    """An image of noise, of the size that the model is made for."""
    config = getattr(net, "default_cfg", {})
    channels, *sides = config.get("input_size", (3, 224, 224))
    if name == "inception_v3":
        sides = [299, 299]
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, channels, *sides, generator=generator, dtype=torch.float64)


def randomize(net: nn.Module) -> nn.Module:
    """Random weights that no layer scale or zero-initialized norm hides, in float64."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        for name, each in net.named_parameters():
            if each.dim() <= 1 and ("gamma" in name or each.abs().max() < 1e-3):
                each.uniform_(0.5, 1)
    return net.double().eval()


def check(family: str, name: str, build: Callable[[], nn.Module]) -> Result:
    """Checks all default layers of one model."""
    net = randomize(build())
    image = image_for(net, name)
    layers = default_layers(net, image)
    works, reasons, rules = 0, list[str](), dict[str, int]()
    search, gradient = True, True
    reference: bool | None = True
    for layer in layers:
        deconv = Deconvnet(net)
        try:
            deconv.units(layer, tuple(image.shape[1:]))  # type: ignore[arg-type]
        except InputError as error:
            reasons.append(str(error).partition(" has no deconvnet")[0])
            continue
        axes = deconv.axes(layer, tuple(image.shape[1:]))  # type: ignore[arg-type]
        values = list[Tensor]()
        # Two images: torch 2.15's gradient of a batch norm in eval mode is wrong for one image and
        # an R with channels last whose stride over images is odd, as `view` and `split` leave it.
        pixels = image.repeat(2, 1, 1, 1).requires_grad_()
        modules = find_modules(net, [layer])
        with capture_outputs(modules, lambda _, out, values=values: values.append(out.clone())):
            net(pixels.clone())
        maps = axes.maps(values[0])
        best = torch.unravel_index(maps[0].argmax(), maps.shape[1:])
        unit = Unit(0, *(int(each) for each in best))
        top = top_activations(net, [image], [layer], k=1, progress=False)[layer]
        search &= torch.allclose(top.values[:, 0], maps[0].flatten(1).amax(1))
        own = maps[0, unit.channel, unit.y, unit.x]
        expected = torch.autograd.grad(own, pixels)[0][:1]
        options = {"relu": "gradient", "normalization": "gradient", "others": "gradient"}
        plain = Deconvnet(net, seed="one", **options).project(image, layer, [unit])
        gradient &= close(plain, expected)
        projection = deconv.project(image, layer, [unit])
        if reference:
            try:
                reference = close(projection, walk(net, image, layer, [unit], axes))
            except NotImplementedError:
                reference = None
        for rule, count in deconv.extended_rules(layer, tuple(image.shape[1:])).items():  # type: ignore[arg-type]
            rules[rule] = max(count, rules.get(rule, 0))
        works += 1
    text = ", ".join(f"{rule} x {count}" for rule, count in sorted(rules.items()))
    reason = reasons[0] if reasons else ""
    return Result(family, name, len(layers), works, text, search, gradient, reference, reason)


def close(found: Tensor, expected: Tensor) -> bool:
    """Whether two projections are equal, up to rounding relative to the larger one."""
    scale = float(torch.maximum(found.abs().max(), expected.abs().max()))
    return float((found - expected).abs().max()) <= TOLERANCE * scale


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} seconds")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def table(results: list[Result]) -> str:
    """The page of the documentation."""
    works = [each for each in results if each.layers and each.works == each.layers]
    paper = [each for each in works if not each.rules]
    lines = [
        "# Coverage",
        "",
        "One small model of each family, random weights in float64, all default layers. `make",
        "coverage` writes this page. Three checks for each layer: the search equals a brute-force",
        "maximum (S), the projection by gradients equals autograd (G), and the projection equals a",
        "reference that walks down autograd's graph (R), or nothing where it lacks an operation.",
        f"Families whose smallest model costs more than {LARGEST // 10**6} million parameters are",
        "left out.",
        "",
        f"{len(works)} of {len(results)} models work: {len(paper)} by the paper's rules alone, "
        f"{len(works) - len(paper)} by extended rules.",
        "",
        "| family | model | layers | rules | S | G | R |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in sorted(results, key=lambda each: each.family):
        rules = each.rules or ("the paper's" if each.works else "")
        if each.works < each.layers or not each.layers:
            rules = f"refused: {each.reason}"
        marks = " | ".join(
            ("" if good is None else "yes" if good else "no") if each.works else ""
            for good in (each.search, each.gradient, each.reference)
        )
        line = (
            f"| {each.family} | {each.model} | {each.works} of {each.layers} | {rules} | {marks} |"
        )
        lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> None:
    path, asked = Path(sys.argv[1]), sys.argv[2:]
    warnings.simplefilter("ignore")
    results = []
    for cost, family, name, build in families():
        if (asked and family not in asked) or cost > LARGEST:
            continue
        try:
            with time_limit(SECONDS):
                results.append(check(family, name, build))
        except (InputError, TimeoutError) as error:
            reason = str(error)[:100]
            results.append(Result(family, name, 0, 0, "", False, False, False, reason))
        print(results[-1], flush=True)
        path.write_text(table(results))


if __name__ == "__main__":
    main()
