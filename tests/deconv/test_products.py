"""Products of two values that depend on the image: refused by name, in every spelling."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.deconv.common import both, general, lively, noise, same, values_of
from tests.reference.nets import seeded
from zfnet.deconv import Deconvnet, Unit, doctor
from zfnet.deconv.mode import DeconvMode
from zfnet.errors import InputError

Call = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """A convolution, a ReLU and `call`, whose result an identity named "out" gives."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.a, self.b, self.gate = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 4)
        self.call, self.out = call, nn.Identity()
        self.register_buffer("buffer", torch.zeros(1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.call(self, F.relu(self.a(x))))


def pooled(h: Tensor) -> Tensor:
    return h.mean((2, 3))


def matrix(h: Tensor) -> Tensor:
    return h.flatten(2)


def sigmoid_of_a_part(_: Net, h: Tensor) -> Tensor:
    h = h - 0.1
    h[:, :2].sigmoid_()
    return F.relu(h[:, 1:])


PRODUCTS: dict[str, Call] = {
    "a part, then a ReLU of another part": sigmoid_of_a_part,
    "a power of a number": lambda _, h: torch.pow(2.0, h),
    "pow": lambda _, h: (h - 0.1) ** 2,
    "square": lambda _, h: (h + 1).square(),
    "mul": lambda _, h: h * h,
    "div of a constant": lambda _, h: 1 / (1 + h),
    "addcmul": lambda _, h: torch.addcmul(h, h, h),
    "lerp": lambda _, h: torch.lerp(h, h + 1, h),
    "@": lambda _, h: (matrix(h) @ matrix(h).transpose(1, 2)).flatten(1),
    "bmm": lambda _, h: torch.bmm(matrix(h), matrix(h).mT).flatten(1),
    "mm": lambda _, h: torch.mm(matrix(h)[0], matrix(h)[0].T).flatten()[None],
    "mv": lambda _, h: torch.mv(matrix(h)[0], matrix(h)[0, 0])[None],
    "sampled by itself": lambda _, h: F.grid_sample(
        torch.ones(1, 4, 8, 8).to(h), h[:, :2].movedim(1, -1), align_corners=False
    ),
    "dot": lambda _, h: torch.dot(h.flatten(), h.flatten())[None, None],
    "outer": lambda _, h: torch.outer(pooled(h)[0], pooled(h)[0]).flatten()[None],
    "tensordot": lambda _, h: torch.tensordot(h, h, ((0, 2, 3), (0, 2, 3))).flatten()[None],
    "einsum": lambda _, h: torch.einsum("bcij,bdij->bcd", h, h).flatten(1),
    "addmm": lambda _, h: torch.addmm(
        torch.zeros(4, 4).to(h), matrix(h)[0], matrix(h)[0].T
    ).flatten()[None],
    "baddbmm": lambda _, h: torch.baddbmm(h.new_zeros(1, 4, 4), matrix(h), matrix(h).mT).flatten(1),
    "addbmm": lambda _, h: torch.addbmm(h.new_zeros(4, 4), matrix(h), matrix(h).mT).flatten()[None],
    "F.bilinear": lambda _, h: F.bilinear(pooled(h), pooled(h), torch.ones(2, 4, 4).to(h)),
    "batch_norm, weight": lambda _, h: F.batch_norm(
        h, torch.zeros(4).to(h), torch.ones(4).to(h), pooled(h)[0]
    ),
    "batch_norm by the batch": lambda _, h: F.batch_norm(h, None, None, training=True),
}
EXTENDED: dict[str, Call] = {  # refused by the paper's rules alone
    "mul by a gate": lambda n, h: h * n.gate(pooled(h))[:, :, None, None],
    "pow": lambda _, h: h**2,
    "square": lambda _, h: h.square(),
    "div": lambda _, h: h / (1 + h.mean()),
    "F.linear": lambda _, h: F.linear(pooled(h), matrix(h)[0].T),
    "conv2d, weight": lambda n, h: F.conv2d(h, n.b.weight * h.mean()),
    "conv1d, weight": lambda _, h: F.conv1d(matrix(h), pooled(h)[:, :, None]).flatten(1),
    "conv3d, weight": lambda _, h: F.conv3d(h[:, :, None], pooled(h)[:, :, None, None, None])[
        :, :, 0
    ],
    "conv_transpose2d, weight": lambda n, h: F.conv_transpose2d(h, n.b.weight * h.mean()),
    "attention": lambda _, h: F.scaled_dot_product_attention(
        matrix(h), matrix(h), matrix(h)
    ).flatten(1),
    "glu": lambda _, h: F.glu(h, 1),
    "mul by a sigmoid": lambda n, h: h * n.gate(pooled(h)).sigmoid()[:, :, None, None],
    "einsum attention": lambda _, h: torch.einsum(
        "bij,bcj->bci", (matrix(h).mT @ matrix(h)).softmax(2), matrix(h)
    ).flatten(1),
    "layer_norm": lambda _, h: F.layer_norm(h, h.shape[1:]),
    "normalize": lambda _, h: F.normalize(pooled(h)),
    "max": lambda _, h: h.amax((2, 3)),
    "maximum": lambda n, h: torch.maximum(n.b(h), h[:, :, 1:-1, 1:-1]),
    "addcmul": lambda _, h: torch.addcmul(h, h, pooled(h).sigmoid()[:, :, None, None]),
    "grid_sample": lambda _, h: F.grid_sample(h, h[:, :2].movedim(1, -1), align_corners=False),
}


def no_grad(h: Tensor) -> Tensor:
    with torch.no_grad():
        return h.mean().sigmoid()


def through_a_leaf(_: Net, h: Tensor) -> Tensor:
    return h * h.detach().requires_grad_().mean().sigmoid()


def through_weights(n: Net, h: Tensor) -> Tensor:
    return h * n.gate(pooled(h).detach())[:, :, None, None]


def into_a_buffer(n: Net, h: Tensor) -> Tensor:
    n.buffer.copy_(pooled(h.detach()).mean(0)[None, :, None, None])
    return h * n.buffer


def into_zeros(_: Net, h: Tensor) -> Tensor:
    mask = torch.zeros_like(h)
    mask[h.detach() > 0.1] = 1
    return h * mask


def scattered(_: Net, h: Tensor) -> Tensor:
    mask = torch.zeros_like(h).flatten(1).scatter_(1, h.flatten(1).topk(3).indices, 1.0)
    return h * mask.view_as(h)


def clamped_behind_autograd(_: Net, h: Tensor) -> Tensor:
    h = h - 0.1
    h.data.clamp_(min=0)
    return h + 0


def clamped_without_gradient(_: Net, h: Tensor) -> Tensor:
    h = h - 0.1
    with torch.no_grad():
        h.clamp_(min=0)
    return h


def branch(_: Net, h: Tensor) -> Tensor:
    return h * 2 if h.mean() > 0.3 else h * 3


def change_part(change: Callable[[Tensor, Tensor], object]) -> Call:
    """Changes a part of a copy of h by h."""

    def call(_: Net, h: Tensor) -> Tensor:
        part = h * 1
        change(part, h)
        return part

    return call


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(_: object, x: Tensor) -> Tensor:
        return x * x.sigmoid()

    @staticmethod
    def backward(_: object, r: Tensor) -> Tensor:
        return r


HIDDEN: dict[str, Call] = {
    "detached gate": lambda _, h: h * h.detach().sigmoid(),
    ".data": lambda _, h: h * h.data.sigmoid(),
    "no_grad": lambda _, h: h * no_grad(h),
    "a leaf of its own": through_a_leaf,
    "a gate with weights": through_weights,
    "by a buffer": into_a_buffer,
    "comparison": lambda _, h: h * (h > 0.1),
    "comparison of another": lambda _, h: h * (h - 0.1 > 0),
    "comparison, float": lambda _, h: h * (h > h.mean()).float(),
    "sign": lambda _, h: h * torch.sign(h.detach()),
    "where": lambda _, h: torch.where(h > 0.1, h, h / 2),
    "masked_fill": lambda _, h: h.masked_fill(h < 0.1, 0.0),
    "boolean index": lambda _, h: h.flatten(1)[:, (h > 0.2).flatten()],
    "argmax index": lambda _, h: h[:, [h.mean((0, 2, 3)).argmax()]],
    "argmax, torch.tensor": lambda _, h: h[:, torch.tensor([h.mean((0, 2, 3)).argmax()])],
    "torch.tensor": lambda _, h: h * torch.as_tensor(h.detach().numpy()).mean(),
    "narrow": lambda _, h: h.narrow(1, h.mean((0, 2, 3)).argmax(), 1),
    "full": lambda _, h: h * torch.full((1,), h.detach().mean()).to(h),
    "index_select": lambda _, h: h.index_select(1, pooled(h)[0].argsort()),
    "gather": lambda _, h: h.gather(1, h.argsort(1)),
    "sort": lambda _, h: h.sort(1).values,
    "masked by zeros": into_zeros,
    "scattered mask": scattered,
    "item": lambda _, h: h * h.mean().item(),
    "float": lambda _, h: h * float(h.detach().mean()),
    "tolist": lambda _, h: h * pooled(h).detach().flatten().tolist()[0],
    "numpy": lambda _, h: h * torch.from_numpy(h.detach().numpy()).sigmoid(),
    "branch": branch,
    "added": lambda _, h: h + h.detach(),
    "divided by its norm": lambda _, h: h / h.detach().norm(),
    "norm's weight": lambda _, h: F.batch_norm(h, pooled(h.detach())[0], torch.ones(4).to(h)),
    "conv weight": lambda n, h: F.conv2d(h, n.b.weight * h.detach().mean()),
    "conv bias": lambda n, h: F.conv2d(h, n.b.weight, pooled(h.detach())[0]),
    "a part by a detached gate": change_part(lambda p, h: p[:, :2].mul_(h.detach().mean())),
    "a part of another": change_part(lambda p, h: p[:, :2].copy_(h.detach()[:, 2:])),
    "a part that is set": change_part(lambda p, h: p.__setitem__(0, h.detach()[0])),
    "a part with noise": change_part(lambda p, _: p[:, :2].add_(torch.rand(1).to(p))),
    "a random part": change_part(lambda p, _: p.__setitem__(0, torch.rand(1).to(p))),
    "a part at an argmax": change_part(
        lambda p, h: p.__setitem__((0, h.mean((0, 2, 3)).argmax()), 0)
    ),
    "a part at an integer": change_part(
        lambda p, h: p.__setitem__((0, int(h.mean((0, 2, 3)).argmax())), 0)
    ),
    "behind autograd": clamped_behind_autograd,
    "in place, no gradient": clamped_without_gradient,
    "custom function": lambda _, h: Doubled.apply(h),
    "roll by the image": lambda _, h: torch.roll(h, int(h.argmax()) % 3, 2),
    "dropout": lambda _, h: F.dropout(h),
    "dropout2d": lambda _, h: F.dropout2d(h, 0.5),
    "noise": lambda _, h: h + torch.randn_like(h),
    "random gate": lambda _, h: h * torch.rand(1).to(h),
    "scripted": lambda _, h: torch.jit.CompilationUnit(SCRIPT).gated(h),
}


SCRIPT = """
def gated(h: Tensor) -> Tensor:
    return h * h.detach().sigmoid()
"""


def refused(net: nn.Module, layer: str = "out", strict: bool = False) -> str:
    image = noise(1, 10)
    calls = [
        lambda: Deconvnet(net, strict=strict).project(image, layer, [Unit(0, 0)]),
        lambda: Deconvnet(net, strict=strict).patches(image, layer, [Unit(0, 0)]),
        lambda: Deconvnet(net, strict=strict).project_channel(image, layer, 0),
    ]
    messages = set()
    for call in calls:
        with pytest.raises(InputError) as caught:
            call()
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert strict or doctor(net, [layer], image)[0].unsupported
    return messages.pop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str) -> None:
    message = refused(seeded(lambda: Net(PRODUCTS[name])))
    assert "has no deconvnet" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", EXTENDED)
