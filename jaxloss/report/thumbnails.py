"""Images small enough to stand in the page."""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 112  # pixels of the longer side: twice what the list shows
_SMALL = 48  # images up to this side keep their pixels, which the page enlarges


def uris(images: Any, chosen: Sequence[int] | NDArray) -> tuple[list[str], bool]:
    """PNG of each chosen image as a data URI, and whether pixels are to stay square."""
    stored = [_uri(image) for image in pictures(images, chosen)]
    height, width = shape(images)[:2]
    return stored, max(height, width) <= _SMALL


def pictures(images: Any, chosen: Sequence[int] | NDArray) -> list[Image.Image]:
    """The chosen images, at most 112 pixels wide and high."""
    form = shape(images)
    arrays = (np.asarray(images[int(i)]).reshape(form) for i in chosen)
    low, high = _range(np.asarray(images[int(i)]) for i in chosen)
    return [_picture(array, low, high) for array in arrays]


def shape(images: Any) -> tuple[int, ...]:
    """``(H, W)`` or ``(H, W, 3)`` of one image, of those that may have come flat."""
    form = tuple(np.shape(images))
    side = round(form[1] ** 0.5) if len(form) == 2 else 0
    if len(form) == 2 and side * side == form[1]:
        return side, side
    if len(form) == 4 and form[3] == 1:
        return form[1:3]
    if len(form) == 3 or (len(form) == 4 and form[3] in (3, 4)):
        return form[1:]
    raise ValueError(
        "`images` must have shape (N, H, W), (N, H, W, 3), or (N, H * H) for flat "
        f"squares, got {form}. Put the channels last."
    )


def _range(arrays: Iterable[NDArray]) -> tuple[float, float]:
    """What is black and what is white, the same for all images."""
    low, high = 0.0, 1.0
    for array in arrays:
        if array.dtype == np.uint8:
            return 0.0, 255.0
        finite = array[np.isfinite(array)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return low, high


def _picture(array: NDArray, low: float, high: float) -> Image.Image:
    levels = (np.nan_to_num(array.astype(np.float32)) - low) / (high - low)
    image = Image.fromarray((levels.clip(0, 1) * 255).round().astype(np.uint8))
    if max(image.size) > _SIDE:
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return image


def _uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
