"""The config of the data set in a checkpoint, so that an analysis can use the training images.

    config["data"] = describe_data(data)    # plain values, nothing about the machine or the run
    data = checked_data(config["data"], path, trust=[])    # from a file: data sets of zfnet only
    linked_data(data)                       # as in conf/data: source.root is ${data.root}

A config from a file is not trusted. Functions that it names are looked up in SOURCES and never
imported by name.
"""

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
            "csv_list",
            "folder",
            "huggingface",
        ),
        *("imagenet", "imagenet_tars", "imagenette", "parquet", "photos", "voc2012", "webdataset"),
    )
}
OWN = ("batch_size", "crops", "store", "store_dir", "seed")  # depend on the machine or the run
DEFAULTS = {"channels": 3, "dtype": "uint8", "channels_shown": None, "store_format": None}
PATHS = ("root", "exclude", "classes")  # a list of classes is no path
NAMES = ("dataset",)  # paths where there is such a folder, else names on the hub
SHARED = (
    "root",
    "dataset",
    "image_size",
)  # keys of the data set that conf/data also passes to the source
REMEDY = "give data= to look at another data set"


def describe_data(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the part of a data set's config that a checkpoint stores.

    Paths become absolute, so that they are valid in any working directory.

    Args:
        config: the resolved config, in plain containers.
    """
    described = {key: value for key, value in without_defaults(config).items() if key not in OWN}
    source = described.get("source")
    if isinstance(source, Mapping):
        described["source"] = _absolute(
            {key: value for key, value in source.items() if key != "_partial_"}
        )
    return _absolute(described)


def without_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out keys that earlier versions did not have, where they have their default.

    Args:
        config: the config of a data set.
    """
    return {
        key: value for key, value in config.items() if key not in DEFAULTS or value != DEFAULTS[key]
    }


def checked_data(config: Any, where: object, trust: Sequence[str]) -> dict[str, Any]:
    """Checks that the data set's config of a checkpoint may be used.

    Args:
        config: the config from the file. Its content is not trusted.
        where: the checkpoint, for error messages.
        trust: names of data sets that the user trusts, in addition to those of zfnet.

    Returns:
        The config, unchanged.

    Raises:
        InputError: if the config is malformed, names code that is not trusted, or has a key or
            value that its data set does not accept.
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
    """Restores the interpolations of conf/data: shared keys of the source follow `data.KEY=`.

    Args:
        config: a config that passed `checked_data`.
    """
    source = config["source"] | {"_partial_": True}
    for key in SHARED:
        if key in source and key in config and source[key] == config[key]:
            source[key] = f"${{data.{key}}}"
    return config | {"source": source}


def check_same_data(configs: Mapping[str, dict[str, Any] | None]) -> None:
    """Checks that all checkpoints were trained on the same data set. Image sizes may differ.

    Args:
        configs: the configs of the data sets, by the path of the checkpoint.

    Raises:
        InputError: if two configs differ.
    """
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
    found = dict(words)
    for key in (*PATHS, *NAMES):
        value = words.get(key)
        if isinstance(value, str | Path):
            path = Path(value).expanduser()
            if key in PATHS or path.is_dir():
                found[key] = str(path.absolute())
        elif key == "root" and isinstance(value, list):
            found[key] = [str(Path(each).expanduser().absolute()) for each in value]
    return found


def _check_plain(value: Any, where: object) -> None:
    """Raises InputError for anything that Hydra or OmegaConf would interpret, at any depth."""
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
    """Returns the declared types of a function's arguments."""
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
