"""How far apart two implementations are: the one definition that all of tests/parity uses."""

import numpy as np


def deviation(ours, theirs) -> float:
    """Largest difference, as a part of the reference's largest value: max |a - b| / max |b|."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"{ours.shape} against {theirs.shape}"
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def expect_agreement(comparison: str, ours: dict, theirs: dict, tolerance: float) -> None:
    """Print the largest deviation of arrays that go by the same names, and hold all to a bound."""
    assert ours.keys() == theirs.keys(), sorted(ours.keys() ^ theirs.keys())
    found = {name: deviation(ours[name], theirs[name]) for name in ours}
    worst = max(found, key=found.get)
    print(f"\n{comparison}: {found[worst]:.1e} ({worst}, of {len(found)})")
    beyond = {name: value for name, value in found.items() if not value <= tolerance}
    assert not beyond, f"{comparison}: beyond {tolerance:g}: {beyond}"
