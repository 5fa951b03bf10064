"""Colours of classes can be told apart, also by people who lack a kind of cones."""

import numpy as np

from ssl_jax.maps.colours import PALETTE, choose_colours

# Machado, Oliveira and Fernandes 2009, "A Physiologically-based Model for Simulation of Color
# Vision Deficiency", severity 1: of linear red, green and blue.
DEFICIENCIES = [
    np.eye(3),
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.0039, -0.0481, 1.052]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.0118, 0.0429, 0.9689]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.0047, 0.6914, 0.3039]],
]  # fmt: skip
TO_XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])


def to_lab(linear):
    xyz = np.clip(linear, 0, 1) @ TO_XYZ.T / TO_XYZ.sum(axis=1)
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def smallest_difference(colours):
    values = np.array(colours) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    pairs = np.triu_indices(len(colours), 1)
    return min(
        np.linalg.norm(lab[:, None] - lab[None], axis=-1)[pairs].min()
        for lab in (to_lab(linear @ np.array(matrix).T) for matrix in DEFICIENCIES)
    )


def test_default_colours_differ_for_everybody():
    # CIE76; 2.3 is just noticeable. Okabe and Ito's own first ones differ by 16.
    assert smallest_difference(choose_colours(10)) > 15
    assert smallest_difference(choose_colours(20)) > 15
    assert smallest_difference(choose_colours(24)) > 14


def test_given_colours_stay_and_no_other_class_gets_them():
    colours = choose_colours(5, [PALETTE[1], (), (1, 2, 3)])
    assert colours == (PALETTE[1], PALETTE[0], (1, 2, 3), PALETTE[2], PALETTE[3])


def test_any_number_of_classes_has_different_colours():
    colours = choose_colours(255)
    assert len(set(colours)) > 150
    assert len(set(choose_colours(96))) == 96
    assert choose_colours(0) == ()
