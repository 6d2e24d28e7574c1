"""Layers are read by hooks of one thread, the last of their modules, that leave nothing behind."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn

from zfnet.deconv import Deconvnet, Unit, doctor, top_activations
from zfnet.errors import InputError
from zfnet.models.introspection import capture_outputs, check_called_once, eval_mode, find_modules


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
    ).eval()


def images(count: int, side: int = 24) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_a_hook_of_the_users_own_is_read() -> None:
    """It switches map 0 off; registered before or while the net is searched again."""
    model, x = net(), images(2)
    plain = top_activations(model, [x], ["1", "3"], k=1, progress=False)
    handle = model[1].register_forward_hook(
        lambda _, __, out: out * torch.tensor([0.0, 1, 1, 1]).view(4, 1, 1)
    )
    changed = top_activations(model, [x], ["1", "3"], k=1, progress=False)
    assert changed["1"].values[0, 0] == 0
    assert torch.equal(changed["1"].values[1:], plain["1"].values[1:])
    assert not torch.equal(changed["3"].values, plain["3"].values)
    assert hooks(model) == 1
    handle.remove()


def test_nothing_stays_after_an_exception() -> None:
    model = net()
    with suppress(RuntimeError), capture_outputs(find_modules(model, ["1"]), lambda *_: None):
        model(torch.zeros(1, 5, 8, 8))
    with (
        pytest.raises(ZeroDivisionError),
        capture_outputs(find_modules(model, ["1"]), lambda *_: 1 / 0),
    ):  # type: ignore[arg-type]
        model(images(1))
    assert hooks(model) == 0


class Skips(nn.Module):
    """Runs its second layer for large batches only, and a third time for bright ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        if len(x) != 3:
            y = self.second(y)
        return self.second(y) if len(x) == 5 else y


def test_a_layer_that_a_batch_does_not_reach_is_named() -> None:
    with pytest.raises(InputError, match=r"layer 'second' never runs in batch 1"):
        top_activations(Skips(), [images(2, 8), images(3, 8)], ["first", "second"], progress=False)
    with pytest.raises(InputError, match=r"layer 'second' never runs in one pass"):
        check_called_once(
            Skips(), find_modules(Skips(), []) | {"second": nn.Conv2d(1, 1, 1)}, images(1, 8)
        )


def test_threads_share_a_net() -> None:
    """Searches, projections and plain passes at once, each as if it were alone."""
    model, x = net(), images(4).split(1)
    unit = [Unit(0, 3, 5, 5)]
    searched = [
        top_activations(model, [each], ["4"], k=1, progress=False)["4"].values for each in x
    ]
    projected = [Deconvnet(model, unpool="center").project(each, "3", unit) for each in x]
    plain = [model(each).detach() for each in x]
    wrong: list[object] = []

    def work(i: int) -> None:
        calls: list[tuple[Callable[[], Tensor], Tensor]] = [
            (
                lambda: top_activations(model, [x[i]], ["4"], k=1, progress=False)["4"].values,
                searched[i],
            ),
            (lambda: Deconvnet(model, unpool="center").project(x[i], "3", unit), projected[i]),
            (lambda: model(x[i]).detach(), plain[i]),
        ]
        try:
            for n in range(12):
                call, expected = calls[(n + i) % 3]
                if not torch.equal(call(), expected):
                    wrong.append((i, n % 3))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert hooks(model) == 0


def test_the_last_of_two_users_restores_the_modes() -> None:
    model = net().train()
    model[2].eval()
    modes = [module.training for module in model.modules()]
    first, second = eval_mode(model), eval_mode(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(module.training for module in model.modules())
    second.__exit__(None, None, None)
    assert [module.training for module in model.modules()] == modes


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["whole", "in place", "a part"])
def test_compiled_nets(how: str) -> None:
    """Tried before, so that a compiled graph stands; names with and without `_orig_mod`."""
    plain, compiled = net(), net()
    if how == "whole":
        compiled = torch.compile(compiled, backend="eager")
    elif how == "in place":
        compiled.compile(backend="eager")
    else:
        compiled[3] = torch.compile(compiled[3], backend="eager")
    batches = [*images(20).split(4), images(3)]
    with torch.no_grad():
        before = [compiled(batch) for batch in batches]
    expected = top_activations(plain, batches, ["3", "4"], k=9, progress=False)
    for layers in (["3", "4"], ["_orig_mod.3", "_orig_mod.4"]):
        top = top_activations(compiled, batches, layers, k=9, progress=False)
        assert top.seen == 23
        for layer, inner in zip(layers, ("3", "4"), strict=True):
            assert torch.equal(top[layer].images, expected[inner].images)
    units = [Unit(0, m, 2, 2) for m in range(6)]
    assert torch.equal(
        Deconvnet(compiled).project(batches[0], "4", units),
        Deconvnet(plain).project(batches[0], "4", units),
    )
    assert str(doctor(compiled, ["4"], batches[0])[0]) == str(doctor(plain, ["4"], batches[0])[0])
    with torch.no_grad():
        assert torch.equal(compiled(batches[0]), before[0])
    assert torch._dynamo.eval_frame._stance.stance == "default"


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if self.reentrant is None:
            return self.b(x)
        return torch.utils.checkpoint.checkpoint(self.b, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("layer", ["b", "b.0"])
def test_gradient_checkpointing(reentrant: bool, layer: str) -> None:
    """Steps aside for the pass, in this thread, and trains as before afterwards."""
    x, units = images(2, 16), [Unit(0, 1, 1, 1), Unit(1, 2, 3, 3)]
    own = dict(vars(torch.utils.checkpoint))
    for unpool in ("sum", "center"):
        expected = Deconvnet(Checkpointed(None), unpool=unpool).project(x, layer, units)
        assert torch.equal(
            Deconvnet(Checkpointed(reentrant), unpool=unpool).project(x, layer, units), expected
        )
    assert dict(vars(torch.utils.checkpoint)) == own
    gradients = []
    for model in (Checkpointed(None), Checkpointed(reentrant)):
        model(x.clone().requires_grad_()).sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("unpool", ["sum", "center"])
def test_nets_made_in_inference_mode(unpool: str) -> None:
    with torch.inference_mode():
        inside, x = net(), images(2)
    units = [Unit(1, 2, 3, 3)]
    expected = Deconvnet(net(), unpool=unpool).project(x.clone(), "4", units)
    deconv = Deconvnet(inside, unpool=unpool)
    assert torch.equal(deconv.project(x, "4", units), expected)
    with torch.inference_mode():
        inside[0].weight.mul_(2)
        inside[0].bias.mul_(2)
    assert torch.allclose(
        deconv.project(x, "1", [Unit(0, 0)]), 4 * Deconvnet(net()).project(x, "1", [Unit(0, 0)])
    )
    assert doctor(inside, ["4"])[0].channels == 6


def test_an_unknown_layer_suggests_the_nearest_names() -> None:
    net = nn.Sequential(OrderedDict(stem=nn.Conv2d(3, 4, 3), stages=nn.Conv2d(4, 4, 3)))
    with pytest.raises(InputError, match=r"'stage' is not in .*; did you mean stages"):
        find_modules(net, ["stage"])
