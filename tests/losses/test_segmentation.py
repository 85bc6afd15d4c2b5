"""What is peculiar to the losses of segmentations: values by hand, corners, peers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import losses, per_sample

# Three positions, two classes, certain: class 0 claims one of its two positions.
LOGITS = jnp.array([[99.0, -99.0], [-99.0, 99.0], [-99.0, 99.0]])
TRUTH = jax.nn.one_hot(jnp.array([0, 1, 0]), 2)


def images(seed=0, shape=(2, 4, 5, 3)):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, shape[-1], shape[:-1])
    labels[:, 0, : shape[-1]] = np.arange(shape[-1])  # every class is in every image
    logits = jnp.asarray(rng.normal(0, 2, shape), jnp.float32)
    return logits, jax.nn.one_hot(jnp.asarray(labels), shape[-1])


def test_dice_loss_by_hand():
    # Overlaps 1 and 1; each class has one error, of the other kind.
    np.testing.assert_allclose(
        losses.dice_loss(LOGITS, TRUTH, smooth=0.0), 1 - 2 / 3, rtol=1e-6
    )
    np.testing.assert_allclose(losses.dice_loss(LOGITS, TRUTH), 1 - 4 / 5, rtol=1e-6)


def test_alpha_is_for_false_claims_and_beta_for_misses():
    nothing, truth = jnp.full((4, 1), -99.0), jnp.ones((4, 1))
    missed = losses.tversky_loss(nothing, truth, alpha=0.0, beta=0.5)
    np.testing.assert_allclose(missed, 1 - 1 / (1 + 0.5 * 4), rtol=1e-6)
    assert losses.tversky_loss(nothing, truth, alpha=0.9, beta=0.0) == 0
    claimed = losses.tversky_loss(-nothing, 1 - truth, alpha=0.5, beta=0.0)
    np.testing.assert_allclose(claimed, missed, rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"alpha": 0.2, "beta": 0.7, "smooth": 0.3}])
def test_batches_are_those_of_optax(options):
    logits, truth = images()
    np.testing.assert_allclose(
        per_sample(losses.dice_loss, **options)(logits, truth),
        optax.losses.dice_loss(logits, truth, **options),
        rtol=1e-5,
    )


def test_binary_dice_loss_is_that_of_optax():
    logits, truth = images()
    np.testing.assert_allclose(
        per_sample(losses.binary_dice_loss)(logits, truth),
        optax.losses.binary_dice_loss(logits[..., None], truth[..., None]),
        rtol=1e-5,
    )


def test_generalized_dice_of_one_image_with_every_class_is_that_of_optax():
    logits, truth = images()
    for image, true in zip(logits, truth, strict=True):
        with jax.numpy_rank_promotion("allow"):
            peer = optax.losses.multiclass_generalized_dice_loss(
                image[None], true[None]
            )
        got = losses.multiclass_generalized_dice_loss(image, true)
        np.testing.assert_allclose(got, peer, rtol=1e-5)


def test_an_absent_class_does_not_drown_the_rest():
    # Class 2 is nowhere, and rightly never claimed; classes 0 and 1 are all wrong.
    labels = jnp.array([0, 0, 1, 1])
    truth = jax.nn.one_hot(labels, 3)
    logits = 99 * (2 * jax.nn.one_hot(1 - labels, 3) - 1)
    with jax.numpy_rank_promotion("allow"):
        peer = optax.losses.multiclass_generalized_dice_loss(logits[None], truth[None])
    assert peer < 1e-6  # optax: all right
    # By hand: no overlap, two claims and two misses give 2/3 for 0 and 1, and 0 for 2.
    got = losses.multiclass_generalized_dice_loss(logits, truth)
    np.testing.assert_allclose(got, (2 / 3 + 2 / 3 + 0) / 3, rtol=1e-6)
    sudre = losses.multiclass_generalized_dice_loss(
        logits, truth, variant="sudre", smooth=0.0
    )
    np.testing.assert_allclose(sudre, 1, rtol=1e-6)


def test_probabilities_work_under_jit_where_optax_fails():
    logits, truth = images()
    probability = jax.nn.softmax(logits)
    dice = jax.jit(per_sample(losses.dice_loss, apply_softmax=False))
    np.testing.assert_allclose(
        dice(probability, truth), per_sample(losses.dice_loss)(logits, truth), rtol=1e-5
    )
    with pytest.raises(jax.errors.TracerBoolConversionError):
        jax.jit(lambda p: optax.losses.dice_loss(p, truth, apply_softmax=False))(
            probability
        )
    inside, mask = jax.nn.sigmoid(logits[0, ..., 0]), truth[0, ..., 0]
    np.testing.assert_allclose(
        losses.binary_dice_loss(inside, mask, apply_sigmoid=False),
        losses.binary_dice_loss(logits[0, ..., 0], mask),
        rtol=1e-5,
    )
    with pytest.raises(ValueError, match="sum to 1"):
        optax.losses.binary_dice_loss(
            inside[None, ..., None], mask[None, ..., None], apply_sigmoid=False
        )


def test_an_image_of_width_one_is_an_image():
    logits, truth = jnp.array([[2.0], [-1.0]]), jnp.array([[1.0], [0.0]])
    np.testing.assert_allclose(
        losses.binary_dice_loss(logits, truth),
        losses.binary_dice_loss(logits[:, 0], truth[:, 0]),
    )


@pytest.mark.parametrize("options", [{"smooth": 0.0}, {"smooth": 0, "smooth_dr": 1e-7}])
def test_nothing_claimed_where_nothing_is_costs_nothing(options):
    nothing = jnp.zeros((4, 4))
    value, gradient = jax.value_and_grad(losses.binary_dice_loss)(
        nothing, nothing, apply_sigmoid=False, **options
    )
    assert value == 0  # Keras: 1
    assert jnp.isfinite(gradient).all()


def test_a_nearly_perfect_segmentation_keeps_its_digits():
    logits, truth = jnp.full((100,), 12.0), jnp.ones(100)
    wrong = 100 / (1 + np.exp(12.0))
    whole = 100 - wrong + wrong / 2 + 1
    got = losses.binary_dice_loss(logits, truth)
    np.testing.assert_allclose(got, wrong / 2 / whole, rtol=2e-2)
    assert got > 0


def test_smooth_is_half_the_constant_of_the_usual_form():
    p, t = jnp.array([0.5, 0.25]), jnp.array([1.0, 0.0])
    got = losses.binary_dice_loss(p, t, smooth=2.0, apply_sigmoid=False)
    np.testing.assert_allclose(got, 1 - (2 * 0.5 + 4) / (0.75 + 1 + 4), rtol=1e-6)


def test_squared_is_the_v_net_form():
    p, t = jnp.array([0.5, 0.25]), jnp.array([1.0, 0.0])
    got = losses.binary_dice_loss(p, t, smooth=0.0, squared=True, apply_sigmoid=False)
    np.testing.assert_allclose(got, 1 - 2 * 0.5 / (0.25 + 0.0625 + 1), rtol=1e-6)


@pytest.mark.parametrize("apply_softmax", [True, False])
def test_one_nan_anywhere_leaves_no_gradient_anywhere(apply_softmax):
    for loss in (losses.dice_loss, losses.multiclass_generalized_dice_loss):
        value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(
            jnp.full((4, 3), 0.3).at[1, 2].set(jnp.nan),
            jnp.full((4, 3), 0.5),
            apply_softmax=apply_softmax,
        )
        assert jnp.isnan(value)
        np.testing.assert_array_equal(gradients, 0)


def test_no_axis_for_classes_and_an_unknown_variant_are_refused_in_words():
    with pytest.raises(ValueError, match=r"must have shape \(..., classes\), got \(\)"):
        losses.dice_loss(1.0, 1.0)
    with pytest.raises(ValueError, match="`variant` must be .*, got 'other'"):
        losses.multiclass_generalized_dice_loss(LOGITS, TRUTH, variant="other")
