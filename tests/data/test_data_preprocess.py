"""Preprocessing: golden numbers, and every kind of picture file read right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.core.types import Layout, Preprocess, TensorSpec
from edgekit.data.images import decode
from edgekit.data.preprocess import (
    COLORS,
    NORMALIZATIONS,
    ImageShape,
    affine,
    check,
    denormalize,
    describe,
    normalize,
    preprocess_digest,
    to_input,
)

RGB = (255, 128, 0)
PIXEL = ImageShape(1, 1, 3, channels_first=False)


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("none", (255, 128, 0)),
        ("0..1", (1, 0.5019608, 0)),
        ("-1..1", (1, 0.0039216, -1)),
        # (pixel / 255 - mean) / std of ILSVRC-2012
        ("imagenet", (2.2489083, 0.2051821, -1.8044444)),
    ],
)
def test_normalisation_of_a_known_colour(normalization, expected):
    sample = to_input(Image.new("RGB", (1, 1), RGB), Preprocess(normalize=normalization), PIXEL)
    np.testing.assert_allclose(sample[0, 0], expected, atol=1e-6)


def test_bgr_turns_colours_and_their_statistics():
    image = Image.new("RGB", (1, 1), RGB)
    rgb, bgr = (to_input(image, Preprocess(color=c, normalize="imagenet"), PIXEL)[0, 0] for c in COLORS)
    np.testing.assert_array_equal(rgb[::-1], bgr)


def test_channels_first_is_the_same_picture():
    image = Image.effect_noise((7, 5), 60).convert("RGB")
    steps = Preprocess(normalize="imagenet")
    last = to_input(image, steps, ImageShape(5, 7, 3, channels_first=False))
    first = to_input(image, steps, ImageShape(5, 7, 3, channels_first=True))
    np.testing.assert_array_equal(first, last.transpose(2, 0, 1))


@given(st.sampled_from(NORMALIZATIONS), st.sampled_from(COLORS), st.booleans(), st.sampled_from([1, 3]))
def test_denormalize_gives_the_pixels_back(normalization, color, channels_first, channels):
    steps, shape = Preprocess(color=color, normalize=normalization), ImageShape(4, 6, channels, channels_first)
    size = (2, channels, 4, 6) if channels_first else (2, 4, 6, channels)
    pixels = np.random.default_rng(0).integers(0, 256, size)
    np.testing.assert_allclose(denormalize(normalize(pixels, steps, shape), steps, shape), pixels, atol=1e-4)


def _bands() -> Image.Image:
    """12 × 4: red, green and blue thirds."""
    pixels = np.zeros((4, 12, 3), np.uint8)
    for band in range(3):
        pixels[:, 4 * band : 4 * band + 4, band] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("resize", "left", "middle", "corner"),
    [("stretch", 255, 0, 255), ("crop", 0, 0, 0), ("letterbox", 255, 0, 0)],
)
def test_resize(resize, left, middle, corner):
    red = to_input(_bands(), Preprocess(resize=resize), ImageShape(12, 12, 3, channels_first=False))[:, :, 0]
    assert (red[6, 2], red[6, 6], red[0, 2]) == (left, middle, corner)


def test_bilinear_interpolation_is_antialiased():
    """A checkerboard of single pixels, halved, is grey: no pixel is simply dropped."""
    board = Image.fromarray((np.indices((16, 16)).sum(axis=0) % 2 * 255).astype(np.uint8))
    halved = to_input(board, Preprocess(), ImageShape(8, 8, 1, channels_first=False))
    np.testing.assert_allclose(halved[2:-2, 2:-2], 127.5, atol=2)


def test_describe_gives_numbers_that_repeat_the_arithmetic():
    spec, steps = TensorSpec("image", (None, 2, 2, 3), layout=Layout.NHWC), Preprocess(normalize="imagenet")
    about = describe(steps, spec)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 3))
    expected = normalize(pixels, steps, ImageShape(2, 2, 3, channels_first=False))
    np.testing.assert_allclose((pixels - about["mean"]) / about["std"], expected, atol=1e-5)
    np.testing.assert_allclose(pixels * about["scale"] + about["offset"], expected, atol=1e-5)
    assert (about["height"], about["color"], about["layout"]) == (2, "rgb", "NHWC")


def test_describe_of_no_image_promises_nothing():
    assert "scale" not in describe(Preprocess(), TensorSpec("x", (None, 42)))


def test_digest_tells_preprocessings_apart():
    every = [Preprocess(normalize=n, color=c) for n in NORMALIZATIONS for c in COLORS]
    assert len({preprocess_digest(steps) for steps in every}) == len(every)


@pytest.mark.parametrize("steps", [Preprocess(resize="zoom"), Preprocess(color="hsv"), Preprocess(normalize="0-1")])
def test_unknown_steps_are_refused_with_the_choices(steps):
    with pytest.raises(UsageError, match="is not one of"):
        check(steps)


def test_grey_imagenet_uses_the_mean_of_the_colours():
    scale, offset = affine(Preprocess(normalize="imagenet"), 1)
    np.testing.assert_allclose([scale[0] * 255, offset[0]], [1 / 0.226, -0.449 / 0.226], rtol=1e-3)


@pytest.mark.parametrize(
    ("mode", "suffix", "colour", "expected"),
    [
        ("RGB", "png", RGB, RGB),
        ("RGBA", "png", (*RGB, 128), RGB),
        ("L", "png", 77, (77, 77, 77)),
        ("LA", "png", (77, 9), (77, 77, 77)),
        ("1", "png", 1, (255, 255, 255)),
        ("CMYK", "tif", (0, 127, 255, 0), RGB),
        ("I;16", "png", 128 * 257, (128, 128, 128)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode, suffix, colour, expected):
    Image.new(mode, (4, 4), colour).save(tmp_path / f"x.{suffix}")
    np.testing.assert_allclose(np.asarray(decode(tmp_path / f"x.{suffix}", "RGB"))[0, 0], expected, atol=1)


def test_a_transparent_palette_becomes_rgb(tmp_path: Path):
    image = Image.new("RGB", (4, 4), RGB).quantize(4)
    image.save(tmp_path / "x.png", transparency=bytes([0, 255, 255, 255]))
    np.testing.assert_allclose(np.asarray(decode(tmp_path / "x.png", "RGB"))[0, 0], RGB, atol=1)


def test_exif_orientation_is_respected(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn off: upright after turning clockwise
    _bands().save(tmp_path / "x.png", exif=exif)
    upright = decode(tmp_path / "x.png", "RGB")
    assert upright.size == (4, 12)
    assert upright.getpixel((0, 0)) == (255, 0, 0)
    assert upright.getpixel((0, 11)) == (0, 0, 255)


def test_an_image_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    Image.new("RGB", (8, 8)).save(tmp_path / "bomb.png")
    with pytest.raises(InvalidInputError, match=r"bomb\.png is too large"):
        decode(tmp_path / "bomb.png", "RGB")