def test_products_with_an_extended_rule(name: str) -> None:
    """Strict rules refuse them by name; by default the gate is constant."""
    net, image = seeded(lambda: Net(EXTENDED[name])), noise(1, 10)
    message = refused(net, strict=True)
    assert "has no deconvnet" in message
    assert "\n" not in message
    assert doctor(net, ["out"], image)[0].unsupported == []
    (unit, *_) = lively(net, image, "out")
    projection = Deconvnet(net, seed="forced").project(image, "out", [unit])
    assert projection.any()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", HIDDEN)
def test_what_autograd_does_not_see(name: str) -> None:
    message = refused(seeded(lambda: Net(HIDDEN[name])))
    assert "has no deconvnet" in message
    assert "\n" not in message


def overwritten(n: Net, h: Tensor) -> Tensor:
    h, parts = h * 1, n.b(h)
    h[:, :2, 1:-1, 1:-1] = parts[:, 2:]
    h[:, 1:3] *= 0.5
    h[:, 3] += h[:, 0]
    return h


def into_parts(_: Net, h: Tensor) -> Tensor:
    out = torch.zeros_like(h)
    out[:, ::2], out[:, 1::2] = h[:, :2], h[:, 2:]
    return out


ORDER = torch.tensor([[2, 0, 2, 1]])
LINEAR: dict[str, Call] = {
    "scaled": lambda _, h: h * 3 / 2,
    "by a weight": lambda n, h: h * n.gate.weight[0][:, None, None],
    "matrix": lambda n, h: (n.gate.weight @ matrix(h)).view_as(h),
    "einsum": lambda n, h: torch.einsum("bcij,dc->bdij", h, n.gate.weight),
    "addmm": lambda n, h: torch.addmm(n.gate.bias, pooled(h), n.gate.weight),
    "bias of the image": lambda n, h: F.conv2d(h, n.b.weight, pooled(h)[0]),
    "sum of two": lambda n, h: n.b(h) + h[:, :, 1:-1, 1:-1],
    "concatenated": lambda _, h: torch.cat([h, h.flip(1)], 1),
    "zeros": lambda _, h: h * torch.ones_like(h),
    "index": lambda _, h: h[:, [2, 0]],
    "parts are overwritten": overwritten,
    "parts of zeros": into_parts,
    "scatter_add": lambda _, h: torch.zeros(1, 4).to(h).scatter_add(1, ORDER, pooled(h)),
    "index_put": lambda _, h: pooled(h).index_put((torch.tensor([0]),), pooled(h)[:1] * 2),
    "no dropout": lambda _, h: F.dropout(h, training=False),
    "nothing is made of it": lambda _, h: (h.detach().sigmoid(), h + 1)[1],
    "a norm that is not used": lambda n, h: (
        n.buffer.copy_(h.detach().mean((0, 2, 3))[None, :, None, None]),
        h + 1,
    )[1],
}


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_linear_is_taken(name: str) -> None:
    """With the gradient of the ReLU it is the gradient of the net."""
    net, image = seeded(lambda: Net(LINEAR[name])), noise(1, 10)
    units = lively(net, image, "out")[:1]
    deconv = Deconvnet(net, relu="gradient", seed="forced")
    pixels = image.clone().requires_grad_()
    values = net(pixels)
    for unit, projection in zip(units, both(deconv, image, "out", units), strict=True):
        value = (
            values[0, unit.channel, unit.y, unit.x]
            if values.dim() == 4
            else values[0, unit.channel]
        )
        same(projection, torch.autograd.grad(value, pixels, retain_graph=True)[0][0])


