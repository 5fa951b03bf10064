"""`python -m ssl_jax.bench`: its refusals, and a small workload from the command to the JSON."""

import json

import pytest

from data_pipelines.errors import UserError
from ssl_jax import bench


def test_a_rival_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--against torch: torch is not installed; run pip instal"):
        bench.main(["cpu", "--against", "torch"])


def test_a_rival_needs_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "_RIVALS", tmp_path)
    with pytest.raises(UserError, match="expected a checkout"):
        bench.main(["cpu", "--against", "torch"])


def test_no_rounds_are_refused():
    with pytest.raises(UserError, match="--rounds: found 0"):
        bench.main(["cpu", "--rounds", "0"])


def test_views_are_measured_and_recorded(tmp_path, capsys):
    file = tmp_path / "bench.json"
    assert bench.main(["cpu", "--only", "views", "--rounds", "2", "--json", str(file)]) == 0
    row = json.loads(file.read_text())["rows"]["views"]
    assert len(row["seconds"][0]) == 2
    assert 0 < row["medians"][0] < 60
    assert row["peak_rss_bytes"][0] > 2**20
    assert "SimCLR's views" in capsys.readouterr().out
