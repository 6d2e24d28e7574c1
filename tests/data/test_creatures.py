"""The generated pictures: the same everywhere, true to their annotation, told apart by shape."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch.nn.functional import interpolate

from tests.helpers.commands import Commands
from zfnet.data.creatures import Annotation, Creatures
from zfnet.errors import InputError

FACE = {"left_eye", "right_eye", "nose", "mouth", "left_ear", "right_ear"}
WHEELS = {"front_wheel", "rear_wheel"}
WINGS = {"left_wing", "right_wing", "left_hind_wing", "right_hind_wing"}
PARTS = {
    "aeroplane": {"cockpit", "engine", "tail", "wing"},
    "bear": FACE | {"left_arm", "right_arm", "left_foot", "right_foot"},
    "bicycle": WHEELS | {"handlebar", "pedal", "seat"},
    "bird": {"beak", "eye", "tail", "wing"},
    "bus": WHEELS | {"front_window", "headlight", "rear_window"},
    "butterfly": WINGS | {"left_eye", "right_eye"},
    "car": WHEELS | {"front_window", "headlight", "rear_window"},
    "cat": FACE | {"left_leg", "right_leg", "tail"},
    "dog": FACE | {"front_leg", "rear_leg", "tail"},
    "fish": {"eye", "fin", "mouth", "tail"},
    "house": {"chimney", "door", "left_window", "right_window", "roof"},
    "rabbit": FACE | {"left_leg", "right_leg", "tail", "teeth"},
}


@pytest.fixture(scope="module")
def pictures() -> Creatures:
    return Creatures(240, size=128)


@pytest.fixture(scope="module")
def known(pictures: Creatures) -> list[Annotation]:
    return [pictures.annotation(index) for index in range(len(pictures))]


def digest(creatures: Creatures, indices: range) -> str:
    sha = hashlib.sha256()
    for index in indices:
        sha.update(creatures.read(index).contiguous().numpy().tobytes())
        sha.update(creatures.annotation(index).mask.numpy().tobytes())
    return sha.hexdigest()


@pytest.mark.parametrize(
    ("size", "count", "pinned"),
    [
        (96, 24, "576ad82b6693b0342e8223ac3dbb26060f137365035f833e1a59bb1cc39bd23f"),
        (224, 12, "bdcbb990fa1cda67089731d1ddc0a533e4856bb6f2b0e2c4aca7dacdfa92cb97"),
    ],
)
def test_the_pixels_are_pinned_across_machines(size: int, count: int, pinned: str) -> None:
    """Whoever changes the pictures on purpose pins the new hash; no processor or library may change
    them."""
    assert digest(Creatures(count, seed=5, size=size), range(count)) == pinned


def test_a_fresh_process_draws_the_same_pictures(commands: Commands, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.data.test_creatures import Creatures, digest\n"
        "print(digest(Creatures(8, 3, 'val', 48), range(4, 8)))\n"
    )
    assert commands.run(str(script), []).output.strip() == digest(
        Creatures(8, 3, "val", 48), range(4, 8)
    )


def test_reading_order_and_length_do_not_matter(pictures: Creatures) -> None:
    forward = [pictures.read(index) for index in range(6)]
    shorter = Creatures(6, size=128)
    for index in reversed(range(6)):
        assert torch.equal(shorter.read(index), forward[index])


def test_seed_split_and_index_each_give_other_pictures() -> None:
    sources = [
        *(Creatures(2, seed=0, split=split, size=32) for split in ("train", "val", "test")),
        Creatures(2, seed=1, size=32),
    ]
    seen = {
        source.read(index).contiguous().numpy().tobytes()
        for source in sources
        for index in range(2)
    }
    assert len(seen) == 8


def test_it_is_a_source(pictures: Creatures) -> None:
    image = pictures.read(0)
    assert image.shape == (3, 128, 128)
    assert image.dtype == torch.uint8
    assert len(pictures) == 240
    assert pictures.name == "creatures"
    assert pictures.ids[:2] == ["train/000000", "train/000001"]
    assert pictures.classes == sorted(PARTS)
    assert torch.bincount(torch.tensor(pictures.labels)).tolist() == [20] * 12


def test_boxes_are_tight(known: list[Annotation]) -> None:
    for truth in known:
        x0, y0, x1, y1 = truth.box
        assert truth.mask[y0:y1, x0:x1].sum() == truth.mask.sum()
        for edge in (truth.mask[y0], truth.mask[y1 - 1], truth.mask[:, x0], truth.mask[:, x1 - 1]):
            assert edge.any()


def test_the_creature_fills_a_fair_part_of_every_picture(known: list[Annotation]) -> None:
    share = torch.tensor([truth.mask.float().mean().item() for truth in known])
    assert share.min() > 0.02
    assert 0.15 < share.mean() < 0.4


def test_parts_lie_on_the_mask_and_pairs_from_left_to_right(known: list[Annotation]) -> None:
    for truth in known:
        assert truth.parts.keys() == truth.part_masks.keys()
        for name, (x, y) in truth.parts.items():
            assert truth.part_masks[name][round(y), round(x)]
            assert not (truth.part_masks[name] & ~truth.mask).any()
            twin = truth.parts.get(name.replace("left_", "right_"))
            assert twin is None or x <= twin[0]


@pytest.mark.parametrize("name", sorted(PARTS))
def test_every_class_shows_its_parts(
    name: str, pictures: Creatures, known: list[Annotation]
) -> None:
    """Each part in most pictures; a face's eyes and nose, which correspondence needs, in nearly
    all."""
    truths = [truth for truth in known if pictures.classes[truth.label] == name]
    shown = {part: sum(part in truth.parts for truth in truths) for part in PARTS[name]}
    assert set().union(*(truth.parts for truth in truths)) == PARTS[name]
    for part, times in shown.items():
        needed = 16 if part in {"left_eye", "right_eye", "nose"} else 9
        assert times >= needed, f"{part} seen in {times} of {len(truths)}"


@pytest.mark.parametrize("size", [64, 256])
def test_a_scene_is_the_same_at_every_size(
    size: int, pictures: Creatures, known: list[Annotation]
) -> None:
    other = Creatures(240, size=size)
    for index in range(12):
        there, here = other.annotation(index), known[index].mask
        mask = interpolate(there.mask[None, None].float(), (128, 128), mode="area")[0, 0] >= 0.5
        # A mask is all that is touched: thin spokes weigh more in few pixels.
        assert (mask & here).sum() / (mask | here).sum() > (0.7 if size == 64 else 0.85)
        for name in there.parts.keys() & known[index].parts.keys():
            for at_size, at_128 in zip(there.parts[name], known[index].parts[name], strict=True):
                assert (at_size + 0.5) / size == pytest.approx((at_128 + 0.5) / 128, abs=1e-9)
        image = interpolate(other.read(index)[None].float(), (32, 32), mode="area")
        reference = interpolate(pictures.read(index)[None].float(), (32, 32), mode="area")
        assert (image - reference).abs().mean() < 12  # another scene: above 25


def test_no_pixel_statistic_gives_the_class_away() -> None:
    """Nearest class mean on mean colour, spread and histogram; chance errs on 11 of 12."""
    train, val = Creatures(480, size=48), Creatures(180, split="val", size=48)
    seen, unseen = statistics(train), statistics(val)
    scale = seen.std(0) + 1e-6
    labels = torch.tensor(train.labels)
    means = torch.stack([seen[labels == label].mean(0) for label in range(12)])
    guesses = torch.cdist(unseen / scale, means / scale).argmin(1)
    assert (guesses != torch.tensor(val.labels)).float().mean() > 0.75


def statistics(creatures: Creatures) -> torch.Tensor:
    rows = []
    for index in range(len(creatures)):
        image = creatures.read(index).float().flatten(1)  # (3, pixels)
        histogram = torch.cat([torch.histc(channel, 8, 0, 256) for channel in image])
        rows.append(torch.cat([image.mean(1), image.std(1), histogram]))
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"count": 0}, "count"),
        ({"size": 8}, "size"),
        ({"split": "dev"}, "split"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, word: str) -> None:
    with pytest.raises(InputError, match=word):
        Creatures(**{"count": 4, **arguments})


@pytest.mark.parametrize("index", [4, -1])
def test_there_is_nothing_outside(index: int) -> None:
    with pytest.raises(IndexError, match=f"no image {index}"):
        Creatures(4, size=32).read(index)


def test_some_of_the_classes() -> None:
    some = Creatures(9, size=32, classes=["dog", "bear", "cat"])
    assert (some.name, some.classes) == ("creatures-bear-cat-dog", ["bear", "cat", "dog"])
    assert some.labels == [0, 1, 2] * 3
    assert set(some.annotation(2).parts) <= PARTS["dog"]
    assert (Creatures.name, len(Creatures.classes)) == ("creatures", 12)
    whole = Creatures(9, size=32)
    assert torch.equal(Creatures(9, size=32, classes=whole.classes).read(8), whole.read(8))


@pytest.mark.parametrize("classes", [[], ["dog", "dog"], ["dog", "unicorn"]])
def test_classes_that_are_no_choice(classes: list[str]) -> None:
    with pytest.raises(InputError, match="choose some of aeroplane, bear"):
        Creatures(9, classes=classes)
