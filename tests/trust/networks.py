"""The networks of `make trust`: a small one of each family, and two with weights of ImageNet.

    network = NETWORKS["vit"]
    train(network)                     # nothing if it is trained already
    load_trained(network)              # ModelOnData: the network and the validation images
    load_untrained(network, seed=1)    # the same network with random weights

All see the embedded data set `creatures`. Those with weights of ImageNet were never trained on it:
they see it with their own preprocessing. Their weights are files, FOLDER/NAME.pth.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch import nn

from tests.helpers.commands import ROOT
from zfnet.launch.command_line import normalize_words
from zfnet.launch.project import config_folder
from zfnet.launch.resolvers import register_resolvers
from zfnet.model_on_data import ModelOnData
from zfnet.studies.inputs import load_model
from zfnet.training.checkpoint import read_checkpoint
from zfnet.training.networks import build

FOLDER = Path("outputs/trust")  # of checkpoints and measured numbers
TIMM, MIXER = "timm.create_model", "timm.models.mlp_mixer.MlpMixer"
SETTINGS = (  # of every training; a network may have another image size
    *("data.image_size=64", "trainer=cpu", "test=false", "logger=none", "resume=true"),
    "callbacks=[checkpoint,stop_checkpoint,progress]",
)
ADAMW = ("optimizer=adamw", "scheduler=warmup")


@dataclass(frozen=True)
class Network:
    """One row of the page.

    Attributes:
        name: of its folder.
        family: as the page calls it.
        words: of train.py; of analyze.py for weights of ImageNet.
        pretrained: whether it has weights of ImageNet.
    """

    name: str
    family: str
    words: tuple[str, ...]
    pretrained: bool = False

    @property
    def folder(self) -> Path:
        return FOLDER / self.name


def _timm(name: str, family: str, epochs: int, lr: float, *words: str) -> Network:
    """A network of timm with random weights; `words` are keys of the config's section `model`."""
    settings = (f"trainer.max_epochs={epochs}", f"optimizer.lr={lr}", *ADAMW)
    model = (f"model.{word}" for word in (f"_target_={TIMM}", *words))
    return Network(name, family, ("model=custom", *model, *settings))


def _pretrained(package: str, name: str, family: str) -> Network:
    return Network(name, family, (f"model={package}", f"model.name={name}"), pretrained=True)


NETWORKS = {
    network.name: network
    for network in (
        Network(
            *("zfnet", "plain, max pooling"),
            (
                "model=zfnet",
                "model.edit={fc6:{units:512},fc7:{units:512}}",
                "trainer.max_epochs=10",
            ),
        ),
        _timm("resnet10t", "residual", 10, 2e-3, "model_name=resnet10t"),
        _timm(
            *("densenet", "dense", 16, 3e-3, "model_name=densenet121"),
            *("growth_rate=16", "block_config=[3,6,8,6]"),
        ),
        _timm("mobilenetv2", "depthwise, ReLU6", 14, 3e-3, "model_name=mobilenetv2_050"),
        _timm(
            *("tinynet", "EfficientNet: squeeze-and-excitation, SiLU", 16, 3e-3),
            "model_name=tinynet_e",
        ),
        Network(
            *("convnext", "ConvNeXt"),
            (
                *("model=timm", "model.name=convnext_atto", "data.image_size=112"),
                *("trainer.max_epochs=30", "optimizer.lr=2e-3", *ADAMW),
            ),
        ),
        _timm(
            *("vit", "vision transformer", 20, 1e-3, "model_name=vit_tiny_patch16_224"),
            *("img_size=64", "patch_size=8", "depth=4", "embed_dim=96", "num_heads=3"),
        ),
        _timm(
            *("swin", "Swin", 30, 1e-3, "model_name=swin_tiny_patch4_window7_224", "img_size=64"),
            *("window_size=4", "embed_dim=48", "depths=[2,2,4]", "num_heads=[2,4,8]"),
        ),
        _timm(
            *("mixer", "MLP-Mixer", 12, 1e-3, f"_target_={MIXER}"),
            *("patch_size=8", "num_blocks=6", "embed_dim=128"),
        ),
        _pretrained("torchvision", "squeezenet1_1", "plain, ImageNet's weights"),
        _pretrained("timm", "tf_efficientnet_lite0", "depthwise, ReLU6, ImageNet's weights"),
    )
}


def train(network: Network) -> None:
    """Trains a network on one thread. Continues what was stopped, skips what is finished."""
    if (network.folder / "result.json").exists():
        return
    words = [*SETTINGS, *network.words, f"hydra.run.dir={network.folder}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "train.py", *words], cwd=ROOT, env=environment, check=True)


def _load(words: Sequence[str]) -> ModelOnData:
    register_resolvers()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return load_model(compose("analyze", normalize_words(words)[0]))


def load_trained(network: Network, file: Path | None = None) -> ModelOnData:
    """The network and the validation images of `creatures`.

    Args:
        network: one of NETWORKS.
        file: its checkpoint, or its weights; None for the checkpoint that `train` wrote.
    """
    if network.pretrained:
        return _load([*network.words, f"model.weights={file}", "data=creatures"])
    ckpt = file or network.folder / "checkpoints" / "last.ckpt"
    return _load([f"ckpt={ckpt}", f"trust=[{TIMM},{MIXER}]"])


def load_untrained(network: Network, seed: int, file: Path | None = None) -> nn.Module:
    """The same network with random weights, in eval mode; see `load_trained`."""
    if network.pretrained:
        return _load([*network.words, f"seed={seed}", "data=creatures"]).net
    ckpt = file or network.folder / "checkpoints" / "last.ckpt"
    torch.manual_seed(seed)
    return build(read_checkpoint(ckpt)["model_config"]).net.eval()
