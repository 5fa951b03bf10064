"""How a part of a split is written, and seeded stratified cuts.

    train                  all of it; `all` is every split of the dataset together
    train[2:8]             the training side of a stratified 2:8 cut: two tenths of every class
    train[10%]             ten percent of every class
    train[16 per class]    sixteen of every class
    train[8:2 of images]   eight tenths of the images, where examples are windows of images
    train[not snow]        where the yes/no feature `snow` says no; `train[snow]` has the others

With `.rest` behind it a cut gives its other side. Brackets apply from left to right, each to what
those before it have left: `all[not snow][2:8][10%]` is ten percent of the training side of a 2:8
cut of what has no snow, and `all[not snow][2:8][10%].rest` the other ninety. Datasets without
labels are cut at random; multi-label ones within each combination of labels.

With the same seed a larger share holds the smaller ones that go into it a whole number of times,
so that `[1%]` lies within `[10%]`; a larger number per class holds every smaller one.
"""

import re
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from data_pipelines.errors import UserError

__all__ = ["FlagFilter", "SplitExpression", "StratifiedSplit", "split_stratified"]


class FlagFilter(NamedTuple):
    """A bracket that leaves the examples whose yes/no feature `name` gives the answer `wanted`."""

    name: str
    wanted: bool


class StratifiedSplit(NamedTuple):
    """A bracket that leaves one side of a cut by a `share` such as `2:8`: the other, if `rest`.

    With `images` whole pictures are on either side; elsewhere their windows may be on both.
    """

    share: str
    rest: bool
    images: bool = False


class SplitExpression(NamedTuple):
    """A part of a split, as it is written.

    Attributes:
        split: its name.
        steps: the brackets, in the order they apply.
    """

    split: str
    steps: tuple[FlagFilter | StratifiedSplit, ...]

    @classmethod
    def parse(cls, text: str) -> "SplitExpression":
        """Take `text` apart.

        Raises:
            UserError: it is not written as expected.
        """
        match = re.fullmatch(r"([\w-]+)((?:\[[^\[\]]+\](?:\.rest)?)*)", text)
        brackets = re.findall(r"\[([^\[\]]+)\](\.rest)?", match[2]) if match else []
        steps = [_step(bracket, bool(rest)) for bracket, rest in brackets]
        if match is None or None in steps:
            raise UserError(
                f"split {text!r}: expected NAME, NAME[2:8], NAME[10%] or NAME[16 per class], "
                "these three also with .rest, NAME[FLAG] or NAME[not FLAG]; or several brackets"
            )
        return cls(match[1], tuple(step for step in steps if step))


def split_stratified(strata: np.ndarray, share: str, seed: int, where: str = "cut") -> np.ndarray:
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


def _step(bracket: str, rest: bool) -> FlagFilter | StratifiedSplit | None:
    """What a bracket does, with `.rest` behind it or without; None where that means nothing."""
    share = re.sub(r" of (images|pictures)$", "", bracket)  # older configs say "pictures"
    if _share(share) is not None:
        return StratifiedSplit(share, rest, images=share != bracket)
    flag = re.fullmatch(r"\s*(not\s+)?([A-Za-z_]\w*)\s*", bracket)
    return FlagFilter(flag[2], not flag[1]) if flag and not rest else None


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
