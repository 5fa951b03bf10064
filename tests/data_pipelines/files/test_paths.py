import zipfile
from pathlib import Path

import pytest

from data_pipelines.errors import UserError
from data_pipelines.files.paths import find_files, refuse_url


def is_text(name):
    return name.endswith(".txt")


def find_relative_paths(folder):
    return [file.relative for file in find_files(folder, is_text)]


def test_files_are_found_in_folders_archives_and_linked_folders(tmp_path):
    target = tmp_path / "another_disk"
    root = tmp_path / "root"
    for folder in (target, root / "b"):
        folder.mkdir(parents=True)
        (folder / "1.txt").touch()
    (root / "a").symlink_to(target)
    (root / "b" / "again").symlink_to(root)  # a cycle
    with zipfile.ZipFile(root / "c.zip", "w") as archive:
        archive.writestr("top/2.txt", "two")
        archive.writestr("__MACOSX/top/._2.txt", "")
    (root / ".hidden.txt").touch()
    assert find_relative_paths(root) == ["a/1.txt", "b/1.txt", "c.zip/top/2.txt"]


def test_a_corrupt_archive_is_reported(tmp_path):
    (tmp_path / "c.zip").write_bytes(b"PK\3\4 truncated")
    with pytest.raises(UserError, match=r"c\.zip: is corrupt or not a complete zip archive"):
        find_relative_paths(tmp_path)


@pytest.mark.parametrize(
    "word",
    ["gs://b/run", "--workdir=s3://b/run", "--config.data.data_dir=hf://a", Path("gs://b/r")],
)
def test_urls_are_refused_instead_of_taken_for_folders(word):
    with pytest.raises(UserError, match=r"://.*is a URL; expected a path on this machine") as error:
        refuse_url(word)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "word",
    ["runs/a", "C:/data", "configs/x.py:tiny", "package.module:Class/rgb", "--a=b:c", "/a:/b"],
)
def test_paths_and_names_are_no_urls(word):
    refuse_url(word)
