"""The syntax of split expressions, and seeded stratified splits.

    train                  the split `train`; `all` is all splits of the dataset together
    train[2:8]             the first part of a stratified 2:8 split: two tenths of every class
    train[10%]             ten percent of every class
    train[16 per class]    sixteen examples of every class
    train[8:2 of images]   eight tenths of the images, if examples are windows of images
    train[not snow]        examples whose boolean feature `snow` is false; `train[snow]`: true

With `.rest` after it, a stratified split selects the complement. Brackets apply from left to right,
each to the examples that those before it have selected: `all[not snow][2:8][10%]` is ten percent of
the first part of a 2:8 split of the examples without snow, and `all[not snow][2:8][10%].rest` the
other ninety. Datasets without labels are split at random, multi-label datasets within each
combination of labels.

With the same seed, a fraction contains every smaller fraction that divides it, so that `[1%]` is
within `[10%]`; a number per class contains every smaller one.
"""

import re
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from data_pipelines.errors import UserError

__all__ = ["FlagFilter", "SplitExpression", "StratifiedSplit", "split_stratified", "update_syntax"]


class FlagFilter(NamedTuple):
    """A filter by a boolean feature.

    Attributes:
        name: Name of the feature.
        value: Value of the examples to select.
    """

    name: str
    value: bool


class StratifiedSplit(NamedTuple):
    """A stratified split.

    Attributes:
        size: Size of the selected part, as written: `2:8`, `10%` or `16 per class`.
        rest: Whether to select the complement instead.
        images: Whether images are split as a whole; otherwise their windows may be in both parts.
    """

    size: str
    rest: bool
    images: bool = False


class SplitExpression(NamedTuple):
    """A parsed split expression.

    Attributes:
        split: Name of the split.
        steps: The brackets, in the order they apply.
    """

    split: str
    steps: tuple[FlagFilter | StratifiedSplit, ...]

    @classmethod
    def parse(cls, text: str) -> "SplitExpression":
        """Parse a split expression.

        Raises:
            UserError: If the syntax is invalid.
        """
        pattern = r"([\w-]+)((?:\[[^\[\]]+\](?:\.rest)?)*)"
        match = re.fullmatch(pattern, update_syntax(text))
        brackets = re.findall(r"\[([^\[\]]+)\](\.rest)?", match[2]) if match else []
        steps = [_parse_step(bracket, bool(rest)) for bracket, rest in brackets]
        if match is None or None in steps:
            raise UserError(
                f"split {text!r}: expected NAME, NAME[2:8], NAME[10%] or NAME[16 per class], "
                "these three also with .rest, NAME[FLAG] or NAME[not FLAG]; or several brackets"
            )
        return cls(match[1], tuple(step for step in steps if step))


def update_syntax(text: str) -> str:
    """Replace the older `[8:2 of pictures]` by `[8:2 of images]` in all split expressions."""
    return text.replace(" of pictures]", " of images]")


def split_stratified(
    strata: np.ndarray, size: str, seed: int, error_prefix: str = "split"
) -> np.ndarray:
    """Select the first part of a seeded stratified split.

    Args:
        strata: (examples,) int, class of each example.
        size: `2:8`, `10%` or `16 per class`.
        seed: Seed of the random selection.
        error_prefix: What error messages begin with.

    Returns:
        (examples,) bool, whether an example is selected. Of n examples and a fraction f, ⌊n·f⌋ are
        selected, and of every stratum of m examples ⌊m·f⌋ or ⌈m·f⌉.

    Raises:
        UserError: If a class has fewer examples than the number per class.
    """
    shuffled = np.random.default_rng(seed).permutation(len(strata))
    by_class = shuffled[np.argsort(strata[shuffled], kind="stable")]
    selected = np.zeros(len(strata), bool)
    parsed = _parse_size(size)
    if isinstance(parsed, Fraction):
        # Systematic sampling: pass through the classes one after the other and select an example
        # whenever the fraction of those passed reaches the next integer.
        passed = np.arange(len(strata) + 1, dtype=object) * parsed.numerator // parsed.denominator
        selected[by_class] = np.diff(passed).astype(bool)
        return selected
    assert parsed is not None
    classes, first, counts = np.unique(strata[by_class], return_index=True, return_counts=True)
    if len(classes) and counts.min() < parsed:
        raise UserError(
            f"{error_prefix}: found a class of {counts.min()} examples; expected at least {parsed} "
            "examples of every class; choose a smaller number per class"
        )
    for start in first:
        selected[by_class[start : start + parsed]] = True
    return selected


def _parse_step(bracket: str, rest: bool) -> FlagFilter | StratifiedSplit | None:
    """Parse the content of a bracket; returns None if it is invalid."""
    size = bracket.removesuffix(" of images")
    if _parse_size(size) is not None:
        return StratifiedSplit(size, rest, images=size != bracket)
    flag = re.fullmatch(r"\s*(not\s+)?([A-Za-z_]\w*)\s*", bracket)
    return FlagFilter(flag[2], not flag[1]) if flag and not rest else None


def _parse_size(text: str) -> Fraction | int | None:
    """Parse a fraction (Fraction) or a number per class (int); returns None if it is neither."""
    if match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*:\s*(\d+(?:\.\d+)?)\s*", text):
        first, second = Fraction(match[1]), Fraction(match[2])
        return first / (first + second) if first + second else None
    if match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text):
        percent = Fraction(match[1])
        return percent / 100 if percent <= 100 else None
    if match := re.fullmatch(r"\s*(\d+)\s+per\s+class\s*", text):
        return int(match[1])
    return None
