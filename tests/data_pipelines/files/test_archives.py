import io
import tarfile

import pytest
import zstandard
from archives_of_patches import compressed

from data_pipelines.errors import UserError
from data_pipelines.files.archives import find_archives, read_tar_members


def tar_of(files):
    """An archive that ends with its two blocks of zeros, without further ones to fill it up."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        end = tar.offset
    return buffer.getvalue()[: end + 1024]


def read_all(file):
    return dict(read_tar_members([file], lambda _: True))


FILES = {f"folder/{n}": bytes([n]) * 3000 for n in range(40)}


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_members_come_in_order_and_whole(tmp_path, suffix):
    file = tmp_path / f"a.tar{suffix}"
    file.write_bytes(compressed(tar_of(FILES), suffix[1:]) if suffix else tar_of(FILES))
    assert read_all(file) == FILES


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_truncated_archive_is_a_mistake(tmp_path, suffix, share):
    rest = {str(n): io.BytesIO(bytes(range(256)) * 12).read() for n in range(40)}
    whole = compressed(tar_of(rest), suffix[1:]) if suffix else tar_of(rest)
    file = tmp_path / f"a.tar{suffix}"
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=r"a.tar.*: is damaged or not complete after \d+ files"):
        read_all(file)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_damaged_archive_is_a_mistake(tmp_path, suffix):
    whole = bytearray(compressed(tar_of(FILES), suffix[1:]))
    if suffix == ".zst":  # with a checksum, as the command writes it
        packer = zstandard.ZstdCompressor(write_checksum=True)
        whole = bytearray(packer.compress(tar_of(FILES)))
    whole[len(whole) // 2] ^= 0xFF
    file = tmp_path / f"a.tar{suffix}"
    file.write_bytes(bytes(whole))
    with pytest.raises(UserError, match="is damaged or not complete"):
        read_all(file)


def test_a_whole_compressed_stream_of_half_an_archive_is_a_mistake(tmp_path):
    file = tmp_path / "a.tar.gz"
    file.write_bytes(compressed(tar_of(FILES)[: 512 * 40], "gz"))
    with pytest.raises(UserError, match="is damaged or not complete"):
        read_all(file)


def test_a_missing_part_is_named(tmp_path):
    for part in ("aa", "ac"):
        (tmp_path / f"a.tar.gz{part}").touch()
    with pytest.raises(UserError, match="found the parts aa, ac; expected them from aa on"):
        find_archives(tmp_path)


def test_nothing_is_written_whatever_the_names(tmp_path):
    outside = {"../../evil": b"x", "/tmp/evil": b"y"}
    file = tmp_path / "in" / "a.tar"
    file.parent.mkdir()
    file.write_bytes(tar_of(outside))
    assert read_all(file) == outside
    assert sorted(tmp_path.rglob("*")) == [file.parent, file]


@pytest.mark.parametrize("suffix", ["", ".zst"])
def test_a_damaged_header_is_no_end(tmp_path, suffix):
    """tarfile takes it for one, and these formats have no checksum of the whole."""
    whole = bytearray(tar_of(FILES))
    assert len(whole) > 80 * 512
    header = next(n for n in range(40 * 512, len(whole), 512) if whole[n : n + 7] == b"folder/")
    whole[header] ^= 1
    file = tmp_path / f"a.tar{suffix}"
    file.write_bytes(compressed(bytes(whole), "zst") if suffix else whole)
    with pytest.raises(UserError, match=r"is damaged or not complete after \d+ files"):
        read_all(file)


def test_an_archive_that_is_there_twice_is_a_mistake(tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.tar.gz").touch()
    with pytest.raises(UserError, match="expected one: move the others away"):
        find_archives(tmp_path)


def test_an_archive_beside_its_parts_is_a_mistake(tmp_path):
    for name in ("a.tar.gz", "a.tar.gzaa", "a.tar.gzab"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="whole and in parts"):
        find_archives(tmp_path)


def test_archives_are_found_in_linked_folders(tmp_path):
    elsewhere, here = tmp_path / "elsewhere", tmp_path / "here"
    elsewhere.mkdir()
    here.mkdir()
    (elsewhere / "a.tar.zst").touch()
    (here / "link").symlink_to(elsewhere)
    assert find_archives(here) == {"a.tar.zst": (here / "link" / "a.tar.zst",)}
