"""What is peculiar to `jaxloss.losses.alignment`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxloss import checked, per_sample
from jaxloss.losses import soft_dtw
from tests.catalogue.alignment import alignments, costs, soft_minimum

results = jax.jit(
    jax.value_and_grad(soft_dtw, argnums=(0, 1)), static_argnames="bandwidth"
)
PREDICTIONS, TARGETS = (
    np.random.default_rng(0).normal(0, 1, (n, 2)).astype(np.float32) for n in (4, 5)
)


def walk(*shape, seed=0):
    """A random walk: neighbours in time are alike."""
    steps = np.random.default_rng(seed).normal(0, 0.3, shape)
    return np.cumsum(steps, axis=0).astype(np.float32)


def by_recursion(x, y, gamma):
    """The table of the paper, in float64."""
    table = np.full((len(x) + 1, len(y) + 1), np.inf)
    table[0, 0] = 0
    for i, row in enumerate(np.asarray(x, np.float64)):
        for j, column in enumerate(np.asarray(y, np.float64)):
            before = np.array([table[i, j], table[i, j + 1], table[i + 1, j]])
            least = -gamma * np.logaddexp.reduce(-before / gamma)
            table[i + 1, j + 1] = ((row - column) ** 2).sum() + least
    return table[-1, -1]


@pytest.mark.parametrize(
    ("rows", "columns", "count"), [(1, 1, 1), (1, 5, 1), (2, 2, 3), (3, 3, 13)]
)
def test_of_equal_steps_it_counts_the_alignments(rows, columns, count):
    x, y = jnp.ones((3, 2)), jnp.ones((5, 2))
    assert len(alignments(rows, columns)) == count
    loss, gradients = results(x, y, rows, columns, gamma=2.0)
    np.testing.assert_allclose(loss, -2 * np.log(count), rtol=1e-6)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("bandwidth", [None, 0, 1, 2])
def test_it_is_the_soft_minimum_over_alignments_for_all_short_lengths(bandwidth):
    loss = jax.jit(functools.partial(soft_dtw, bandwidth=bandwidth, gamma=0.5))
    for rows in range(5):
        for columns in range(6):
            want = soft_minimum(
                PREDICTIONS.astype(np.float64),
                TARGETS.astype(np.float64),
                *(rows, columns, 0.5, bandwidth),
            )
            got = loss(PREDICTIONS, TARGETS, rows, columns)
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.01, 1.0, 100.0])
def test_it_agrees_with_the_recursion_on_long_series(gamma):
    x, y = walk(60, 3), walk(50, 3, seed=1)
    got = soft_dtw(x, y, 60, 50, gamma=gamma)
    np.testing.assert_allclose(got, by_recursion(x, y, gamma), rtol=2e-6)


def test_it_keeps_its_digits_over_a_thousand_steps():
    """In units of gamma the table reaches 17,000: 2 digits behind the point."""
    x = walk(1000, 4)
    noise = np.random.default_rng(1).normal(0, 0.5, (900, 4)).astype(np.float32)
    y = x[50:950] + noise
    loss, gradients = results(x, y, 1000, 900, gamma=0.1)
    with jax.enable_x64(True):
        wide = x.astype(np.float64), y.astype(np.float64)
        exact, exact_gradients = results(*wide, 1000, 900, gamma=0.1)
    assert 1500 < float(exact) < 2000
    np.testing.assert_allclose(loss, exact, rtol=5e-7)
    for gradient, want in zip(gradients, exact_gradients, strict=True):
        np.testing.assert_allclose(gradient, want, atol=3e-6 * np.abs(want).max())


def test_a_pair_pulls_by_how_probable_it_is():
    """The expected alignment, by enumeration."""
    x, y = PREDICTIONS.astype(np.float64), TARGETS.astype(np.float64)
    each = costs(x, y, 4, 5)
    expected = np.zeros((4, 5))
    for path, chance in zip(
        alignments(4, 5), scipy.special.softmax(-each / 0.5), strict=True
    ):
        for pair in path:
            expected[pair] += chance
    pull = 2 * expected[..., None] * (x[:, None] - y[None])
    _, (by_x, by_y) = results(PREDICTIONS, TARGETS, 4, 5, gamma=0.5)
    np.testing.assert_allclose(by_x, pull.sum(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_y, -pull.sum(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [1e-3, 1e-6, 1e-12])
def test_small_gamma_is_dynamic_time_warping(gamma):
    each = costs(PREDICTIONS.astype(np.float64), TARGETS.astype(np.float64), 4, 5)
    loss, gradients = results(PREDICTIONS, TARGETS, 4, 5, gamma=gamma)
    assert loss <= each.min() * (1 + 1e-6)
    assert loss >= each.min() * (1 - 1e-6) - gamma * np.log(len(each))
    (best,) = (p for p, c in zip(alignments(4, 5), each, strict=True) if c == min(each))
    pull = np.zeros_like(PREDICTIONS)
    for row, column in best:
        pull[row] += 2 * (PREDICTIONS[row] - TARGETS[column])
    np.testing.assert_allclose(gradients[0], pull, rtol=1e-2 if gamma > 1e-4 else 1e-5)
    second = jax.jit(jax.hessian(soft_dtw))(PREDICTIONS, TARGETS, 4, 5, gamma=gamma)
    assert jnp.isfinite(second).all()


def test_equally_good_alignments_share():
    """As steps before and after, or with both at once."""
    x, y = jnp.array([[0.0], [2.0]]), jnp.array([[1.0], [1.0]])
    for gamma in (1e-3, 1e-12):  # each costs 1 for a pair, so the diagonal is the best
        np.testing.assert_array_equal(
            results(x, y, 2, 2, gamma=gamma)[1], [[[-2], [2]], [[2], [-2]]]
        )
    x = jnp.array([[0.0], [0.0], [2.0]])
    _, (by_x, by_y) = results(x, y, 3, 2, gamma=1e-12)  # 0 or 2 pairs with a second one
    np.testing.assert_array_equal(by_x, [[-2], [-2], [2]])
    np.testing.assert_array_equal(by_y, [[3], [-1]])


def test_it_may_be_negative_and_least_elsewhere_than_at_equality():
    x = jnp.array([[0.0], [1.0], [0.0]])
    loss, (gradient, _) = results(x, x, 3, 3)
    assert loss < 0
    assert jnp.abs(gradient).max() > 0.1


def test_nothing_in_the_padding_reaches_value_or_gradient():
    wants = results(PREDICTIONS[:3], TARGETS[:4], 3, 4)
    for poison in (np.nan, np.inf, -np.inf, 3e38):
        x, y = PREDICTIONS.copy(), TARGETS.copy()
        x[3:], y[4:] = poison, poison
        loss, (by_x, by_y) = results(x, y, 3, 4)
        np.testing.assert_array_equal(loss, wants[0])
        np.testing.assert_allclose(by_x[:3], wants[1][0], rtol=1e-6)
        np.testing.assert_allclose(by_y[:4], wants[1][1], rtol=1e-6)
        np.testing.assert_array_equal(by_x[3:], 0)
        np.testing.assert_array_equal(by_y[4:], 0)
        kernel = checked(per_sample(soft_dtw))
        kernel(x[None], y[None], np.array([3]), np.array([4]))


def test_outside_the_band_nothing_is_paired():
    wide = results(PREDICTIONS, TARGETS, 4, 5, bandwidth=4)
    full = results(PREDICTIONS, TARGETS, 4, 5)
    jax.tree.map(np.testing.assert_array_equal, wide, full)
    loss, (by_x, by_y) = results(PREDICTIONS, TARGETS, 4, 4, bandwidth=0)
    apart = PREDICTIONS - TARGETS[:4]
    np.testing.assert_allclose(loss, (apart**2).sum(), rtol=1e-6)
    np.testing.assert_allclose(by_x, 2 * apart, rtol=1e-6)
    np.testing.assert_array_equal(by_y[4], 0)


@pytest.mark.parametrize(
    ("rows", "columns", "bandwidth"),
    [(4, 2, 1), (1, 5, 3), (0, 1, None), (4, 0, None), (0, 5, 9)],
)
def test_without_an_alignment_it_is_inf_and_moves_nothing(rows, columns, bandwidth):
    loss, gradients = results(PREDICTIONS, TARGETS, rows, columns, bandwidth=bandwidth)
    assert loss == jnp.inf
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 1)])
def test_arrays_may_be_empty(shape):
    x, y = jnp.ones((shape[0], 2)), jnp.ones((shape[1], 2))
    loss, gradients = results(x, y, *shape)
    assert loss == (0 if shape[0] == shape[1] else jnp.inf)
    assert [g.shape for g in gradients] == [x.shape, y.shape]
    assert results(x, y, 0, 0)[0] == 0


@pytest.mark.parametrize(
    ("rows", "columns", "wanted"),
    [
        (5, 5, r"`prediction_length` must be in \[0, 4\], got 5"),
        (-1, 5, r"`prediction_length` must be in \[0, 4\], got -1"),
        (4, 6, r"`target_length` must be in \[0, 5\], got 6"),
        (4, -1, r"`target_length` must be in \[0, 5\], got -1"),
    ],
)
def test_a_length_that_cannot_be_is_nan_with_gradient_zero(rows, columns, wanted):
    example = PREDICTIONS, TARGETS, np.array(rows), np.array(columns)
    loss, gradients = results(*example)
    assert jnp.isnan(loss)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)
    with pytest.raises(ValueError, match=wanted):
        checked(per_sample(soft_dtw))(*(x[None] for x in example))


def test_the_softness_has_a_derivative_too():
    """By gamma it is minus the entropy of the alignments."""
    each = costs(PREDICTIONS.astype(np.float64), TARGETS.astype(np.float64), 4, 5)
    chances = scipy.special.softmax(-each / 0.5)
    slope = jax.jit(
        jax.grad(
            lambda g: soft_dtw(PREDICTIONS, TARGETS, 4, 5, gamma=g, bandwidth=None)
        )
    )
    want = -scipy.special.entr(chances).sum()
    np.testing.assert_allclose(slope(0.5), want, rtol=1e-5)
    kernel = per_sample(soft_dtw, gamma=jnp.array(0.5))
    np.testing.assert_allclose(
        kernel(PREDICTIONS[None], TARGETS[None], np.array([4]), np.array([5])),
        [soft_dtw(PREDICTIONS, TARGETS, 4, 5, gamma=0.5)],
        rtol=1e-6,
    )


def test_a_softness_or_band_that_cannot_be_is_refused():
    for gamma in (0, -1.0):
        with pytest.raises(ValueError, match="`gamma` must be above 0"):
            soft_dtw(PREDICTIONS, TARGETS, 4, 5, gamma=gamma)
        loss, gradients = results(PREDICTIONS, TARGETS, 4, 5, gamma=jnp.float32(gamma))
        assert jnp.isnan(loss)
        for gradient in gradients:
            np.testing.assert_array_equal(gradient, 0)
    for bandwidth in (-1, 1.5):
        with pytest.raises(ValueError, match="`bandwidth` must be a whole number"):
            soft_dtw(PREDICTIONS, TARGETS, 4, 5, bandwidth=bandwidth)  # pyright: ignore[reportArgumentType]


def test_series_of_different_features_are_refused():
    with pytest.raises(ValueError, match="`targets` must have shape .* 2 features"):
        soft_dtw(PREDICTIONS, jnp.ones((5, 3)), 4, 5)
