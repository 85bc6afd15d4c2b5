"""Rows of `jaxloss.losses.segmentation`."""

from functools import partial
from typing import Any

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import Row, answers, chances, far

# Exact in float32: once JAX has traced a NumPy array in float32, it may hand out that
# version of the same object in float64 tests too.
WEIGHTS = np.array([0.25, 1.0, 0.75])


def image(rng):
    return rng.normal(0, 2, (2, 3, 3)), rng.uniform(0, 1, (2, 3, 3))


def chances_image(rng):
    return rng.uniform(0.05, 0.95, (2, 3, 3)), rng.uniform(0, 1, (2, 3, 3))


def one_class(rng):
    return rng.normal(0, 2, (2, 3, 1)), rng.uniform(0, 1, (2, 3, 1))


def dice(p, t, s=1.0, dr=None, alpha=0.5, beta=0.5, squared=False):
    """By class, from the sizes of the sets, for arrays (positions, classes)."""
    shared = np.sum(p * t, axis=0)
    size_p = np.sum(p**2 if squared else p, axis=0)
    size_t = np.sum(t**2 if squared else t, axis=0)
    whole = shared + alpha * (size_p - shared) + beta * (size_t - shared)
    return 1 - (shared + s) / (whole + (s if dr is None else dr))


def dice_reference(
    z, t, w: Any = 1.0, first=0, activate=scipy.special.softmax, **options
):
    p = activate(z, axis=-1) if activate is scipy.special.softmax else activate(z)
    classes = z.shape[-1]
    by_class = dice(p.reshape(-1, classes), t.reshape(-1, classes), **options)
    return np.mean((w * by_class)[first:])


def binary_reference(z, t, activate=scipy.special.expit, **options):
    return dice(activate(z).ravel(), t.ravel(), **options)


def generalized_reference(z, t, sudre=False, first=0, s=1.0):
    p, t = scipy.special.softmax(z, axis=-1).reshape(-1, 3), t.reshape(-1, 3)
    w = 1 / t.sum(0) ** 2
    w = w / w.sum() * 3
    if not sudre:
        return np.mean((w * dice(p, t, s))[first:])
    shared, whole = (w * np.sum(p * t, 0))[first:], (w * np.sum(p + t, 0))[first:]
    return 1 - (2 * shared.sum() + 2 * s) / (whole.sum() + 2 * s)


TRUTH = np.eye(3)[[0, 2, 2, 0]]
CORNERS = tuple(
    (logits, truth)
    for logits in (
        1e4 * TRUTH,
        -1e4 * TRUTH,
        np.zeros((4, 3)),
        np.where(TRUTH > 0, 0, -np.inf),
        np.where(TRUTH > 0, -np.inf, 0),
    )
    for truth in (TRUTH, np.zeros((4, 3)), np.ones((4, 3)))
)
EMPTY = tuple(
    (np.full((4, 3), p), np.full((4, 3), t)) for p in (0.0, 1.0) for t in (0.0, 1.0)
)
INSIDE = (*far([0.0, 0.3, 1.0]), (np.full(3, -np.inf), np.zeros(3)))
_raw = dict(activate=lambda p: p)

_image = partial(Row, draw=image, masked=True, channels=True, extremes=CORNERS)
_mask = partial(Row, draw=answers, masked=True, extremes=INSIDE)
ROWS = {
    "dice_loss": _image(losses.dice_loss, reference=dice_reference),
    "dice_loss-every_option": _image(
        partial(
            losses.dice_loss,
            class_weights=WEIGHTS,
            smooth=0.0,
            smooth_dr=0.1,
            alpha=0.3,
            beta=0.6,
            squared=True,
            ignore_background=True,
        ),
        reference=partial(
            dice_reference,
            w=WEIGHTS,
            s=0.0,
            dr=0.1,
            alpha=0.3,
            beta=0.6,
            squared=True,
            first=1,
        ),
        bounded=False,
    ),
    "dice_loss-of_probabilities": _image(
        partial(losses.dice_loss, apply_softmax=False, smooth=0.0),
        draw=chances_image,
        reference=partial(dice_reference, s=0.0, **_raw),
        extremes=EMPTY,
    ),
    "dice_loss-one_class": _image(
        losses.dice_loss,
        draw=one_class,
        reference=partial(dice_reference, activate=scipy.special.expit),
        extremes=tuple((z[:, None], t[:, None]) for z, t in INSIDE),
    ),
    "binary_dice_loss": _mask(losses.binary_dice_loss, reference=binary_reference),
    "binary_dice_loss-every_option": _mask(
        partial(
            losses.binary_dice_loss,
            smooth=0.0,
            smooth_dr=0.5,
            squared=True,
            apply_sigmoid=False,
        ),
        draw=chances,
        reference=partial(binary_reference, s=0.0, dr=0.5, squared=True, **_raw),
        extremes=EMPTY,
    ),
    "tversky_loss": _image(
        partial(losses.tversky_loss, alpha=0.2, beta=0.9),
        reference=partial(dice_reference, alpha=0.2, beta=0.9),
    ),
    "tversky_loss-every_option": _image(
        partial(
            losses.tversky_loss,
            alpha=1.0,
            beta=1.0,
            class_weights=WEIGHTS,
            smooth=0.5,
            smooth_dr=0.6,
            ignore_background=True,
            apply_softmax=False,
        ),
        draw=chances_image,
        reference=partial(
            dice_reference, alpha=1, beta=1, w=WEIGHTS, s=0.5, dr=0.6, first=1, **_raw
        ),
        extremes=EMPTY,
    ),
    "multiclass_generalized_dice_loss": _image(
        losses.multiclass_generalized_dice_loss, reference=generalized_reference
    ),
    "multiclass_generalized_dice_loss-sudre": _image(
        partial(losses.multiclass_generalized_dice_loss, variant="sudre", smooth=0.0),
        reference=partial(generalized_reference, sudre=True, s=0.0),
    ),
    "multiclass_generalized_dice_loss-no_background": _image(
        partial(losses.multiclass_generalized_dice_loss, ignore_background=True),
        reference=partial(generalized_reference, first=1),
    ),
    "multiclass_generalized_dice_loss-sudre_no_background": _image(
        partial(
            losses.multiclass_generalized_dice_loss,
            variant="sudre",
            ignore_background=True,
        ),
        reference=partial(generalized_reference, sudre=True, first=1),
    ),
}
