"""Each fault is found and named, on synthetic images; `tests/data_profile` has real ones."""

import dataclasses
import re

import hypothesis
import numpy as np
import pytest
from data_profile.pixel_faults import list_faults
from data_profile.spectral_images import AERIAL, SENTINEL2, make_image_profile, make_images
from hypothesis import strategies

from data_pipelines.errors import UserError
from data_pipelines.profiles.comparison import compare, compare_resolution
from data_pipelines.profiles.findings import CHECKS, Finding, Remedies, check_accepted, settle
from data_pipelines.profiles.measurement import make_published_profile
from data_pipelines.profiles.observation import observe

REMEDIES = Remedies("--scale {}", "--offset {}", "--config.bands={}", "--accept {}")
FAULTS = [
    (dtype, name, fault)
    for dtype in ("uint16", "uint8")
    for name, fault in list_faults(dtype).items()
]


@pytest.fixture(scope="module")
def learned():
    return {dtype: make_image_profile(make_images(64, dtype)) for dtype in ("uint16", "uint8")}


def find(images, profile, remedies=REMEDIES):
    return compare(observe(images), profile, remedies)


def get_message(images, profile, remedies=REMEDIES):
    """Return the message of the only finding."""
    (finding,) = find(images, profile, remedies)
    return finding.message


@pytest.mark.parametrize("dtype", ["uint16", "uint8"])
@pytest.mark.parametrize("count", [1, 3, 16])
def test_other_images_of_the_same_sensor_are_alike(learned, dtype, count):
    assert [find(make_images(count, dtype, seed=s), learned[dtype]) for s in range(1, 20)] == (
        [[]] * 19
    )


@pytest.mark.parametrize(("dtype", "name", "fault"), FAULTS, ids=[f"{d} {n}" for d, n, _ in FAULTS])
def test_a_fault_is_found(learned, dtype, name, fault):
    findings = find(fault.change(make_images(16, dtype, seed=1)), learned[dtype])
    assert any(finding.check in fault.checks for finding in findings), findings
    assert any(finding.refuse for finding in findings) or not fault.refused
    for finding in findings:
        assert finding.check in CHECKS
        assert "\n" not in finding.message


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "fractions 0…1",
            "values look like reflectance 0…1; the network learned digital numbers 0…10,000: "
            "--scale 0.0001",
        ),
        ("percent 0…100", "values look like percent 0…100; .*: --scale 0.01"),
        ("ten times", "values look like 10 times the expected ones; .*: --scale 10"),
        ("full 16 bits", "16-bit values up to 65,535; .*: --scale 6.5535"),
        ("39 times", r"39 times the expected ones \(an eight-bit stretch\?\)"),
        ("8-bit stretch as float", "an eight-bit stretch 0…255; .*: give the original values"),
        ("Landsat's scale", "Landsat Collection 2's; .*: --scale 3.63636 --offset -7272.73"),
        ("bytes exchanged", "bytes of the values look exchanged .* big-endian"),
        ("1000 added", "since baseline 04.00: .* red .*, learned .*: --offset -1000"),
        ("red and blue exchanged", "red and blue look exchanged: .*bands=blue,green,red,nir"),
        ("bands reversed", "look like nir, blue, green, red .*bands=nir,blue,green,red"),
        ("nir first", "look like nir, red, green, blue .*bands=nir,red,green,blue"),
        ("alpha for nir", "nir is constant 65,535; learned .*: an alpha band"),
        ("int16 with nodata", "below zero, down to -9,999; .*: nodata of -9,999"),
        ("int16 overflowed", "uint16 read as int16"),
        ("standardised", "standardised values"),
        ("a collar of 0", "25% of the pixels are 0 in all bands, learned 0%: a collar of nodata"),
    ],
)
def test_the_message_names_the_cause_and_the_flag(learned, fault, message):
    images = list_faults("uint16")[fault].change(make_images(16, seed=1))
    found = get_message(images, learned["uint16"])
    assert re.search(message, found), found


def test_a_product_before_the_baseline_is_told_to_a_network_of_later_ones():
    learned = make_image_profile(make_images(64) + np.uint16(1000))
    assert "before baseline 04.00" in get_message(make_images(16, seed=1), learned)
    assert find(make_images(16, seed=1) + np.uint16(1000), learned) == []


