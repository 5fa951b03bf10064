"""Findings of a comparison, and what is done about them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from data_pipelines.errors import UserError

__all__ = ["CHECKS", "Finding", "Remedies", "check_accepted", "settle"]

# {check: what it looks for}, in the order in which findings are told.
CHECKS = {
    "nan": "values that are NaN or infinite",
    "dtype": "numbers of another kind than the learned ones",
    "negative": "values below zero",
    "constant": "a band that is the same everywhere, such as an alpha band",
    "identical": "two bands with the same values",
    "scale": "values in another unit",
    "offset": "a constant added to all bands, as to Sentinel-2's since baseline 04.00",
    "order": "bands in another order",
    "range": "values that are clipped",
    "zeros": "zeros where there was data: a collar, or values cut at zero",
    "saturation": "values at the end of the range",
    "steps": "a few values far apart, as after a stretch of eight-bit images",
    "resolution": "another ground sampling distance",
    "distribution": "pixels unlike the learned ones, for a reason that isn't recognised",
}


@dataclass(frozen=True)
class Finding:
    """A difference between images and what they are compared with.

    Attributes:
        check: One of `CHECKS`.
        refuse: Whether the answer can only be wrong; otherwise it may be a season or a region.
        message: What was found, what was expected, the likely cause and what to do.
    """

    check: str
    refuse: bool
    message: str


@dataclass(frozen=True)
class Remedies:
    """How a command is told to convert the values, in its own words; `{}` is the value.

    Attributes:
        scale: Divide by a number, after adding `offset`.
        offset: Add a number.
        bands: Name the bands in their order, separated by commas.
        accept: Pass over a check.
        unit: If `scale` is in physical units per number of the images, those per learned digital
            number; else 0.
    """

    scale: str
    offset: str
    bands: str
    accept: str
    unit: float = 0.0

    def divide_by(self, factor: float) -> str:
        """Return how to divide by a factor, the number that one learned digital number is."""
        return self.scale.format(f"{self.unit / factor if self.unit else factor:.6g}")


def check_accepted(accept: Iterable[str], where: str) -> tuple[str, ...]:
    """Check the names of checks to pass over, and return them.

    Args:
        accept: The names.
        where: The flag or argument that they come from.

    Raises:
        UserError: If there is no such check.
    """
    names = (accept,) if isinstance(accept, str) else tuple(accept)
    for name in names:
        if name not in CHECKS:
            raise UserError(f"{where}: found {name!r}; expected one of {', '.join(CHECKS)}")
    return names


def settle(
    findings: Sequence[Finding], subject: str, remedies: Remedies, accept: Sequence[str] = ()
) -> tuple[list[Finding], list[str]]:
    """Refuse what can only be wrong, and return what to warn of.

    Args:
        findings: The findings.
        subject: What was compared, at the beginning of each message.
        remedies: The words of the command.
        accept: Names of checks to pass over.

    Returns:
        The findings to warn of, whose messages begin with the subject, and the names of the checks
        that found something and were passed over.

    Raises:
        UserError: If there is a finding to refuse.
    """
    order = list(CHECKS)
    findings = sorted(findings, key=lambda finding: order.index(finding.check))
    to_tell = [
        replace(finding, message=f"{subject}: {finding.message}")
        for finding in findings
        if finding.check not in accept
    ]
    for finding in to_tell:
        if finding.refuse:
            all_the_same = remedies.accept.format(finding.check)
            raise UserError(f"{finding.message}; to go on all the same: {all_the_same}")
    found = {finding.check for finding in findings}
    return to_tell, [name for name in order if name in found and name in accept]