RECTIFIERS: dict[str, Callable[[Tensor], Tensor]] = {
    "x * (x > 0)": lambda x: x * (x > 0),
    "(x > 0) * x": lambda x: (x > 0) * x,
    "x * (x >= 0)": lambda x: x * (x >= 0),
    "x * (0 < x).float()": lambda x: x * (x > 0).to(x.dtype),
    "x *= x > 0": lambda x: x.mul_(x > 0),
    "torch.mul": lambda x: torch.mul(x, torch.gt(x, 0)),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "x.where": lambda x: x.where(x > 0, torch.zeros_like(x)),
}


@pytest.mark.parametrize("relu", ["deconv", "guided", "gradient"])
@pytest.mark.parametrize("spelling", RECTIFIERS)
def test_a_rectifier_by_its_mask(spelling: str, relu: str) -> None:
    """One comparison of the very value: a ReLU."""
    images = noise(2, 12)
    plain, masked = (
        seeded(
            lambda f=f: nn.Sequential(nn.Conv2d(3, 6, 3), Lambda(f), nn.Conv2d(6, 4, 3), Lambda(f))
        )
        for f in (F.relu, RECTIFIERS[spelling])
    )
    units = lively(plain, images, "3")
    expected = both(Deconvnet(plain, relu=relu), images, "3", units)
    same(both(Deconvnet(masked, relu=relu), images, "3", units), expected)