def test_what_was_learned_with_a_fault_is_no_finding():
    """A network that was trained on an alpha band, or on stretched images, expects them."""
    for name in ("alpha for nir", "8 bits times 39", "a collar of 0", "full 16 bits"):
        change = list_faults("uint16")[name].change
        learned = make_image_profile(change(make_images(64)))
        findings = find(change(make_images(16, seed=1)), learned)
        assert findings == [], name


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64])
def test_digital_numbers_of_another_dtype_are_alike(learned, dtype):
    assert find(make_images(16, seed=1).astype(dtype), learned["uint16"]) == []


def test_only_the_impossible_is_refused_of_a_single_image(learned):
    water = np.full((1, 32, 32, 4), (150, 300, 350, 60), np.uint16)
    water += np.random.default_rng(0).integers(0, 40, water.shape).astype(np.uint16)
    snow = (make_images(1, seed=5) * 0.3 + 7000).astype(np.uint16)
    blank = np.full((1, 32, 32, 4), 700, np.uint16)
    for images in (water, snow, blank):
        assert not any(finding.refuse for finding in find(images, learned["uint16"]))
    assert any(f.refuse for f in find(np.repeat(blank, 8, axis=0), learned["uint16"]))


def test_bright_blue_alone_is_not_an_offset(learned):
    """The atmosphere adds as much to blue at the top of it, but little to red and near infrared."""
    images = make_images(16, seed=1) + np.array([250, 450, 950, 50], np.uint16)
    assert "offset" not in [finding.check for finding in find(images, learned["uint16"])]


def test_published_statistics_recognise_an_offset_and_a_scale():
    published = make_published_profile(SENTINEL2, (120, 120), "uint16")
    rng = np.random.default_rng(0)
    means = [band.mean for band in SENTINEL2.bands]
    images = rng.normal(means, 400, (40, 32, 32, 4)).clip(1, 20_000)
    assert find(images.astype(np.uint16), published) == []
    assert "since baseline 04.00" in get_message((images + 1000).astype(np.uint16), published)
    assert "reflectance 0…1" in get_message(images / 10_000, published)


def test_the_flag_of_a_builder_is_in_physical_units(learned):
    remedies = dataclasses.replace(REMEDIES, scale="--config.scale={}", unit=1e-4)
    images = list_faults("uint16")["full 16 bits"].change(make_images(16, seed=1))
    assert "--config.scale=1.5259e-05" in get_message(images, learned["uint16"], remedies)


def test_resolutions_are_compared_if_both_are_known():
    (finding,) = compare_resolution(0.6, 10.0)
    assert "another resolution: 0.6 m, learned at 10 m" in finding.message
    assert not finding.refuse
    assert compare_resolution(0.0, 10.0) == compare_resolution(10.0, 0.0) == []
    assert compare_resolution(12.0, 10.0) == []


@hypothesis.given(strategies.lists(strategies.sampled_from(list(CHECKS)), unique=True))
def test_what_is_not_accepted_is_refused_or_told(accept):
    findings = [Finding(check, check in ("scale", "nan"), f"about {check}") for check in CHECKS]
    if {"scale", "nan"} <= set(accept):
        to_tell, passed = settle(findings, "images", REMEDIES, accept)
        checks = [check for check in CHECKS if check not in accept]
        assert [finding.check for finding in to_tell] == checks
        assert [f.message for f in to_tell] == [f"images: about {check}" for check in checks]
        assert passed == [check for check in CHECKS if check in accept]
    else:
        first = "nan" if "nan" not in accept else "scale"
        with pytest.raises(UserError, match=f"images: about {first}; .*: --accept {first}"):
            settle(findings, "images", REMEDIES, accept)


def test_an_unknown_check_is_refused():
    assert check_accepted("scale", "accept") == ("scale",)
    with pytest.raises(UserError, match="--accept: found 'colour'; expected one of nan, dtype"):
        check_accepted(["colour"], "--accept")


def test_eight_bit_images_have_no_offset(learned):
    images = make_images(16, "uint8", seed=1)
    checks = [finding.check for finding in find(images + np.uint8(60), learned["uint8"])]
    assert "offset" not in checks
    assert AERIAL.names == learned["uint8"].names
