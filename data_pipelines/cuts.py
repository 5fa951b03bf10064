"""How a part of a split is written, and seeded stratified cuts.

    train                  all of it; `all` is every split of the dataset together
    train[2:8]             the training side of a stratified 2:8 cut: two tenths of every class
    train[10%]             ten percent of every class
    train[16 per class]    sixteen of every class
    train[not snow]        where the yes/no feature `snow` says no; `train[snow]` has the others

With `.rest` behind it a cut gives its other side. Several brackets apply from left to right, the
cut last: `all[not snow][not cloud][10%].rest`. Datasets without labels are cut at random;
multi-label ones within each combination of labels.
"""

import re
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from data_pipelines.errors import UserError

__all__ = ["Part", "cut"]


class Part(NamedTuple):
    """A part of a split, as it is written.

    Attributes:
        split: its name.
        filters: yes/no features with the answer wanted.
        cut: such as `2:8`; empty for none.
        rest: whether the other side of the cut is meant.
    """

    split: str
    filters: tuple[tuple[str, bool], ...]
    cut: str
    rest: bool

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Take `text` apart.

        Raises:
            UserError: it is not written as expected.
        """
        match = re.fullmatch(r"([\w-]+)((?:\[[^\[\]]+\])*)(\.rest)?", text)
        brackets = re.findall(r"\[([^\[\]]+)\]", match[2]) if match else []
        share = brackets.pop() if brackets and _share(brackets[-1]) is not None else ""
        filters = [re.fullmatch(r"\s*(not\s+)?([A-Za-z_]\w*)\s*", bracket) for bracket in brackets]
        if match is None or (match[3] and not share) or None in filters:
            raise UserError(
                f"split {text!r}: expected NAME, NAME[2:8], NAME[10%] or NAME[16 per class], "
                "these three also with .rest, and [FLAG] or [not FLAG] before the cut"
            )
        flags = tuple((found[2], not found[1]) for found in filters if found)
        return cls(match[1], flags, share, bool(match[3]))


def cut(strata: np.ndarray, share: str, seed: int, where: str = "cut") -> np.ndarray:
    """Which examples fall on the training side of a stratified seeded cut.

    Args:
        strata: (examples,) int, the class of each.
        share: `2:8`, `10%` or `16 per class`.
        seed: other seeds, other examples.
        where: what an error speaks of.

    Returns:
        (examples,) bool. Of n examples and a share f, ⌊n·f⌋ are true, and in every stratum of m
        examples ⌊m·f⌋ or ⌈m·f⌉ of them.
    """
    shuffled = np.random.default_rng(seed).permutation(len(strata))
    by_class = shuffled[np.argsort(strata[shuffled], kind="stable")]
    inside = np.zeros(len(strata), bool)
    size = _share(share)
    if isinstance(size, Fraction):
        # Systematic sampling: walk through the classes one after the other and take an example
        # whenever the share of those passed reaches the next whole number.
        passed = np.arange(len(strata) + 1, dtype=object) * size.numerator // size.denominator
        inside[by_class] = np.diff(passed).astype(bool)
        return inside
    assert size is not None
    classes, first, counts = np.unique(strata[by_class], return_index=True, return_counts=True)
    if len(classes) and counts.min() < size:
        raise UserError(
            f"{where}: a class has {counts.min()} examples; expected at least the {size} asked for"
        )
    for start in first:
        inside[by_class[start : start + size]] = True
    return inside


def _share(text: str) -> Fraction | int | None:
    """A proportion, a number per class, or None for what is neither."""
    if match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*:\s*(\d+(?:\.\d+)?)\s*", text):
        one, other = Fraction(match[1]), Fraction(match[2])
        return one / (one + other) if one + other else None
    if match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text):
        percent = Fraction(match[1])
        return percent / 100 if percent <= 100 else None
    if match := re.fullmatch(r"\s*(\d+)\s+per\s+class\s*", text):
        return int(match[1])
    return None
