"""Checks the types and ranges of all keys of a composed config before anything is built.

    check_config(cfg, Training)          # data.batch_size=0: must be at least 1 (and 2 more)

The classes below mirror conf/. The types of other keys are those of the function or class that
`_target_` names: if an analysis declares `images: Count`, that is the type and range of `images=`.
Choices, such as data.crops, are checked where they are used. Arguments of functions of other
packages than `CHECKED` are not checked.
"""

import importlib
import inspect
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NotRequired

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException
from pydantic import Field, with_config
from typing_extensions import TypedDict  # required by pydantic before Python 3.12

from zfnet.errors import InputError, one_line
from zfnet.validation import (
    Channels,
    Count,
    NotNegative,
    Positive,
    Seed,
    Side,
    Whole,
    declared_types,
    problems,
    raise_first,
    section_problems,
    show,
)

CHECKED = ("zfnet", "callbacks", "lightning")  # packages whose signatures are checked
# Packages for which only the names of arguments are checked, not their types.
NAMES_CHECKED = ("torch",)
# Keys of a section that are no arguments of its `_target_`.
NOT_ARGUMENTS = {"model": {"input_norm"}, "trainer": {"compile"}}
HYDRA = {
    "_target_": str,
    "_partial_": bool,
    "_recursive_": bool,
    "_convert_": str,
    "_args_": list[Any],
}


class Node(TypedDict):
    """A mapping that Hydra instantiates."""

    _target_: str


class Function(Node):
    """A mapping that Hydra turns into a partial function."""

    _partial_: Literal[True]


class Data(Node):
    """conf/data. Other keys are arguments of the source."""

    source: Function
    image_size: Side | Sequence[Side] | None
    channels: NotRequired[Channels]
    channels_shown: NotRequired[Annotated[Sequence[Whole], Field(min_length=1)] | None]
    dtype: NotRequired[str]
    batch_size: Count
    crops: str
    store: bool
    store_format: NotRequired[str | None]
    store_dir: str
    max_bad: Whole
    exclude: str | None
    root: NotRequired[str | Sequence[str]]  # several: data=folder


class TrainingData(Data):
    """conf/data for train.py, where the image size is required."""

    image_size: Side | Sequence[Side]  # type: ignore[misc]


class Optimizer(Function):
    """conf/optimizer. Other keys are arguments of the optimizer."""

    lr: NotRequired[Positive]
    momentum: NotRequired[Annotated[float, Field(ge=0, lt=1)]]
    weight_decay: NotRequired[NotNegative]


class Scheduler(Function):
    """conf/scheduler. Other keys are arguments of the scheduler."""

    patience: NotRequired[Whole]
    step_size: NotRequired[Count]
    warmup: NotRequired[Annotated[float, Field(ge=0, lt=1)]]


@with_config(extra="forbid")
class Transfer(TypedDict):
    """conf/transfer."""

    method: Literal["frozen", "scratch"]
    layer: str | None
    pool: Count | None
    head: str
    C: Annotated[Sequence[Positive], Field(min_length=1)]
    crops: str


class Model(Node):
    """conf/model. Other keys are arguments of the network."""

    input_norm: NotRequired[str]


class TrainerOptions(Node):
    """conf/trainer. Other keys are arguments of the trainer."""

    compile: NotRequired[bool]


class Training(TypedDict):
    """conf/train.yaml."""

    seed: Seed
    name: str | float | None
    ckpt: str | None
    trust: NotRequired[Sequence[str]]
    tags: Sequence[str]
    resume: bool
    sweep: NotRequired[Literal["status"] | None]
    train: bool
    test: bool
    optimized_metric: str | None
    channels_last: bool
    callbacks: dict[str, Node | None]
    logger: dict[str, Node | None]
    paths: dict[str, str]
    data: TrainingData
    model: Model
    optimizer: Optimizer
    scheduler: Scheduler
    trainer: TrainerOptions
    transfer: Transfer | None


class Analysis(Node):
    """conf/analyze.yaml. `_target_` and other keys are those of conf/analysis."""

    seed: Seed
    name: str | float | None
    ckpt: str | Sequence[str] | None
    trust: NotRequired[Sequence[str]]
    axes: dict[Any, str] | None
    split: Literal["train", "val"]
    resume: bool
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    devices: Count | Literal["auto"] | Annotated[Sequence[Whole], Field(min_length=1)] | None
    num_nodes: Count
    data: Data
    model: NotRequired[Model]
    paths: dict[str, str]
    runs: NotRequired[str | Annotated[Sequence[str], Field(min_length=1)]]


def check_config(cfg: DictConfig, section: type) -> None:
    """Checks a composed config before anything is opened or built.

    Args:
        cfg: the composed config.
        section: `Training` for train.py, `Analysis` for analyze.py.

    Raises:
        InputError: if a key has no value, or its value has a wrong type or is out of range. The
            message names the first such key as on the command line.
    """
    raise_first(_unresolved(cfg))
    values: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    analysis = _analysis(values.get("_target_")) if section is Analysis else None
    own = inspect.signature(analysis).parameters if analysis else {}
    raise_first(_strangers(cfg, {*declared_types(section), *own}))
    raise_first(section_problems(values, section))
    if analysis:
        raise_first([*_missing(analysis, values, ""), *problems(values, declared_types(analysis))])
    raise_first(line for key, value in values.items() for line in _nodes(value, str(key)))
    raise_first(_further(values["data"]))


