"""A sealed folder tells damage, and is sound while a file of it is replaced."""

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
    ("name", "content", "told"),
    [
        ("state/arrays", bytes(255), "state/arrays has 255 bytes of 256"),
        ("state/arrays", bytes(256), "state/arrays is not what was written"),
        (manifest.MANIFEST, b"{", "manifest.json is not what was written"),
        (manifest.MANIFEST, b'{"crc32": {"card": []}}', "manifest.json is not what was written"),
    ],
)
def test_damage_is_told(name, content, told, folder):
    assert manifest.find_corruption(folder) == ""
    (folder / name).write_bytes(content)
    assert manifest.find_corruption(folder) == told


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_a_folder_is_sound_at_every_moment_of_a_replacement(writes, folder, monkeypatch):
    left = [writes]

    def killed_at_last(write):
        def written(*arguments):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            write(*arguments)

        return written

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(manifest, "write_text", killed_at_last(manifest.write_text))
        patch.setattr(manifest, "write_json", killed_at_last(manifest.write_json))
        manifest.replace_file(folder, "card", "newer")
    assert manifest.find_corruption(folder) == ""
    assert (folder / "card").read_text() == ("old" if writes < 2 else "newer")
    (folder / "card").write_text("forged")
    assert manifest.find_corruption(folder)


def test_a_replaced_file_is_part_of_the_seal(folder):
    manifest.replace_file(folder, "card", "new")
    assert (folder / "card").read_text() == "new"
    assert manifest.find_corruption(folder) == ""
    (folder / "card").write_text("old")
    assert manifest.find_corruption(folder) == "card is not what was written"
