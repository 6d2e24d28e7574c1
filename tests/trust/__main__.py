"""How far projections can be trusted, measured on one small network of each family.

    python -m tests.trust docs/trust.md [NAME ...] [NAME=FILE ...]      # `make trust`

Trains each network on the embedded data set, measures the middle and the last of its default
layers, and writes the tables of the page. Safe to interrupt: the same command continues.
Checkpoints and numbers are in outputs/trust/NAME; delete measured.json there to measure again.
NAME=FILE gives a checkpoint, so that its network is not trained, or the weights of ImageNet of a
network that has them; without these, that network is left out.
"""

import json
import sys
from pathlib import Path

import torch

from tests.trust.measure import error, measure
from tests.trust.networks import NETWORKS, Network, load_trained, load_untrained, train
from tests.trust.page import write_tables

UNTRAINED = 3  # networks with random weights
IMAGES, LARGE_IMAGES = 64, 24  # of 64 or 112 pixels; of the 224 pixels of ImageNet's networks


def measure_network(network: Network, file: Path | None) -> None:
    """Writes measured.json of one network."""
    print(f"{network.name}: measuring", flush=True)
    model = load_trained(network, file)
    untrained = [load_untrained(network, seed, file) for seed in range(UNTRAINED)]
    count = LARGE_IMAGES if network.pretrained else IMAGES
    layers = model.default_layers()
    layers = [layers[len(layers) // 2], layers[-1]]
    row = {
        "name": network.name,
        "family": network.family,
        "error": error(model),
        "layers": [measure(model, untrained, name, count) for name in layers],
    }
    network.folder.mkdir(parents=True, exist_ok=True)
    (network.folder / "measured.json").write_text(json.dumps(row))


def main() -> None:
    page, words = Path(sys.argv[1]), sys.argv[2:]
    files = {name: Path(file) for name, _, file in (each.partition("=") for each in words) if file}
    asked = [word for word in words if "=" not in word] or list(NETWORKS)
    torch.set_num_threads(1)
    for network in (NETWORKS[name] for name in asked):
        measured = network.folder / "measured.json"
        if network.pretrained and network.name not in files and not measured.exists():
            print(f"{network.name}: left out; give {network.name}=FILE", flush=True)
            continue
        if not network.pretrained and network.name not in files and not measured.exists():
            train(network)
        if not measured.exists():
            measure_network(network, files.get(network.name))
        found = (each.folder / "measured.json" for each in NETWORKS.values())
        write_tables(page, [json.loads(path.read_text()) for path in found if path.exists()])


if __name__ == "__main__":
    main()