class Lambda(nn.Module):
    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


def test_what_follows_the_layer_does_not_matter() -> None:
    net = seeded(lambda: Net(HIDDEN["detached gate"]))
    Deconvnet(net).project(noise(1, 10), "a", [Unit(0, 0)])


BLOCKS = st.sampled_from(
    ["conv", "relu", "pool", "scale", "add", "gate", "mask", "shift", "matrix", "index"]
)


def run(blocks: list[str], weights: Tensor, x: Tensor) -> Tensor:
    """A small net of these blocks; the last four of them are products of the image, or may be."""
    for number, block in enumerate(blocks):
        w = weights[number]
        if block == "conv":
            x = F.conv2d(x, w, padding=1)
        elif block == "relu":
            x = F.relu(x)
        elif block == "pool":
            x = F.max_pool2d(x, 2, 1)
        elif block == "scale":
            x = x * w[0, 0, 0, 0] + 1
        elif block == "add":
            x = x + F.conv2d(x, w, padding=1)
        elif block == "shift":
            x = x - x.mean((2, 3), keepdim=True)
        elif block == "gate":
            x = x * x.detach().mean((2, 3), keepdim=True).sigmoid()
        elif block == "mask":
            x = x * (x > x.mean())
        elif block == "matrix":
            x = (x.flatten(2) @ x.detach().flatten(2).mT @ x.detach().flatten(2)).view_as(x)
        elif block == "index":
            x = x[:, x.mean((0, 2, 3)).argsort()]
    return x


