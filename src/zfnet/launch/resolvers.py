"""Resolvers for conf/: `${root:}`, `${run_name:}`, `${job_name:}` and `${fast_precision:}`.

They have no side effects.
"""

from collections.abc import Callable

import torch
from hydra.core.config_store import ConfigStore
from omegaconf import ListConfig, OmegaConf

from zfnet.launch import run_dirs
from zfnet.launch.project import project_root


def fast_precision() -> str:
    """Returns "bf16-mixed" if the GPU or CPU supports bfloat16 natively, otherwise "32-true"."""
    native = (
        torch.cuda.is_available()
        or torch.cpu._is_avx512_bf16_supported()
        or torch.cpu._is_amx_tile_supported()
    )
    return "bf16-mixed" if native and not torch.backends.mps.is_available() else "32-true"


def register_resolvers() -> None:
    """Registers the resolvers, and the choice `data=checkpoint` of analyze.py.

    `data=checkpoint` is an empty group: its keys come from the command line.
    """

    def plain(words: ListConfig) -> list[str]:
        return OmegaConf.to_container(words, resolve=False)  # type: ignore[return-value]

    resolvers: dict[str, Callable[..., str]] = {
        "root": lambda: str(project_root()),
        "run_name": lambda words, name: run_dirs.run_name(plain(words), name),
        "job_name": lambda words, shared: run_dirs.job_name(plain(words), plain(shared)),
        "fast_precision": fast_precision,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)
    any_keys = OmegaConf.create({}, flags={"struct": False})
    ConfigStore.instance().store(group="data", name="checkpoint", node=any_keys)
