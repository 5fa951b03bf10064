import zipfile

import pytest

from data_pipelines.errors import UserError
from data_pipelines.files.paths import find_files


def is_text(name):
    return name.endswith(".txt")


def found(folder):
    return [file.relative for file in find_files(folder, is_text)]


def test_files_are_found_in_folders_archives_and_linked_folders(tmp_path):
    elsewhere = tmp_path / "another_disk"
    here = tmp_path / "here"
    for folder in (elsewhere, here / "b"):
        folder.mkdir(parents=True)
        (folder / "1.txt").touch()
    (here / "a").symlink_to(elsewhere)
    (here / "b" / "again").symlink_to(here)  # goes round in a circle
    with zipfile.ZipFile(here / "c.zip", "w") as archive:
        archive.writestr("top/2.txt", "two")
        archive.writestr("__MACOSX/top/._2.txt", "")
    (here / ".hidden.txt").touch()
    assert found(here) == ["a/1.txt", "b/1.txt", "c.zip/top/2.txt"]


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "c.zip").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(UserError, match=r"c\.zip: isn't a whole zip archive"):
        found(tmp_path)
