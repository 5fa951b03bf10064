import contextlib

from data_pipelines.files.writing import replace_when_written


def test_a_file_is_replaced_once_it_is_complete(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")
    with replace_when_written(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_keeps_the_old_file_and_deletes_the_temporary_one(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")
    with contextlib.suppress(KeyboardInterrupt), replace_when_written(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
