"""Archives of strangers: whatever a tar holds, reading it touches nothing and ends soon."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path
from typing import List, Optional, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrctl.data.reading import archives
from asrctl.errors import BadData


def pack(path: Path, members: List[Tuple[tarfile.TarInfo, bytes]], format: int = tarfile.PAX_FORMAT) -> Path:
    mode = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(str(path), mode, format=format) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> Tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, data


def listed(path: Path) -> List[Tuple[str, bytes]]:
    return [(member.name, member.read(1 << 20)) for member in archives.members(path)]


LONG = "/".join(["a" * 60] * 6) + "/ü.flac"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar"])
def test_every_tar_format_is_read(tmp_path: Path, name: str, format: int) -> None:
    names = ["./x/one.flac", "b" * 90 + "/" + "c" * 80 + ".flac", "empty"] + ([LONG] if format else [])
    members = [entry(name, bytes([number]) * number * 700) for number, name in enumerate(names, 1)]
    assert listed(pack(tmp_path / name, members, format)) == [
        (name[2:] if name.startswith("./") else name, bytes([number]) * number * 700)
        for number, name in enumerate(names, 1)
    ]


def test_only_regular_files_are_members(tmp_path: Path) -> None:
    path = pack(
        tmp_path / "a.tar.gz",
        [
            entry("folder", kind=tarfile.DIRTYPE),
            entry("good", b"1"),
            entry("link", kind=tarfile.SYMTYPE, link="/etc/passwd"),
            entry("hard", kind=tarfile.LNKTYPE, link="good"),
            entry("pipe", kind=tarfile.FIFOTYPE),
            entry("disk", kind=tarfile.BLKTYPE),
            entry("tty", kind=tarfile.CHRTYPE),
            entry("/abs/olute", b"2"),
            entry("../../up", b"3"),
            entry("last", b"4"),
        ],
    )
    assert listed(path) == [("good", b"1"), ("/abs/olute", b"2"), ("../../up", b"3"), ("last", b"4")]
    assert [item.name for item in tmp_path.iterdir()] == ["a.tar.gz"]


def test_unread_and_partly_read_members_are_passed_over(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", [entry(str(number), b"x" * 5000) for number in range(3)])
    found = []
    for member in archives.members(path):
        found.append(member.read(10) if member.name == "1" else member.size)
    assert found == [5000, b"x" * 10, 5000]


def test_members_are_read_in_any_order(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar.gz", [entry(name, name.encode()) for name in "abc"])
    reader = archives.MemberReader(path)
    assert [reader.read(name) for name in "acba"] == [b"a", b"c", b"b", b"a"]
    with pytest.raises(BadData, match="holds no z"):
        reader.read("z")


def refused(path: Path) -> str:
    with pytest.raises(BadData) as error:
        listed(path)
    return error.value.message


def test_cut_and_damaged_archives_are_refused(tmp_path: Path) -> None:
    whole = pack(tmp_path / "a.tar.gz", [entry("a", bytes(range(256)) * 100), entry("b", b"1" * 5000)]).read_bytes()
    plain = gzip.decompress(whole)
    cut = tmp_path / "cut.tar.gz"
    for content in (whole[: len(whole) // 2], whole[:-20], gzip.compress(plain[:9000]), plain[:9000], plain[:700]):
        cut.write_bytes(content)
        assert "is damaged" in refused(cut)
    cut.write_bytes(plain[:100] + b"9" + plain[101:])
    assert "checksum" in refused(cut)
    cut.write_bytes(b"\x1f\x8b" + b"junk" * 100)
    assert "is damaged" in refused(cut)


def test_an_empty_archive_holds_nothing(tmp_path: Path) -> None:
    assert listed(pack(tmp_path / "a.tar.gz", [])) == []
    (tmp_path / "b.tar").write_bytes(b"")
    assert listed(tmp_path / "b.tar") == []


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info, _ = entry(name, kind=kind)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE])
@pytest.mark.parametrize("size", [10 << 30, 1 << 60])
def test_declared_sizes_are_not_believed(tmp_path: Path, kind: bytes, size: int) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(header("big", size, kind) + b"x" * 4096)
    assert "damaged" in refused(path)


def test_gigabytes_of_zeros_end_the_archive(tmp_path: Path) -> None:
    path = tmp_path / "zeros.tar.gz"
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    with open(path, "wb") as stream:
        for _ in range(64):
            stream.write(packer.compress(bytes(1 << 20)))
        stream.write(packer.flush())
    assert listed(path) == []


@settings(max_examples=300)
@given(
    position=st.integers(0, 5000),
    junk=st.binary(min_size=1, max_size=40),
    end=st.one_of(st.none(), st.integers(0, 6000)),
)
def test_no_damage_is_a_surprise(
    tmp_path_factory: pytest.TempPathFactory, position: int, junk: bytes, end: Optional[int]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    valid = folder / "valid.tar"
    if not valid.exists():
        pack(valid, [entry("a/b", b"1" * 600), entry(LONG, b"2" * 1200), entry("c", b"3")])
    whole = valid.read_bytes()
    broken = folder / "broken.tar"
    broken.write_bytes((whole[:position] + junk + whole[position + len(junk) :])[:end])
    try:
        listed(broken)
    except BadData as error:
        assert "damaged" in error.message


def test_a_pointer_in_the_place_of_an_archive_comes_with_its_cure(tmp_path: Path) -> None:
    path = tmp_path / "dev-clean.tar.gz"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(BadData, match="is a git-lfs pointer") as caught:
        list(archives.members(path))
    assert f"git -C {tmp_path} lfs pull" in caught.value.fix
