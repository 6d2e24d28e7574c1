"""Every network of Table 3 has the size that arithmetic gives; edits do what they say."""

from collections.abc import Callable

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from zfnet.errors import InputError
from zfnet.models import ALEXNET, ZFNET, Conv, ConvNet, Linear, Pool, apply_edit, convnet

FC7 = 4096 * 4096 + 4096
FC8 = 1000 * 4096 + 1000

# channels * (kernel² * input channels) + biases; a unit of a grouped layer sees half of the maps
# below
ALEX = {
    "conv1": 96 * (11 * 11 * 3) + 96,
    "conv2": 256 * (5 * 5 * 48) + 256,
    "conv3": 384 * (3 * 3 * 256) + 384,
    "conv4": 384 * (3 * 3 * 192) + 384,
    "conv5": 256 * (3 * 3 * 192) + 256,
    "fc6": 4096 * (6 * 6 * 256) + 4096,
    "fc7": FC7,
    "fc8": FC8,
}
ZF = ALEX | {
    "conv1": 96 * (7 * 7 * 3) + 96,
    "conv2": 256 * (5 * 5 * 96) + 256,
    "conv4": 384 * (3 * 3 * 384) + 384,
    "conv5": 256 * (3 * 3 * 384) + 256,
}
FC_2048 = {
    "fc6": 2048 * (6 * 6 * 256) + 2048,
    "fc7": 2048 * 2048 + 2048,
    "fc8": 1000 * 2048 + 1000,
}
FC_8192 = {
    "fc6": 8192 * (6 * 6 * 256) + 8192,
    "fc7": 8192 * 8192 + 8192,
    "fc8": 1000 * 8192 + 1000,
}
WIDE = {
    "conv3": 512 * (3 * 3 * 256) + 512,
    "conv4": 1024 * (3 * 3 * 512) + 1024,
    "conv5": 512 * (3 * 3 * 1024) + 512,
    "fc6": 4096 * (6 * 6 * 512) + 4096,
}
# The layer conv5 follows conv2, in two groups.
NO_3_4 = {"conv3": 0, "conv4": 0, "conv5": 256 * (3 * 3 * 128) + 256}
NO_6_7 = {"fc6": 0, "fc7": 0, "fc8": 1000 * (6 * 6 * 256) + 1000}
DENSE = {key: ZF[key] for key in ("conv2", "conv4", "conv5")}

TABLE_3 = [
    ("alexnet", "none", ALEX),
    ("alexnet", "remove_3_4", ALEX | NO_3_4),
    ("alexnet", "remove_7", ALEX | {"fc7": 0}),
    ("alexnet", "remove_6_7", ALEX | NO_6_7),
    ("alexnet", "remove_3_4_6_7", ALEX | NO_3_4 | NO_6_7),
    ("alexnet", "fc_2048", ALEX | FC_2048),
    ("alexnet", "fc_8192", ALEX | FC_8192),
    ("alexnet", "dense", ALEX | DENSE),
    ("alexnet", "no_contrast_normalization", ALEX),
    ("zfnet", "none", ZF),
    ("zfnet", "fc_2048", ZF | FC_2048),
    ("zfnet", "fc_8192", ZF | FC_8192),
    ("zfnet", "wide_3_4_5", ZF | WIDE),
    ("zfnet", "wide_3_4_5_fc_8192", ZF | WIDE | FC_8192 | {"fc6": 8192 * (6 * 6 * 512) + 8192}),
]


def on_meta(config: DictConfig) -> ConvNet:
    words = {key: value for key, value in config.model.items() if key != "input_norm"}
    with torch.device("meta"):
        return instantiate(words)


