"""Comparison of images with those that the network of a checkpoint learned."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from data_pipelines.profiles.comparison import compare, compare_resolution
from data_pipelines.profiles.findings import Finding, Remedies, settle
from data_pipelines.profiles.observation import Observation
from ssl_jax.checkpoints.card import ModelCard

__all__ = ["check_images", "compare_with_card"]

# Checks that rest on the statistics of the learned pixels, not on their range alone.
_STATISTICAL = ("dtype", "scale", "range")


def check_images(
    observed: Observation,
    resolution: float,
    card: ModelCard,
    subject: str,
    remedies: Remedies,
    accept: Sequence[str],
) -> list[str]:
    """Compare images with those that the network learned, and warn of what is unlike.

    Args:
        observed: The images, with the card's bands in order.
        resolution: Their ground sampling distance, in metres; 0 if it is unknown.
        card: The model card.
        subject: What the images are of, such as `dataset potsdam`, for messages.
        remedies: How the command is told what to do.
        accept: Names of checks to pass over.

    Returns:
        The names of the checks that found something and were passed over.

    Raises:
        UserError: If the images are not like the learned ones.
    """
    findings = compare_with_card(observed, card, remedies)
    findings += compare_resolution(resolution, card.sensor.resolution)
    to_tell, accepted = settle(findings, subject, remedies, accept)
    for finding in to_tell:
        print(f"warning: {finding.message}", file=sys.stderr)
    return accepted


def compare_with_card(observed: Observation, card: ModelCard, remedies: Remedies) -> list[Finding]:
    """Compare images with the profile on a card.

    A card without one, of an earlier version or of imported weights, has only the statistics that
    its network divides by, which may be of other images: what rests on them is not refused.

    Args:
        observed: The images, with the card's bands in order.
        card: The model card.
        remedies: How the command is told what to do.

    Returns:
        The findings.
    """
    expected = card.expected_images
    if expected is None:
        return []
    findings = compare(observed, expected, remedies)
    if card.profile is not None:
        return findings
    return [
        replace(finding, refuse=finding.refuse and finding.check not in _STATISTICAL)
        for finding in findings
    ]
