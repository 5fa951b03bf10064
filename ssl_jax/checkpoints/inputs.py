"""Comparison of images with those that the network of a checkpoint learned."""

from dataclasses import replace

from data_pipelines.profiles.comparison import compare
from data_pipelines.profiles.findings import Finding, Remedies
from data_pipelines.profiles.observation import Observation
from ssl_jax.checkpoints.card import ModelCard

__all__ = ["compare_with_card"]

# Checks that rest on the statistics of the learned pixels, not on their range alone.
_STATISTICAL = ("dtype", "scale", "range")


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