def _analysis(path: Any) -> type:
    """Returns the class of an analysis."""
    found = _located(path) if isinstance(path, str) else None
    if not (inspect.isclass(found) and hasattr(found, "takes") and hasattr(found, "run")):
        raise InputError(
            f"_target_={show(path)}: a class with `takes` and `run` is needed: see docs/extend.md"
        )
    return found


def _unresolved(cfg: Any) -> Iterator[str]:
    """Yields a line for each key without a value and each invalid interpolation."""
    keys: Any = list(cfg.keys()) if isinstance(cfg, DictConfig) else range(len(cfg))
    for key in keys:
        name = cfg._get_full_key(key)
        try:
            if OmegaConf.is_missing(cfg, key):
                if not OmegaConf.is_interpolation(cfg, key):
                    yield f"{name} has no default: give {name}=..."
            elif isinstance(cfg[key], DictConfig | ListConfig):
                yield from _unresolved(cfg[key])
        except InterpolationToMissingValueError:
            continue  # the key that it refers to is reported
        except OmegaConfBaseException as error:
            yield f"{name}: {one_line(str(error).splitlines()[0])}"


def _strangers(cfg: DictConfig, known: Collection[str]) -> Iterator[str]:
    """Yields a line for each top-level key that is unknown and that no other key refers to."""
    text = OmegaConf.to_yaml(cfg)
    for key in map(str, cfg):
        if key not in known and not re.search(rf"\$\{{{re.escape(key)}\b", text):
            yield f"{key}={show(OmegaConf.to_container(cfg)[key])}: there is no such key"  # type: ignore[call-overload, index]


def _nodes(value: Any, name: str) -> Iterator[str]:
    """Yields a line for each argument that the function or class of `_target_` rejects."""
    if isinstance(value, list):
        for place, each in enumerate(value):
            yield from _nodes(each, f"{name}.{place}")
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _nodes(each, f"{name}.{key}")
        if "_target_" in value:
            yield from _call(value, name)


def _call(node: Mapping[str, Any], name: str) -> Iterator[str]:
    if bad := list(problems(node, HYDRA, f"{name}.")):
        yield from bad
        return
    path, target = node["_target_"], _located(node["_target_"])
    if target is None:
        yield f"{name}._target_={show(path)}: no such function or class"
    elif _is_checked(target) or _is_checked(target, NAMES_CHECKED):
        arguments = {
            key: each for key, each in node.items() if key not in HYDRA and not _is_node(each)
        }
        if arguments.get("image_size", 0) is None:
            del arguments["image_size"]  # analyze.py later takes it from the network
        if _is_checked(target):
            yield from problems(arguments, declared_types(target), f"{name}.")
        for key in sorted(arguments.keys() - NOT_ARGUMENTS.get(name, set()), key=str):
            if not _takes(target, key):
                yield f"{name}.{key}={show(node[key])}: {path} has no such argument"


def _further(data: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each key of conf/data that its source does not accept."""
    source = data["source"]
    target = _located(source["_target_"]) if _is_node(source) else None
    if target is None:
        yield f"data.source={show(source)}: a function {{_target_: ...}} is needed"
    elif _is_checked(target):
        own = HYDRA | declared_types(Data) | declared_types(_located(data["_target_"]))
        further = {key: value for key, value in data.items() if key not in own}
        yield from problems(further, declared_types(target), "data.")
        for key in sorted(further):
            if not _takes(target, key):
                yield f"data.{key}={show(further[key])}: {source['_target_']} has no such argument"
        yield from _missing(target, {"split", *further, *source}, "data.")


def _missing(target: Any, given: Collection[str], prefix: str) -> Iterator[str]:
    """Yields a line for each argument that has no default and is not given."""
    for key, parameter in inspect.signature(target).parameters.items():
        if parameter.default is parameter.empty and key not in given:
            yield f"{prefix}{key} is missing: give {prefix}{key}=..."


def _takes(target: Any, key: str) -> bool:
    """Whether a function or class accepts an argument `key`."""
    parameters = inspect.signature(target).parameters
    return key in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _is_node(value: Any) -> bool:
    """Whether Hydra instantiates a value."""
    return isinstance(value, Mapping) and "_target_" in value


def _is_checked(target: Any, packages: Sequence[str] = CHECKED) -> bool:
    return str(target.__module__).partition(".")[0] in packages


@cache
def _located(path: str) -> Any:
    """Imports the object of a dotted name. Returns None if it does not exist or is not callable."""
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
            for part in parts[length:]:
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError, TypeError):
            continue
        return found if callable(found) else None
    return None
