"""Files of a tar archive by offset: as tarfile extracts them, and archives that are damaged."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.made_shards import write_tar
from zfnet.data.tar_index import BLOCK, index_tar, read_part


def contents(path: Path) -> dict[str, bytes]:
    return {
        each.name: read_part(path, each.offset, each.size).tobytes()
        for each in index_tar(path).members
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tars") / "a.tar"


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_gives_what_tarfile_extracts(tmp_path: Path, kind: int) -> None:
    """Long names, empty files, links and folders; of equal names the last one."""
    path = tmp_path / "a.tar"
    names = ["a", "deep/" * 16 + "long" * 10, "empty", "é.jpg", "a"]
    with tarfile.open(path, "w", format=kind) as archive:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            data = b"" if name == "empty" else bytes([number]) * (500 * number + 1)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, type_ in (("link", tarfile.SYMTYPE), ("folder", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type = type_
            archive.addfile(info)
    with tarfile.open(path) as archive:
        expected = {
            name: archive.extractfile(name).read()  # type: ignore[union-attr]
            for name in names
        }
    assert contents(path) == expected
    assert index_tar(path).damage is None


def test_an_archive_inside_an_archive(tmp_path: Path) -> None:
    inner = write_tar(tmp_path / "inner.tar", {"x": b"one", "y": b"two"}).read_bytes()
    outer = write_tar(tmp_path / "outer.tar", {"before": b"-", "i.tar": inner, "after": b"+"})
    member = index_tar(outer).members[1]
    found = index_tar(outer, member.offset, member.size)
    parts = {each.name: read_part(outer, each.offset, each.size) for each in found.members}
    assert {name: part.tobytes() for name, part in parts.items()} == {"x": b"one", "y": b"two"}
    assert found.damage is None


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, 4 * 2 * BLOCK + 100), damaged=st.booleans())
def test_damage_is_noticed_and_what_is_before_is_kept(place: Path, cut: int, damaged: bool) -> None:
    files = {str(n): bytes([n]) * 100 for n in range(4)}  # a header and a block each
    whole = write_tar(place, files).read_bytes()
    if damaged:
        place.write_bytes(whole[:cut] + b"\xff" * 600 + whole[cut + 600 :])
    else:
        place.write_bytes(whole[:cut])
    index = index_tar(place)
    assert index.damage is not None
    intact = [name for n, name in enumerate(files) if n * 2 * BLOCK + BLOCK + 100 <= cut]
    assert [each.name for each in index.members][: len(intact)] == intact


def test_a_missing_and_a_compressed_archive(tmp_path: Path) -> None:
    assert index_tar(tmp_path / "none.tar").damage == "No such file or directory"
    with tarfile.open(tmp_path / "a.tar", "w:gz"):
        pass
    assert "is compressed" in str(index_tar(tmp_path / "a.tar").damage)


def test_a_part_beyond_the_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    with pytest.raises(ValueError, match="ends after 2 of 3 bytes"):
        read_part(tmp_path / "a", 1, 3)
