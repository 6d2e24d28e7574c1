"""Run folders as train.py and analyze.py leave them: real configs, small numbers, tiny images."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose
from omegaconf import DictConfig, OmegaConf
from PIL import Image

Compose = Callable[..., DictConfig]
GROUPS = ("ablation", "analysis", "data", "experiment", "model", "transfer")


@cache
def _composed(script: str, words: tuple[str, ...]) -> tuple[DictConfig, dict[str, str | None]]:
    """The config that these choices make, without Hydra's part, and the choices themselves."""
    cfg = compose(script, list(words), return_hydra_config=True)
    choices = {group: OmegaConf.select(cfg.hydra.runtime.choices, group) for group in GROUPS}
    return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]), choices


class RunFolders:
    """Writes runs below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def train(self, name: str, *words: str, result: Mapping[str, Any] | None = None) -> Path:
        """A training run; unfinished without a result."""
        return self._run("train", name, words, {} if result is None else {"result": result})

    def analysis(
        self, name: str, *words: str, numbers: Any = None, images: tuple[str, ...] = ()
    ) -> Path:
        """A run of analyze.py analysis=<first word>, its JSON and PNGs."""
        kind = words[0].removeprefix("analysis=")
        folder = self._run("analyze", name, words, {} if numbers is None else {kind: numbers})
        for image in images:
            self.image(folder / f"{image}.png")
        return folder

    def sweep(self, name: str, command: str, jobs: list[dict[str, Any]]) -> Path:
        """The manifest of jobs that are written with `train(f"{name}/<job>", ...)`."""
        about = {
            "command": command,
            "versions": {"python": "3.11.9", "torch": "2.15.0"},
            "machine": {"host": "somewhere", "pid": 1, "cpus": 2, "gpus": []},
            "jobs": jobs,
        }
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sweep.json").write_text(json.dumps(about))
        return folder

    def image(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40, 20), 60).convert("RGB").save(path)
        return path

    def _run(
        self, script: str, name: str, words: tuple[str, ...], results: Mapping[str, Any]
    ) -> Path:
        folder = self.root / name
        (folder / ".hydra").mkdir(parents=True)
        chosen = tuple(word for word in words if word.split("=")[0] in GROUPS)
        own, choices = _composed(script, chosen)
        own = own.copy()
        for word in set(words) - set(chosen):
            key, _, value = word.partition("=")
            OmegaConf.update(own, key, yaml.safe_load(value))
        hydra = {
            "job": {"name": script},
            "runtime": {"choices": choices},
            "overrides": {"task": list(words)},
        }
        OmegaConf.save(own, folder / ".hydra" / "config.yaml")
        OmegaConf.save({"hydra": hydra}, folder / ".hydra" / "hydra.yaml")
        (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {word}\n" for word in words))
        for stem, content in results.items():
            (folder / f"{stem}.json").write_text(json.dumps(content))
        return folder


@pytest.fixture
def runs(tmp_path: Path, composed: Compose, monkeypatch: pytest.MonkeyPatch) -> RunFolders:
    """No runs yet; they are written below outputs in the working directory, from configs that Hydra
    composes."""
    assert composed is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    return RunFolders(tmp_path / "outputs")
