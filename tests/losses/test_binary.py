"""Values by hand and guarantees peculiar to the losses of yes-or-no answers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import losses, per_sample

LARGEST = float(jnp.finfo(jnp.float32).max)


@pytest.mark.parametrize(
    ("logit", "target", "exact"),
    [
        (0.0, 1.0, math.log(2)),
        (20.0, 1.0, math.log1p(math.exp(-20))),
        (100.0, 0.0, 100.0),
        (-1e4, 1.0, 1e4),
        (2.0, 0.25, 0.75 * 2 + math.log1p(math.exp(-2))),
        (math.inf, 1.0, 0.0),
        (-math.inf, 0.0, 0.0),
        (math.inf, 0.0, LARGEST),
        (-math.inf, 1.0, LARGEST),
    ],
)
def test_sigmoid_cross_entropy_by_hand(logit, target, exact):
    loss, gradient = jax.value_and_grad(losses.sigmoid_binary_cross_entropy)(
        jnp.array(logit), target
    )
    np.testing.assert_allclose(loss, exact, rtol=1e-6)
    sigmoid = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
    np.testing.assert_allclose(gradient, sigmoid - target, rtol=1e-6, atol=1e-7)


def test_optax_is_nan_at_an_infinite_logit_on_the_right_side():
    peer = optax.sigmoid_binary_cross_entropy(jnp.array(jnp.inf), jnp.array(1.0))
    assert jnp.isnan(peer)
    assert losses.sigmoid_binary_cross_entropy(jnp.array(jnp.inf), 1.0) == 0


def test_pos_weight_multiplies_the_positive_term_only():
    logits = jnp.array([0.7, -0.2])
    plain = losses.sigmoid_binary_cross_entropy
    got = plain(logits, jnp.array([1, 0]), pos_weight=jnp.array([3.0, 5.0]))
    want = (3 * plain(logits[0], 1) + plain(logits[1], 0)) / 2
    np.testing.assert_allclose(got, want, rtol=1e-6)
    with pytest.raises(ValueError, match=r"`pos_weight` must have shape \(2,\)"):
        plain(logits, jnp.array([1, 0]), pos_weight=jnp.ones(3))


@pytest.mark.parametrize(
    ("probability", "target", "exact"),
    [
        (0.5, 1.0, math.log(2)),
        (1.0, 1.0, 0.0),
        (0.0, 0.0, 0.0),
        (0.0, 1.0, math.inf),
        (1.0, 0.0, math.inf),
        (1.5, 1.0, math.nan),
        (-0.5, 0.0, math.nan),
    ],
)
def test_binary_cross_entropy_by_hand(probability, target, exact):
    loss, gradient = jax.value_and_grad(losses.binary_cross_entropy)(
        jnp.array(probability), target
    )
    np.testing.assert_allclose(loss, exact, rtol=1e-6)
    assert jnp.isfinite(gradient)


def test_one_sided_derivatives_at_certain_and_right_answers():
    slope = jax.grad(losses.binary_cross_entropy)
    assert slope(jnp.array(1.0), 1.0) == -1
    assert slope(jnp.array(0.0), 0.0) == 1


def test_clip_caps_the_value():
    loss = losses.binary_cross_entropy(jnp.array(0.0), 1.0, clip=1e-7)
    np.testing.assert_allclose(loss, -math.log(1e-7), rtol=1e-6)


@pytest.mark.parametrize(
    ("score", "target", "exact"), [(0.5, 1, 0.5), (0.5, -1, 1.5), (2.0, 1, 0.0)]
)
def test_hinge_by_hand(score, target, exact):
    np.testing.assert_allclose(losses.hinge_loss(jnp.array(score), target), exact)


def test_hinge_takes_no_label_of_zero_for_a_side():
    assert jnp.isnan(losses.hinge_loss(jnp.array([0.5, 2.0]), jnp.array([0, 1])))
    assert optax.hinge_loss(jnp.array(0.5), jnp.array(0)) == 1  # whatever the score


@pytest.mark.parametrize(
    "loss",
    [losses.hinge_loss, losses.squared_hinge_loss, losses.perceptron_loss],
)
@pytest.mark.parametrize("score", [-2.0, 0.0, 2.0, 20.0])
def test_one_label_of_zero_among_sides_is_enough(loss, score):
    # In a large batch: there the compiler fuses maxima, which may lose a nan.
    index = jnp.arange(1024)
    target = jnp.ones((1024, 64)).at[index, index % 64].set(0.0)
    assert jnp.isnan(per_sample(loss)(score * jnp.ones((1024, 64)), target)).all()


def test_hinge_of_an_infinite_score_costs_nothing_on_the_right_side():
    scores = jnp.array([jnp.inf, -jnp.inf])
    kept = per_sample(losses.hinge_loss)(scores, jnp.array([1, -1]))
    np.testing.assert_array_equal(kept, 0)
    missed = per_sample(losses.hinge_loss)(scores, jnp.array([-1, 1]))
    np.testing.assert_array_equal(missed, jnp.inf)


def test_hinge_has_no_slope_at_the_margin():
    assert jax.grad(losses.hinge_loss)(jnp.array(1.0), 1) == 0
    assert jax.grad(optax.hinge_loss)(jnp.array(1.0), jnp.array(1.0)) == -0.5


def test_soft_margin_loss_does_not_overflow():
    # torch computes exp(100) in float32 and gives inf; log(1 + exp(100)) is 100.
    value, slope = jax.value_and_grad(losses.soft_margin_loss)(-100.0, 1.0)
    assert value == 100 and slope == -1


def test_soft_margin_loss_is_cross_entropy_of_sides():
    score, side = jnp.array([0.3, -2.0]), jnp.array([1, -1])
    np.testing.assert_allclose(
        losses.soft_margin_loss(score, side),
        losses.sigmoid_binary_cross_entropy(score, (side + 1) // 2),
        rtol=1e-6,
    )


def test_multilabel_soft_margin_weights_leave_the_divisor_alone():
    loss = losses.multilabel_soft_margin_loss(
        jnp.zeros(2), jnp.array([1, 0]), class_weights=jnp.array([3.0, 0.0])
    )
    np.testing.assert_allclose(loss, 3 * np.log(2) / 2, rtol=1e-6)


def test_min_log_floors_each_logarithm():
    loss, slope = jax.value_and_grad(losses.binary_cross_entropy)(
        jnp.array([0.0, 0.5]), jnp.array([1, 1]), min_log=-100.0
    )
    np.testing.assert_allclose(loss, (100 + np.log(2)) / 2, rtol=1e-6)
    np.testing.assert_allclose(slope, [0, -1])
    assert losses.binary_cross_entropy(0.0, 1) == jnp.inf


@pytest.mark.parametrize("probability", [-0.1, 1.1])
def test_min_log_does_not_hide_a_probability_out_of_range(probability):
    assert jnp.isnan(losses.binary_cross_entropy(probability, 1, min_log=-100.0))


@pytest.mark.parametrize("options", [{}, {"min_log": -100.0}, {"clip": 1e-3}])
@pytest.mark.parametrize("probability", [-1.0, -1e-30, 1.0000001, 2.0, np.inf, -np.inf])
def test_one_probability_out_of_range_is_enough(probability, options):
    # In a large batch: there the compiler fuses maxima, which may lose a nan.
    index = jnp.arange(1024)
    impossible = jnp.full((1024, 64), 0.25).at[index, index % 64].set(probability)

    @jax.jit
    @jax.vmap
    def results(probability, target):
        loss = losses.binary_cross_entropy
        return jax.value_and_grad(loss)(probability, target, **options)

    for target in (0.0, 1.0):
        value, slope = results(impossible, jnp.full((1024, 64), target))
        assert jnp.isnan(value).all()
        np.testing.assert_array_equal(slope, 0)
