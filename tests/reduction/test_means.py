"""Reductions: what each divides by, and what never gets through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.reduction import Total, batch_mean, weighted_mean, weighted_sum

REDUCTIONS = pytest.mark.parametrize(
    "reduce", [weighted_sum, weighted_mean, batch_mean]
)


@pytest.mark.parametrize(
    ("reduce", "by_hand"),
    [(weighted_sum, 2 * 1 + 0.5 * 4), (weighted_mean, 4 / 2.5), (batch_mean, 4 / 3)],
)
def test_by_hand(reduce, by_hand):
    losses, weights = jnp.array([1.0, 4.0, 9.0]), jnp.array([2.0, 0.5, 0.0])
    np.testing.assert_allclose(reduce(losses, weights), by_hand, rtol=1e-6)


def test_batch_mean_without_weights():
    assert batch_mean(jnp.array([1.0, 3.0])) == 2


@REDUCTIONS
@pytest.mark.parametrize("poison", [jnp.nan, jnp.inf, -jnp.inf])
def test_weight_zero_keeps_poison_out(reduce, poison):
    weights = jnp.array([1.0, 0.0, 3.0])
    clean, spoilt = jnp.array([1.0, 5.0, 2.0]), jnp.array([1.0, poison, 2.0])
    for argnums in (0, 1):
        got = jax.value_and_grad(reduce, argnums)(spoilt, weights)
        want = jax.value_and_grad(reduce, argnums)(clean, weights)
        np.testing.assert_array_equal(got[0], want[0])
        keep = np.array([True, argnums == 0, True])
        np.testing.assert_array_equal(got[1][keep], want[1][keep])
        assert jnp.isfinite(got[1]).all()


@REDUCTIONS
def test_poison_with_weight_is_seen(reduce):
    assert jnp.isnan(reduce(jnp.array([1.0, jnp.nan]), jnp.ones(2)))


@REDUCTIONS
@pytest.mark.parametrize("losses", [[1.0, 2.0], [jnp.nan, jnp.inf], []])
def test_nothing_counted_is_zero_with_gradient_zero(reduce, losses):
    losses = jnp.array(losses)
    value, gradient = jax.value_and_grad(reduce)(losses, jnp.zeros_like(losses))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_the_mean_over_weights_of_zero_does_not_move_the_weights():
    losses = jnp.array([jnp.nan, 2.0])
    np.testing.assert_array_equal(jax.grad(weighted_mean, 1)(losses, jnp.zeros(2)), 0)


def test_a_weight_of_zero_still_has_a_gradient():
    # What learning the weights from zero needs: the derivative of the sum is the loss.
    got = jax.grad(weighted_sum, 1)(jnp.array([3.0, 5.0]), jnp.zeros(2))
    np.testing.assert_array_equal(got, [3, 5])


@REDUCTIONS
def test_shapes_must_agree(reduce):
    with pytest.raises(ValueError, match=r"`weights` must have the shape of `losses`"):
        reduce(jnp.ones(4), jnp.ones((4, 1)))


@REDUCTIONS
def test_half_precision_is_summed_in_float32(reduce):
    losses = jnp.full(4096, 1.001, jnp.bfloat16)
    got = reduce(losses, jnp.ones(4096, jnp.bfloat16))
    assert got.dtype == jnp.float32
    exact = float(losses[0]) * (4096 if reduce is weighted_sum else 1)
    np.testing.assert_allclose(got, exact, rtol=1e-6)


def test_integer_losses_are_refused():
    with pytest.raises(TypeError, match="`losses` must be floating"):
        batch_mean(jnp.array([1, 2]))


@pytest.mark.parametrize("cuts", [[], [3], [0, 3, 3, 10], [1, 2, 3, 4, 5, 6]])
def test_totals_of_any_split_give_the_mean_of_the_whole(cuts):
    rng = np.random.default_rng(0)
    losses = jnp.asarray(rng.normal(size=10), jnp.float32)
    weights = jnp.asarray(rng.uniform(size=10) * (rng.uniform(size=10) < 0.7))
    weights = weights.astype(jnp.float32)

    def split_mean(losses):
        parts = zip(np.split(losses, cuts), np.split(weights, cuts), strict=True)
        total = Total.zero()
        for part in parts:
            total = total + Total.of(*part)
        return total.mean()

    def split_mean_jnp(losses):
        total = Total.zero()
        for part, w in zip(
            jnp.split(losses, cuts), jnp.split(weights, cuts), strict=True
        ):
            total = total + Total.of(part, w)
        return total.mean()

    np.testing.assert_allclose(
        split_mean(losses), weighted_mean(losses, weights), rtol=1e-5
    )
    np.testing.assert_allclose(
        jax.grad(split_mean_jnp)(losses),
        jax.grad(weighted_mean)(losses, weights),
        rtol=1e-5,
        atol=1e-7,
    )


def test_totals_add_over_a_mapped_axis_and_a_scan():
    losses = jnp.arange(6.0).reshape(3, 2)
    weights = jnp.array([[1.0, 1.0], [0.0, 2.0], [0.0, 0.0]])

    def device(losses, weights):
        total = Total.of(losses, weights)
        return jax.tree.map(lambda x: jax.lax.psum(x, "devices"), total).mean()

    means = jax.vmap(device, axis_name="devices")(losses, weights)
    np.testing.assert_allclose(means, weighted_mean(losses, weights))
    scanned = jax.lax.scan(
        lambda total, part: (total + Total.of(*part), None),
        Total.zero(),
        (losses, weights),
    )[0]
    np.testing.assert_allclose(scanned.mean(), means[0])