@pytest.mark.parametrize(
    ("model", "ablation", "counts"),
    TABLE_3,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_table_3(
    composed: Callable[..., DictConfig], model: str, ablation: str, counts: dict[str, int]
) -> None:
    net = on_meta(composed(f"model={model}", f"ablation={ablation}"))
    found = {
        name: sum(p.numel() for p in stage.parameters()) for name, stage in net.named_children()
    }
    assert found == {name: count for name, count in counts.items() if count}


def test_totals() -> None:
    # AlexNet: 34,944 + 307,456 + 885,120 + 663,936 + 442,624 + 37,752,832 + 16,781,312 + 4,097,000
    assert sum(ALEX.values()) == 60_965_224
    # ZFNet: 14,208 + 614,656 + 885,120 + 1,327,488 + 884,992 + the same three
    assert sum(ZF.values()) == 62_357_608


def test_figure_3_beside_the_convolutions() -> None:
    """Contrast normalization in layers 1 and 2, pooling in 1, 2 and 5, dropout in 6 and 7 (both
    nets)."""
    for table in (ALEXNET, ZFNET):
        assert [name for name, row in table.items() if isinstance(row, Conv) and row.normalize] == [
            "conv1",
            "conv2",
        ]
        pools = {
            name: row.pool for name, row in table.items() if isinstance(row, Conv) and row.pool
        }
        assert pools == dict.fromkeys(("conv1", "conv2", "conv5"), Pool(kernel=3, stride=2))
        dropouts = {name: row.dropout for name, row in table.items() if isinstance(row, Linear)}
        assert dropouts == {"fc6": 0.5, "fc7": 0.5, "fc8": 0.0}
        assert not table["fc8"].activation


def test_dense_alexnet_is_zfnet_above_layer_1_but_for_strides() -> None:
    dense = apply_edit(ALEXNET, {name: {"groups": 1} for name in ("conv2", "conv4", "conv5")})
    back = apply_edit(
        ZFNET,
        {"conv1": {"kernel": 11, "stride": 4, "padding": 2}, "conv2": {"stride": 1, "padding": 2}},
    )
    assert dense == back


def test_edits() -> None:
    assert apply_edit(ZFNET, {}) == ZFNET
    result = apply_edit(
        ZFNET,
        {"conv3": None, "conv5": {"pool": None}, "conv2": {"pool": {"kernel": 2, "stride": 2}}},
    )
    assert list(result) == ["conv1", "conv2", "conv4", "conv5", "fc6", "fc7", "fc8"]
    assert result["conv5"] == Conv(256, kernel=3, padding=1)
    assert result["conv2"] == Conv(256, kernel=5, stride=2, pool=Pool(2, 2), normalize=True)
    assert result["conv4"] is ZFNET["conv4"]
    assert "conv3" in ZFNET  # the table itself stays


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"conv9": None}, ["conv9", "conv1, conv2"]),
        ({"conv3": {"map": 3}}, ["conv3", "map", "'channels'"]),
        ({"fc6": {"kernel": 3}}, ["fc6", "kernel", "'units'"]),
        ({"fc6": 2048}, ["fc6=2048", "null removes"]),
        ({"fc8": None}, ["fc8", "keep it"]),
    ],
)
def test_wrong_edits_say_what_is_wrong(edit: dict, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        apply_edit(ZFNET, edit)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "edit",
    [
        {"conv1": {"pool": 3}},
        {"conv1": {"pool": {"kernel": 2, "strid": 2}}},
        {"conv1": {"stride": 0}},
        {"conv1": {"channels": 0}},
        {"conv1": {"kernel": "seven"}},
    ],
    ids=lambda edit: str(edit["conv1"]),
)
def test_impossible_values_are_input_errors(edit: dict) -> None:
    with pytest.raises(InputError), torch.device("meta"):
        convnet("zfnet", edit=edit)


def test_groups_must_divide() -> None:
    with (
        pytest.raises(InputError, match="conv2: 95 → 256 channels are not divisible by 2 groups"),
        torch.device("meta"),
    ):
        convnet("alexnet", edit={"conv1": {"channels": 95}})
    with pytest.raises(InputError, match="conv4"), torch.device("meta"):
        convnet("alexnet", edit={"conv4": {"channels": 383}})


def test_unknown_names() -> None:
    with pytest.raises(InputError, match=r"vgg.*alexnet, zfnet"):
        convnet("vgg")
    with pytest.raises(InputError, match=r"xavier.*paper, he"):
        convnet("zfnet", init="xavier")
