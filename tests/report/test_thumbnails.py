"""Images in the page."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from jaxloss.report import thumbnails


def decoded(uri):
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


@pytest.mark.parametrize("shape", [(3, 5, 7), (3, 5, 7, 3), (3, 5, 7, 4)])
def test_bytes_stay_as_they_are(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    stored, pixelated = thumbnails.uris(images, [2, 0])
    assert pixelated
    np.testing.assert_array_equal(decoded(stored[0]), images[2])
    np.testing.assert_array_equal(decoded(stored[1]), images[0])


def test_flat_squares_and_one_channel_are_pictures_too():
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    for same in (images.reshape(2, 16), images[..., None]):
        stored, _ = thumbnails.uris(same, [1])
        np.testing.assert_array_equal(decoded(stored[0]), images[1])


def test_numbers_run_from_black_to_white_alike_for_all():
    images = np.array([[[0.0, 1.0]], [[0.2, np.nan]]])
    stored, _ = thumbnails.uris(images, [0, 1])
    np.testing.assert_array_equal(decoded(stored[0]), [[0, 255]])
    np.testing.assert_array_equal(decoded(stored[1]), [[51, 0]])
    stored, _ = thumbnails.uris(np.array([[[-2.0, 2.0]]]), [0])
    np.testing.assert_array_equal(decoded(stored[0]), [[0, 255]])


def test_large_images_are_made_small_and_keep_their_form():
    stored, pixelated = thumbnails.uris(np.zeros((1, 400, 800), np.uint8), [0])
    assert decoded(stored[0]).shape == (56, 112) and not pixelated


@pytest.mark.parametrize("shape", [(3,), (3, 15), (3, 3, 8, 8), (3, 1, 2, 3, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"`images` must have shape .* channels last"):
        thumbnails.uris(np.zeros(shape), [0])
