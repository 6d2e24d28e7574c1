"""Each wrong key or value of a command line is one line; test_house.py composes all of conf/."""

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from zfnet.config import Analysis, Training, check_config
from zfnet.errors import InputError
from zfnet.studies.inputs import complete_data

Compose = Callable[..., DictConfig]


pytestmark = pytest.mark.usefixtures("run_folder")


@pytest.mark.parametrize(
    "words",
    [
        "name=12",
        "callbacks.best=null",
        "callbacks=[]",
        "+callbacks.mine={_target_: collections.Counter, words: [a, b]}",
        "+width=3 ++data.batch_size='${width}'",
        "recipe=paper optimizer.lr=1",
        "optimizer=adamw optimizer.betas=[0.9,0.99] scheduler=warmup",
        "scheduler._target_=torch.optim.lr_scheduler.OneCycleLR +scheduler.max_lr=0.1",
        "trainer.limit_val_batches=0.5 model.edit.conv3=null",
        "+data.val_fraction=0.5 data=folder data.root=/photos",
        "++trainer.limit_train_batches=0.5",
    ],
)
def test_what_passes(composed: Compose, words: str) -> None:
    check_config(composed(*split(words)), Training)


def split(words: str) -> list[str]:
    """The words of a command line, of which those in braces hold spaces."""
    return [words] if "{_" in words else words.split()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("data.batch_size=0", "data.batch_size=0: must be at least 1"),
        ("seed=null", "seed=null: a whole number is needed"),
        ("seed=1.0", "seed=1.0: a whole number is needed"),
        ("seed='1'", "seed=1: a whole number is needed"),
        ("optimizer.lr=abc", "optimizer.lr=abc: a number is needed"),
        ("optimizer.lr=nan", "optimizer.lr=nan: must be a finite number"),
        ("optimizer.lr=inf seed=-1", "seed=-1: must be at least 0 (and 1 more)"),
        ("optimizer.momentum=1", "optimizer.momentum=1: must be below 1"),
        ("optimizer.weight_decay=1e19", "optimizer.weight_decay=1e+19: must be at most 1e+18"),
        ("data.source.image_size=9000", "data.source.image_size=9000: must be at most 8,192"),
        ("optimizer.lr='${nope}'", "optimizer.lr: Interpolation key 'nope' not found"),
        ("+recipe.nesterov=true", "recipe={nesterov: true}: there is no such key"),
        ("optimizer.lr=0", "optimizer.lr=0: must be above 0"),
        ("~optimizer", "optimizer is missing: give optimizer=..."),
        ("optimizer.beta=1", "optimizer.beta=1: torch.optim.SGD has no such argument"),
        ("scheduler.patience=-1", "scheduler.patience=-1: must be at least 0"),
        ("tags=a", "tags=a: a list [...] of strings is needed"),
        ("+foo=1", "foo=1: there is no such key"),
        ("test=yes", "test=yes: true or false is needed"),
        ("data=folder", "data.root has no default: give data.root=..."),
        (
            "data.image_size=null",
            "data.image_size=null: a whole number or a list [...] of whole numbers is needed",
        ),
        ("data.source=abc", "data.source=abc: a mapping {...} is needed"),
        ("data.source.train=abc", "data.source.train=abc: a whole number is needed"),
        ("data.classes=bear", "data.classes=bear: a list [...] of strings or null is needed"),
        ("+data.foo=1", "data.foo=1: zfnet.data.datasets.creatures has no such argument"),
        (
            "data=cifar10 data.root=3",
            "data.root=3: a string or a list [...] of strings is needed; a number in quotes is a "
            "string, as in '3'",
        ),
        ("~data.fold data=creatures_few", "data.fold is missing: give data.fold=..."),
        ("data.source._partial_=false", "data.source._partial_=false: one of true is needed"),
        ("model.edit={conv1:3}", "model.edit.conv1=3: a mapping {...} or null is needed"),
        ("model=torchvision", "model.name has no default: give model.name=..."),
        ("model._target_=no.such.net", "model._target_=no.such.net: no such function or class"),
        ("+model.depth=3", "model.depth=3: zfnet.models.convnet has no such argument"),
        ("model.input_norm=true", "model.input_norm=true: a string is needed"),
        ("trainer.max_epochs=abc", "trainer.max_epochs=abc: a whole number or null is needed"),
        ("+trainer.foo=1", "trainer.foo=1: lightning.Trainer has no such argument"),
        ("callbacks.best=3", "callbacks.best=3: a mapping {...} or null is needed"),
        (
            "+callbacks.mine={a:1}",
            "callbacks.mine._target_ is missing: give callbacks.mine._target_=...",
        ),
        (
            "callbacks.deconvnet_dump.channels=a",
            "callbacks.deconvnet_dump.channels=a: a whole number is needed",
        ),
        (
            "+callbacks.throughput.a=1",
            "callbacks.throughput.a=1: callbacks.Throughput has no such argument",
        ),
        (
            "transfer=frozen transfer.C=[1,a]",
            "transfer.C=[1, a]: a list [...] of numbers is needed",
        ),
        ("transfer=frozen transfer.C=[0,1]", "transfer.C=[0, 1]: each must be above 0"),
        ("transfer=frozen transfer.pool=0", "transfer.pool=0: must be at least 1"),
        (
            "transfer=frozen transfer.method=warm",
            "transfer.method=warm: one of frozen, scratch is needed",
        ),
    ],
)  # fmt: skip
def test_what_train_refuses(composed: Compose, words: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        check_config(composed(*split(words)), Training)
    assert str(error.value) == says


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("analysis=occlusion size=abc", "size=abc: a whole number or null is needed"),
        ("analysis=occlusion stride=0", "stride=0: must be at least 1"),
        ("analysis=occlusion fill=[1,nan,0]", "fill=[1, nan, 0]: each must be a finite number"),
        ("analysis=doctor images=0", "images=0: must be at least 1"),
        ("analysis=doctor split=test", "split=test: one of train, val is needed"),
        (
            "analysis=doctor layers=[3]",
            "layers=[3]: a list [...] of strings or null is needed; a number in quotes is a "
            "string, as in ['3']",
        ),
        ("analysis=doctor data.image_size=0", "data.image_size=0: must be at least 1"),
        ("analysis=doctor +imagess=3", "imagess=3: there is no such key"),
        ("analysis=doctor +study.k=3", "study={k: 3}: there is no such key"),
        ("analysis=correspondence patch=2", "patch=2: must be at most 1"),
        (
            "analysis=layer_probe heads=[tree]",
            "heads=[tree]: a list [...] of svm, softmax is needed",
        ),
        ("analysis=layer_probe C=[]", "C=[]: must not be empty"),
        (
            "analysis=layer_probe images_per_class=[0]",
            "images_per_class=[0]: each must be at least 1",
        ),
        ("analysis=overlap threshold=0", "threshold=0: must be above 0"),
        ("analysis=report runs=[]", "runs=[]: must not be empty"),
        ("analysis=top_activations k=0", "k=0: must be at least 1"),
        ("analysis=top_activations contrast=-1", "contrast=-1: must be at least 0"),
        (
            "analysis=top_activations relu=guide",
            "relu=guide: one of deconv, guided, gradient is needed",
        ),
        (
            "analysis=top_activations layers=conv1",
            "layers=conv1: a list [...] of strings or null is needed",
        ),
        ("analysis=top_activations channels=[-1]", "channels=[-1]: each must be at least 0"),
    ],
)
def test_what_analyze_refuses(composed: Compose, words: str, says: str) -> None:
    config = composed(*words.split(), root="analyze")
    complete_data(config)
    with pytest.raises(InputError) as error:
        check_config(config, Analysis)
    assert str(error.value) == says
