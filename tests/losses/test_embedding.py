"""What is peculiar to the losses of embeddings: values by hand, corners, peers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import losses


def test_cosine_embedding_loss_by_hand():
    a, b = jnp.array([1.0, 0.0]), jnp.array([3.0, 4.0])  # the cosine is 3/5
    np.testing.assert_allclose(losses.cosine_embedding_loss(a, b, 1), 0.4, rtol=1e-6)
    np.testing.assert_allclose(losses.cosine_embedding_loss(a, b, -1), 0.6, rtol=1e-6)
    loss = losses.cosine_embedding_loss(a, b, -1, margin=0.5)
    np.testing.assert_allclose(loss, 0.1, rtol=1e-6)
    assert losses.cosine_embedding_loss(a, b, -1, margin=0.7) == 0


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e37])
def test_the_length_of_an_embedding_does_not_count(scale):
    a, b = jnp.array([1.0, 0.0]), jnp.array([3.0, 4.0])
    loss = losses.cosine_embedding_loss(scale * a, scale / 4 * b, 1)
    np.testing.assert_allclose(loss, 0.4, rtol=1e-6)
    gradient = jax.grad(losses.cosine_embedding_loss)(scale * a, scale / 4 * b, 1)
    # across the vector, as long as the sine of the angle over its length
    np.testing.assert_allclose(gradient[1], -0.8 / np.float32(scale), rtol=1e-5)


def test_a_zero_embedding_has_cosine_zero_and_no_gradient():
    zero, b = jnp.zeros(2), jnp.array([3.0, 4.0])
    for pair in ((zero, b), (b, zero), (zero, zero)):
        value, gradients = jax.value_and_grad(
            losses.cosine_embedding_loss, argnums=(0, 1)
        )(*pair, 1)
        assert value == 1
        np.testing.assert_array_equal(gradients, 0)


@pytest.mark.parametrize("side", [0.0, 2.0, 0.5, -0.5, math.nan, math.inf])
def test_a_target_on_no_side_is_nan_without_gradient(side):
    target = jnp.array(side)
    pairs = jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])
    for loss, data in (
        (losses.cosine_embedding_loss, (*pairs, target)),
        (losses.hinge_embedding_loss, (jnp.array(0.5), target)),
        (losses.margin_ranking_loss, (jnp.array(0.5), jnp.array(1.5), target)),
    ):
        value, gradient = jax.value_and_grad(loss)(*data)
        assert jnp.isnan(value), loss
        np.testing.assert_array_equal(gradient, 0)


def test_hinge_embedding_and_margin_ranking_have_no_slope_at_the_margin():
    for target in (-1.0, 1.0):
        slopes = jax.grad(losses.margin_ranking_loss, argnums=(0, 1))
        np.testing.assert_array_equal(slopes(1.0, 1.0, target), 0)
    assert jax.grad(losses.hinge_embedding_loss)(1.0, -1.0) == 0
    assert jax.grad(losses.hinge_embedding_loss)(math.nan, 1.0) == 0


@pytest.mark.parametrize(
    ("degree", "by_hand"),
    [(1, 7.0), (2, 5.0), (3, 91 ** (1 / 3)), (0.5, (2 + 3**0.5) ** 2), (math.inf, 4)],
)
def test_pairwise_distance_by_hand(degree, by_hand):
    a, b = jnp.array([3.0, 0.0]), jnp.array([0.0, 4.0])
    for first, second in ((a, b), (b, a)):
        distance = losses.pairwise_distance(first, second, norm_degree=degree)
        np.testing.assert_allclose(distance, by_hand, rtol=1e-6)


def test_pairwise_distance_neither_overflows_nor_vanishes():
    for scale in (1e-30, 1e30):
        x = scale * jnp.array([3.0, 4.0])
        for degree, wanted in ((2, 5.0), (3, 91 ** (1 / 3)), (200, 4.0)):
            distance = losses.pairwise_distance(x, jnp.zeros(2), norm_degree=degree)
            np.testing.assert_allclose(distance, wanted * scale, rtol=1e-5)
        gradient = jax.grad(losses.pairwise_distance)(x, jnp.zeros(2))
        np.testing.assert_allclose(gradient, [0.6, 0.8], rtol=1e-6)


def test_largest_differences_share_the_slope_of_an_infinite_degree():
    x, zero = jnp.array([2.0, -2.0, 1.0]), jnp.zeros(3)
    gradient = jax.grad(losses.pairwise_distance)(x, zero, norm_degree=math.inf)
    np.testing.assert_allclose(gradient, [0.5, -0.5, 0.0])


def test_the_degree_may_be_traced_and_has_a_slope():
    x, zero = jnp.array([3.0, 4.0]), jnp.zeros(2)

    def distance(degree):
        return losses.pairwise_distance(x, zero, norm_degree=degree)

    slope = jax.jit(jax.grad(distance))(2.0)
    with jax.enable_x64(True):
        step = 1e-6
        above, below = ((3**k + 4**k) ** (1 / k) for k in (2 + step, 2 - step))
    np.testing.assert_allclose(slope, (above - below) / (2 * step), rtol=1e-4)


@pytest.mark.parametrize("degree", [1, 2, 3, 0.5, math.inf])
def test_equal_embeddings_cost_the_margin_and_move_nothing(degree):
    x = jnp.array([1.0, -2.0, 3.0])
    value, gradients = jax.value_and_grad(
        losses.triplet_margin_loss, argnums=(0, 1, 2)
    )(x, x, x, margin=0.7, norm_degree=degree)
    np.testing.assert_allclose(value, 0.7)
    np.testing.assert_array_equal(gradients, 0)


def test_optax_has_no_absolute_value_in_the_triplet_distance():
    a, p, n = jnp.zeros(2), jnp.array([1.0, -1.0]), jnp.array([-1.0, -1.0])
    # City-block distances are 2 and 2: the margin remains. optax adds up signed
    # differences, to 0 and 2, and finds nothing to do.
    assert losses.triplet_margin_loss(a, p, n, norm_degree=1) == 1
    peer = optax.losses.triplet_margin_loss(a, p, n, norm_degree=1, eps=0)
    assert peer == pytest.approx(0 - 2 + 1) or peer == 0
    # Degree 3: 2 ** (1/3) twice; optax takes a root of -2.
    p = jnp.array([1.0, 1.0])
    np.testing.assert_allclose(
        losses.triplet_margin_loss(a, p, n, norm_degree=3), 1, rtol=1e-6
    )
    assert jnp.isnan(optax.losses.triplet_margin_loss(a, p, n, norm_degree=3))


def test_triplet_margin_loss_with_eps_is_that_of_optax():
    rng = np.random.default_rng(0)
    a, p, n = (jnp.asarray(rng.normal(size=6), jnp.float32) for _ in range(3))
    for eps in (1e-6, 0.3):
        np.testing.assert_allclose(
            losses.triplet_margin_loss(a, p, n, eps=eps, margin=2.0),
            optax.losses.triplet_margin_loss(a, p, n, eps=eps, margin=2.0),
            rtol=1e-5,
        )


def test_eps_in_each_difference_makes_the_distance_asymmetric():
    a, b = jnp.array([1.0]), jnp.array([3.0])
    assert losses.pairwise_distance(a, b, eps=0.5) == 1.5
    assert losses.pairwise_distance(b, a, eps=0.5) == 2.5


def test_unknown_eps_mode_and_degree_and_distance_are_refused_in_words():
    x = jnp.ones(3)
    with pytest.raises(ValueError, match="`eps_mode` must be .*, got 'both'"):
        losses.triplet_margin_loss(x, x, x, eps_mode="both")
    with pytest.raises(ValueError, match="`norm_degree` must be above 0, got 0"):
        losses.pairwise_distance(x, x, norm_degree=0)
    with pytest.raises(ValueError, match=r"`distance_fn` must .* got shape \(3,\)"):
        losses.triplet_margin_with_distance_loss(x, x, x, distance_fn=jnp.subtract)


def test_the_distance_is_never_asked_for_what_is_not_finite():
    def naive(a, b):
        return jnp.sqrt(jnp.sum((a - b) ** 2) + 1e-3)

    bad, x = jnp.array([1.0, math.inf]), jnp.ones(2)
    value, gradient = jax.value_and_grad(losses.triplet_margin_with_distance_loss)(
        bad, x, 2 * x, distance_fn=naive
    )
    assert jnp.isnan(value)
    np.testing.assert_array_equal(gradient, 0)
