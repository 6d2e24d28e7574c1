"""Table 3 as two sweeps: the paper's rows and no other, each a net of its own."""

import re
from collections.abc import Callable

import pytest
import torch
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from zfnet.launch.project import config_folder
from zfnet.studies.reference_results import ABLATIONS
from zfnet.training.networks import build_net


@pytest.mark.parametrize("architecture", ["alexnet", "zfnet"])
def test_the_sweep_has_the_papers_rows(
    composed: Callable[..., DictConfig], architecture: str
) -> None:
    experiment = f"experiment=table3_{architecture}"
    hydra = compose("train", [experiment], return_hydra_config=True).hydra
    assert hydra.mode.name == "MULTIRUN"
    rows = hydra.sweeper.params.ablation.split(",")
    assert sorted(rows) == sorted(ablation for net, ablation in ABLATIONS if net == architecture)
    sizes = {}
    for row in rows:
        config = composed(experiment, f"ablation={row}")
        assert config.model.architecture == architecture
        model = OmegaConf.to_container(config.model, resolve=True)
        with torch.device("meta"):
            net = build_net(model, 12, config.data.image_size)
        sizes[row] = sum(weight.numel() for weight in net.parameters())
    assert len(set(sizes.values())) == len(rows)
    assert max(sizes, key=sizes.__getitem__) == rows[0]  # two at once should end together


@pytest.mark.parametrize("architecture", ["alexnet", "zfnet"])
def test_the_command_at_its_head_is_the_papers_recipe(
    composed: Callable[..., DictConfig], architecture: str
) -> None:
    """The same words as experiment=paper_imagenet, and nothing of the embedded data set's left
    over."""
    text = (config_folder() / "experiment" / "table3_alexnet.yaml").read_text()
    words = re.findall(
        r"[a-z_.]+=[a-z0-9_.]+", text.partition("The paper's:")[2].partition("defaults:")[0]
    )
    assert "data=imagenet" in words
    found = composed(f"experiment=table3_{architecture}", *words)
    paper = composed("experiment=paper_imagenet", f"model={architecture}")
    for group in ("data", "model", "optimizer", "scheduler", "trainer"):
        assert found[group] == paper[group]
