"""Translates keys, values and dotted names of version 0.1 in configs.

    >>> translate({"_target_": "zfnet.data.sources.folder"})
    {'_target_': 'zfnet.data.datasets.folder'}
    >>> rename_keys({"model": {"pixels": "unit"}})
    ({'model': {'input_norm': 'unit'}}, ['model.pixels is called model.input_norm now'])

Checkpoints and configs are translated when they are read. Command lines are translated before Hydra
parses them.
"""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

MOVED = {
    "zfnet.data.caltech.": "zfnet.data.datasets.",
    "zfnet.data.embedded.": "zfnet.data.datasets.",
    "zfnet.data.embedded_datasets.": "zfnet.data.datasets.",
    "zfnet.data.sources.": "zfnet.data.datasets.",
    "zfnet.data.voc.": "zfnet.data.datasets.",
}  # prefixes of names in files
KEYS = {  # of configs: old keys and current ones; * stands for one part
    "callbacks.*.maps": "callbacks.*.channels",
    "ckpt_path": "ckpt",
    "maps": "channels",
    "model.edit.*.maps": "model.edit.*.channels",
    "model.edit.*.normalise": "model.edit.*.normalize",
    "model.pixels": "model.input_norm",
    "recipe.lr": "optimizer.lr",
    "recipe.momentum": "optimizer.momentum",
    "recipe.patience": "scheduler.patience",
    "recipe.schedule": "scheduler",
    "recipe.weight_decay": "optimizer.weight_decay",
    "strengths": "C",
    "transfer.strengths": "transfer.C",
}
VALUES = {  # of configs, by current key: old values and current ones
    "ablation": {"no_contrast_normalisation": "no_contrast_normalization"},
    "data.crops": {"any": "random"},
    "model.input_norm": {"torchvision": "pretrained"},
    "transfer.crops": {"centre": "center"},
}
HABITS = {"ckpt_path"}  # keys of other projects; accepted without a note


def _renamed(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the current name of a key, split at dots."""
    for old, new in KEYS.items():
        pattern = old.split(".")
        start = key[: len(pattern)]
        if len(start) == len(pattern) and all(map(fnmatchcase, map(str, start), pattern)):
            found = iter(part for each, part in zip(pattern, start, strict=True) if each == "*")
            return (
                *(next(found) if each == "*" else each for each in new.split(".")),
                *key[len(start) :],
            )
    return key


def _dotted(key: tuple[Any, ...]) -> str:
    return ".".join(map(str, key))


def _today(key: tuple[Any, ...], value: Any) -> Any:
    """Returns the current spelling of a value."""
    for pattern, table in VALUES.items():
        if isinstance(value, str) and value in table and fnmatchcase(_dotted(key), pattern):
            return table[value]
    return value


def rename_word(word: str) -> tuple[str, str | None]:
    """Translates one argument of a command line.

    Args:
        word: `key=value`, with or without `+`, `++` or `~`. Other arguments are returned unchanged.

    Returns:
        The argument with current key and values, and a note for the user if one of them is old.
    """
    found = re.fullmatch(r"([+~]{0,2})([A-Za-z][\w.]*)(?:=(.*))?", word, re.DOTALL)
    if found is None:
        return word, None
    sign, key, text = found.groups()
    parts = _renamed(tuple(key.split(".")))
    new = ".".join(parts)
    note = None if new == key or key in HABITS else f"{key} is called {new} now"
    if text is None:
        return f"{sign}{new}", note
    renamed = ",".join(_today(parts, value) for value in text.split(","))
    if renamed != text:
        note = f"{new}={text} is called {new}={renamed} now"
    return f"{sign}{new}={renamed}", note


def rename_keys(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Translates the keys and values of a config.

    Args:
        values: nested plain containers.

    Returns:
        The config with current keys and values, and a note for each old key or value. If a config
        contains both the old and the current key, the later one wins.
    """
    result: dict[str, Any] = {}
    notes: list[str] = []

    def walk(key: tuple[Any, ...], value: Any) -> None:
        new = _renamed(key)
        if new != key:
            notes.append(f"{_dotted(key)} is called {_dotted(new)} now")
        if key == ("recipe", "schedule") and value in ("cosine", "plateau"):
            result["scheduler"] = _scheduler(value)
            return
        if isinstance(value, Mapping) and value:
            # A schedule replaces the scheduler, and other keys then change it.
            for name, each in sorted(value.items(), key=lambda item: item[0] != "schedule"):
                walk((*key, name), each)
            return
        today = _today(new, value)
        if today != value:
            notes.append(f"{_dotted(new)}={value} is called {today} now")
        place = result
        for part in new[:-1]:
            if not isinstance(place.get(part), dict):
                place[part] = {}
            place = place[part]
        place[new[-1]] = today

    for name, value in values.items():
        walk((name,), value)
    return result, notes


def modern_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Translates a config, model config or fingerprint of version 0.1.

    Args:
        values: nested plain containers.

    Returns:
        The config with current names.
    """
    config = dict(values)
    if isinstance(recipe := config.pop("recipe", None), Mapping):
        config |= _learning(recipe)
    return rename_keys(translate(config))[0]


def _learning(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a `recipe` of version 0.1 to `optimizer` and `scheduler`."""
    rates = {key: recipe[key] for key in ("lr", "momentum", "weight_decay") if key in recipe}
    optimizer = {"_target_": "torch.optim.SGD", "_partial_": True, **rates}
    scheduler = _scheduler(recipe.get("schedule"), recipe.get("patience", 3))
    return {"optimizer": optimizer, "scheduler": scheduler}


def _scheduler(schedule: str | None, patience: int = 3) -> dict[str, Any]:
    """Returns the config of a scheduler by its name in version 0.1: "plateau" or "cosine"."""
    if schedule == "plateau":
        name, options = "ReduceLROnPlateau", {"factor": 0.1, "patience": patience}
    else:
        name, options = "CosineAnnealingLR", {}
    return {"_target_": f"torch.optim.lr_scheduler.{name}", "_partial_": True, **options}


def translate(value: Any) -> Any:
    """Replaces every moved name in nested containers.

    Args:
        value: dicts, lists and strings. Other values are returned unchanged.
    """
    if isinstance(value, dict):
        return {key: translate(each) for key, each in value.items()}
    if isinstance(value, list):
        return [translate(each) for each in value]
    if isinstance(value, str):
        for old, new in MOVED.items():
            if value.startswith(old):
                return new + value.removeprefix(old)
    return value