class Blocks(nn.Module):
    def __init__(self, blocks: list[str], seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weights = nn.Parameter(
            torch.randn(8, 3, 3, 3, 3, generator=generator, dtype=torch.float64)
        )
        self.blocks, self.out = blocks, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(run(self.blocks, self.weights, x))


@settings(max_examples=40)
@given(st.lists(BLOCKS, min_size=1, max_size=6), st.integers(0, 9))
def test_what_is_taken_is_linear(blocks: list[str], seed: int) -> None:
    """A random net is taken if and only if it is linear once the switches of its ReLUs and poolings
    stand."""
    net, image = Blocks(blocks, seed), noise(1, 9)
    taken = not {"gate", "mask", "matrix", "index"} & set(blocks)
    if not taken:
        with pytest.raises(InputError, match="has no deconvnet"):
            Deconvnet(net).project(image, "out", [Unit(0, 0)])
        return
    values = values_of(net, image, "out")
    unit = Unit(0, 1, values.shape[2] // 2, values.shape[3] // 2)
    deconv = Deconvnet(net, relu="gradient", seed="forced")
    (projection,) = general(deconv, image, "out", [unit])
    step = 1e-7 * noise(1, 9, seed=1)
    change = (values_of(net, image + step, "out") - values)[0, unit.channel, unit.y, unit.x]
    assert torch.isclose(change, (projection * step[0]).sum(), rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize(
    ("func", "words"),
    [
        (F.relu, {}),
        (torch.relu, {}),
        (torch.relu_, {}),
        (F.max_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1}),
        (torch.max_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1}),
        (F.avg_pool2d, {"kernel_size": 2, "stride": 2}),
        (F.adaptive_avg_pool2d, {"output_size": 2}),
        (F.local_response_norm, {"size": 3}),
        (F.pad, {"pad": (1, 1, 2, 2), "mode": "constant", "value": None}),
        (F.interpolate, {"scale_factor": 2}),
        (F.dropout, {"training": False}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_function_takes_keywords(
    func: Callable[..., Tensor], words: dict[str, object]
) -> None:
    """As it does by position."""
    images = noise(1, 12)
    nets = [
        seeded(lambda f=f: nn.Sequential(nn.Conv2d(3, 4, 3), Lambda(f)))
        for f in _spelt(func, words)
    ]
    units = lively(nets[0], images, "1")
    first, second = (Deconvnet(net).project(images, "1", units) for net in nets)
    assert torch.equal(first, second)


def _spelt(
    func: Callable[..., Tensor], words: dict[str, object]
) -> list[Callable[[Tensor], Tensor]]:
    return [lambda x: func(x.clone(), **words), lambda x: func(input=x.clone(), **words)]


def test_convolution_and_batch_norm_take_keywords() -> None:
    images, weight = noise(1, 12), noise(4, 3)[:, :, :3, :3]
    mean, variance, gamma, beta = torch.rand(4, 4, dtype=torch.float64)

    def keywords(x: Tensor) -> Tensor:
        x = F.conv2d(input=x, weight=weight, bias=None, stride=2, padding=1)
        return F.batch_norm(
            input=x, running_mean=mean, running_var=variance, weight=gamma, bias=beta
        )

    def positions(x: Tensor) -> Tensor:
        return F.batch_norm(F.conv2d(x, weight, None, 2, 1), mean, variance, gamma, beta)

    nets = [nn.Sequential(Lambda(f)) for f in (positions, keywords)]
    units = lively(nets[0], images, "0")
    first, second = (both(Deconvnet(net), images, "0", units) for net in nets)
    assert torch.equal(first, second)


def test_swapping_knows_nothing_afterwards() -> None:
    """No mode of torch's outlasts a pass, even one that is refused."""
    with pytest.raises(InputError):
        Deconvnet(seeded(lambda: Net(PRODUCTS["mul"]))).project(noise(1, 10), "out", [Unit(0, 0)])
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None
    assert not isinstance(torch.overrides._get_current_function_mode(), DeconvMode)
