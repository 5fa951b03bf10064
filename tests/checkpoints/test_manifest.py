"""A manifest reveals corrupt files, and a folder stays valid while a file is replaced."""

import contextlib

import pytest

from ssl_jax.checkpoints import manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "arrays").write_bytes(bytes(range(256)))
    (tmp_path / "card").write_text("old")
    manifest.write_manifest(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("state/arrays", bytes(255), "state/arrays has 255 bytes, expected 256"),
        ("state/arrays", bytes(256), "state/arrays does not match its checksum"),
        (manifest.MANIFEST, b"{", "manifest.json is not a valid manifest"),
        (manifest.MANIFEST, b'{"crc32": {"card": []}}', "manifest.json is not a valid manifest"),
    ],
)
def test_corruption_is_reported(name, content, problem, folder):
    assert manifest.find_corruption(folder) == ""
    (folder / name).write_bytes(content)
    assert manifest.find_corruption(folder) == problem


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_a_folder_is_valid_at_every_moment_of_a_replacement(writes, folder, monkeypatch):
    writes_left = [writes]

    def kill_after_writes(write):
        def counting_write(*arguments):
            if writes_left[0] == 0:
                raise KeyboardInterrupt
            writes_left[0] -= 1
            write(*arguments)

        return counting_write

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(manifest, "write_text", kill_after_writes(manifest.write_text))
        patch.setattr(manifest, "write_json", kill_after_writes(manifest.write_json))
        manifest.replace_file(folder, "card", "newer")
    assert manifest.find_corruption(folder) == ""
    assert (folder / "card").read_text() == ("old" if writes < 2 else "newer")
    (folder / "card").write_text("forged")
    assert manifest.find_corruption(folder)


def test_a_replaced_file_is_checked_too(folder):
    manifest.replace_file(folder, "card", "new")
    assert (folder / "card").read_text() == "new"
    assert manifest.find_corruption(folder) == ""
    (folder / "card").write_text("old")
    assert manifest.find_corruption(folder) == "card does not match its checksum"
