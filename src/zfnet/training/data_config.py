"""The data set's config in a checkpoint, so that an analysis uses the net's training images.

    card["data"] = describe_data(config)    # plain values; of the machine and the run nothing
    config = checked_data(card["data"], path, trust=[])    # from a file: zfnet's own data sets only
    linked_data(config)                     # again as conf/data has it: source.root is ${data.root}

A config from a file is data: the functions that it names are looked up in SOURCES and never located
by name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from zfnet.data import ImageData, datasets
from zfnet.errors import InputError
from zfnet.fingerprint import flat

DATA = "zfnet.data.ImageData"
SOURCES: dict[str, Callable[..., Any]] = {
    f"{datasets.__name__}.{name}": getattr(datasets, name)
    for name in (
        *(
            "caltech101",
            "caltech256",
            "cifar10",
            "class_folders",
            "creatures",
            "creatures_few",
            "folder",
        ),
        *("imagenet", "imagenette", "photos", "voc2012"),
    )
}
OWN = ("batch_size", "crops", "store", "store_dir", "seed")  # of the machine and of the run
PATHS = ("root", "exclude")
SHARED = ("root", "image_size")  # keys of the data set that conf/data hands on to its source
REMEDY = "give data= to look at another data set"


def describe_data(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint keeps of a data set's config, which is resolved and of plain containers.

    Paths become absolute, so that they can be found from another working directory.
    """
    described = {key: value for key, value in config.items() if key not in OWN}
    source = described.get("source")
    if isinstance(source, Mapping):
        described["source"] = _absolute(
            {key: value for key, value in source.items() if key != "_partial_"}
        )
    return _absolute(described)


def checked_data(config: Any, where: object, trust: Sequence[str]) -> dict[str, Any]:
    """The data set's config of the checkpoint `where`, if it may be used.

    Args:
        config: what `describe_data` made, as far as a file can be believed.
        where: the checkpoint, for messages.
        trust: names of data sets beside zfnet's own, whose code the user trusts.

    Raises:
        InputError: it names code that is not trusted, has a key or a value that its data set does
            not take, or is no such config.
    """
    if not (isinstance(config, dict) and isinstance(config.get("source"), dict)):
        raise InputError(
            f"{where}: the config of its data set is damaged (it has no source); {REMEDY}"
        )
    source = config["source"]
    for name, known in ((config.get("_target_"), [DATA]), (source.get("_target_"), SOURCES)):
        if name not in [*known, *trust]:
            raise InputError(
                f"{where}: was trained on data of {name}, which is not part of zfnet; give data=, "
                "or "
                f"trust=[{name}] if you trust its code"
            )
    words = {key: value for key, value in config.items() if key not in ("_target_", "source")}
    own = {key: value for key, value in source.items() if key != "_target_"}
    _check_plain([words, own], where)
    if source["_target_"] in SOURCES:
        taken = _hints(SOURCES[source["_target_"]])
        _check_kinds(own, taken, where)
        _check_kinds(words, taken | _hints(ImageData.__init__), where)
    return config


def linked_data(config: dict[str, Any]) -> dict[str, Any]:
    """A checked config as conf/data has it: what the source shares with the data set follows
    `data.KEY=`."""
    source = config["source"] | {"_partial_": True}
    for key in SHARED:
        if key in source and key in config and source[key] == config[key]:
            source[key] = f"${{data.{key}}}"
    return config | {"source": source}


def check_same_data(configs: Mapping[str, dict[str, Any] | None]) -> None:
    """InputError unless all checkpoints, by path, were trained on one data set; its image size does
    not count."""
    (first, expected), *others = ((path, _compared(config)) for path, config in configs.items())
    for path, found in others:
        if different := sorted(
            key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)
        ):
            key = different[0]
            raise InputError(
                f"{first} was trained on {key}={expected.get(key, 'unknown')}, {path} on "
                f"{key}={found.get(key, 'unknown')}; give data= to choose what all of them look at"
            )


def _compared(config: dict[str, Any] | None) -> dict[str, Any]:
    flattened = {} if config is None else flat({"data": config})
    return {key: value for key, value in flattened.items() if not key.endswith(".image_size")}


def _absolute(words: dict[str, Any]) -> dict[str, Any]:
    return words | {
        key: str(Path(words[key]).expanduser().absolute())
        for key in PATHS
        if isinstance(words.get(key), str | Path)
    }


def _check_plain(value: Any, where: object) -> None:
    """InputError for what Hydra or OmegaConf would act upon, at any depth."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key.startswith("_"):
                raise InputError(
                    f"{where}: the config of its data set has the key {key!r}; {REMEDY}"
                )
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _check_plain(each, where)
    elif isinstance(value, str) and ("${" in value or value == "???"):
        raise InputError(f"{where}: the config of its data set has the value {value!r}; {REMEDY}")
    elif not isinstance(value, str | int | float | None):
        raise InputError(
            f"{where}: the config of its data set holds a {type(value).__name__}; {REMEDY}"
        )


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The kinds of a function's words."""
    hints = get_type_hints(function)
    known = inspect.signature(function).parameters.values()
    return {
        each.name: hints[each.name]
        for each in known
        if each.kind == each.POSITIONAL_OR_KEYWORD and each.name in hints
    }


def _check_kinds(words: dict[str, Any], kinds: dict[str, Any], where: object) -> None:
    for key, value in words.items():
        if key not in kinds:
            raise InputError(
                f"{where}: the config of its data set has an unknown key, {key}; {REMEDY}"
            )
        try:
            TypeAdapter(kinds[key]).validate_python(value, strict=True)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise InputError(
                f"{where}: its data set has {key}={value!r} ({reason}); {REMEDY}"
            ) from error
