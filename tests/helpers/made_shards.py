"""Small data sets as shards, in the formats of WebDataset and Hugging Face."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from zfnet.data import Creatures


def image_bytes(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def creature(source: Creatures, index: int) -> Image.Image:
    return Image.fromarray(source.read(index).permute(1, 2, 0).numpy())


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    """An archive of these files, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_webdataset(root: Path, per_shard: int = 8, **shards: int) -> Path:
    """So many shards a split of creatures of 56 pixels, four classes by number. Samples have the
    same names in every shard. Training has `cls` files, the others `json`."""
    for split, count in shards.items():
        source = Creatures(count * per_shard, split=split, size=56)
        for shard in range(count):
            files: dict[str, bytes] = {}
            for i in range(per_shard):
                files[f"{i:04d}.png"] = image_bytes(creature(source, shard * per_shard + i))
                if split == "train":
                    files[f"{i:04d}.cls"] = str(i % 4).encode()
                else:
                    files[f"{i:04d}.json"] = json.dumps({"label": i % 4}).encode()
            write_tar(root / f"{split}-{shard:03d}.tar", files)
    return root


def write_imagenet_tars(root: Path, folders: Path) -> Path:
    """The archives of ILSVRC2012, from the folders into which torchvision unpacks them."""
    inner = {}
    for folder in sorted((folders / "train").iterdir(), reverse=True):
        images = sorted(folder.iterdir(), reverse=True)
        path = write_tar(root / "class.tar", {each.name: each.read_bytes() for each in images})
        inner[f"{folder.name}.tar"] = path.read_bytes()
        path.unlink()
    write_tar(root / "ILSVRC2012_img_train.tar", inner)
    images = sorted((folders / "val").rglob("*.JPEG"))
    flat = {each.name: each.read_bytes() for each in images}
    in_classes = {each.relative_to(folders).as_posix(): each.read_bytes() for each in images}
    files = flat if len(flat) == len(images) else in_classes
    write_tar(root / "ILSVRC2012_img_val.tar", files)
    (root / "meta.bin").write_bytes((folders / "meta.bin").read_bytes())
    return root


def write_parquet(root: Path, classes: Sequence[str], row_group: int = 3, **rows: int) -> Path:
    """One file a split of creatures of 56 pixels, with the schema and the metadata that Hugging
    Face writes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    root.mkdir(parents=True, exist_ok=True)
    for split, count in rows.items():
        source = Creatures(count, split=split.replace("validation", "val"), size=56)
        images = [
            {"bytes": image_bytes(creature(source, i)), "path": f"{i}.png"} for i in range(count)
        ]
        image = pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
        label = pa.array([i % len(classes) for i in range(count)], pa.int64())
        table = pa.table({"image": image, "label": label}).replace_schema_metadata(metadata)
        path = root / f"{split}-00000-of-00001.parquet"
        pq.write_table(table, path, row_group_size=row_group)
    return root


def write_hugging_face(root: Path, classes: Sequence[str], **rows: int) -> Path:
    """Splits of creatures of 56 pixels, saved by the `datasets` library."""
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(classes))}
    )
    splits = {}
    for split, count in rows.items():
        source = Creatures(count, split=split.replace("validation", "val"), size=56)
        images = [creature(source, i) for i in range(count)]
        labels = [i % len(classes) for i in range(count)]
        splits[split] = datasets.Dataset.from_dict({"image": images, "label": labels}, features)
    datasets.DatasetDict(splits).save_to_disk(root)
    return root
