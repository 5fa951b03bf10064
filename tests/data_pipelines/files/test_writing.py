import contextlib

from data_pipelines.files.writing import replace_when_written


def test_a_file_is_replaced_once_it_is_whole(tmp_path):
    path = tmp_path / "figures.json"
    path.write_text("old")
    with replace_when_written(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_goes_wrong_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path):
    path = tmp_path / "figures.json"
    path.write_text("old")
    with contextlib.suppress(KeyboardInterrupt), replace_when_written(path) as beside:
        beside.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
