import io
import tarfile

import pytest
import zstandard
from bigearthnet_archives import compress

from data_pipelines.errors import UserError
from data_pipelines.files.archives import find_archives, read_tar_members


def make_tar(files):
    """Make an archive that ends with its two blocks of zeros, without further padding."""
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
def test_members_are_read_in_order_and_completely(tmp_path, suffix):
    file = tmp_path / f"a.tar{suffix}"
    file.write_bytes(compress(make_tar(FILES), suffix[1:]) if suffix else make_tar(FILES))
    assert read_all(file) == FILES


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_truncated_archive_is_an_error(tmp_path, suffix, fraction):
    files = {str(n): io.BytesIO(bytes(range(256)) * 12).read() for n in range(40)}
    archive = compress(make_tar(files), suffix[1:]) if suffix else make_tar(files)
    file = tmp_path / f"a.tar{suffix}"
    file.write_bytes(archive[: int(len(archive) * fraction)])
    with pytest.raises(UserError, match=r"a.tar.*: is corrupt or incomplete after \d+ files"):
        read_all(file)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_corrupt_archive_is_an_error(tmp_path, suffix):
    archive = bytearray(compress(make_tar(FILES), suffix[1:]))
    if suffix == ".zst":  # with a checksum, as the zstd command writes it
        compressor = zstandard.ZstdCompressor(write_checksum=True)
        archive = bytearray(compressor.compress(make_tar(FILES)))
    archive[len(archive) // 2] ^= 0xFF
    file = tmp_path / f"a.tar{suffix}"
    file.write_bytes(bytes(archive))
    with pytest.raises(UserError, match="is corrupt or incomplete"):
        read_all(file)


def test_a_complete_compressed_stream_of_half_an_archive_is_an_error(tmp_path):
    file = tmp_path / "a.tar.gz"
    file.write_bytes(compress(make_tar(FILES)[: 512 * 40], "gz"))
    with pytest.raises(UserError, match="is corrupt or incomplete"):
        read_all(file)


def test_a_missing_part_is_reported(tmp_path):
    for part in ("aa", "ac"):
        (tmp_path / f"a.tar.gz{part}").touch()
    with pytest.raises(
        UserError, match="found the parts aa, ac; expected consecutive parts from aa on"
    ):
        find_archives(tmp_path)


def test_reading_writes_no_file_whatever_the_names(tmp_path):
    members = {"../../evil": b"x", "/tmp/evil": b"y"}
    file = tmp_path / "in" / "a.tar"
    file.parent.mkdir()
    file.write_bytes(make_tar(members))
    assert read_all(file) == members
    assert sorted(tmp_path.rglob("*")) == [file.parent, file]


@pytest.mark.parametrize("suffix", ["", ".zst"])
def test_a_corrupt_header_is_not_taken_for_the_end(tmp_path, suffix):
    """tarfile takes it for the end, and these formats have no checksum of the content."""
    archive = bytearray(make_tar(FILES))
    assert len(archive) > 80 * 512
    header = next(n for n in range(40 * 512, len(archive), 512) if archive[n : n + 7] == b"folder/")
    archive[header] ^= 1
    file = tmp_path / f"a.tar{suffix}"
    file.write_bytes(compress(bytes(archive), "zst") if suffix else archive)
    with pytest.raises(UserError, match=r"is corrupt or incomplete after \d+ files"):
        read_all(file)


def test_a_duplicate_archive_is_an_error(tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.tar.gz").touch()
    with pytest.raises(UserError, match="expected one: move the others away"):
        find_archives(tmp_path)


def test_an_archive_beside_its_parts_is_an_error(tmp_path):
    for name in ("a.tar.gz", "a.tar.gzaa", "a.tar.gzab"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="found both the complete archive and parts of it"):
        find_archives(tmp_path)


def test_archives_are_found_in_linked_folders(tmp_path):
    target, folder = tmp_path / "target", tmp_path / "folder"
    target.mkdir()
    folder.mkdir()
    (target / "a.tar.zst").touch()
    (folder / "link").symlink_to(target)
    assert find_archives(folder) == {"a.tar.zst": (folder / "link" / "a.tar.zst",)}
