"""Means of tails: beside definitions in NumPy, and what each drops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxloss import reduction

tail_mean, tilted_mean, top_k_mean, trimmed_mean, weighted_mean = map(
    jax.jit,
    (
        reduction.tail_mean,
        reduction.tilted_mean,
        reduction.top_k_mean,
        reduction.trimmed_mean,
        reduction.weighted_mean,
    ),
)

MEANS = {
    "tail": functools.partial(tail_mean, alpha=0.3),
    "tail_without_outliers": functools.partial(tail_mean, alpha=0.3, drop=0.2),
    "trimmed": functools.partial(trimmed_mean, share=0.15),
    "top_k": functools.partial(top_k_mean, k=3),
    "tilted_up": functools.partial(tilted_mean, t=0.7),
    "tilted_down": functools.partial(tilted_mean, t=-0.7),
    "tilted_by_0": functools.partial(tilted_mean, t=0.0),
}
every_mean = pytest.mark.parametrize("mean", MEANS.values(), ids=MEANS)


def drawn(seed, size):
    rng = np.random.default_rng(seed)
    losses = rng.normal(1, 2, size).astype(np.float32)
    weights = (rng.uniform(size=size) * (rng.uniform(size=size) < 0.8)).astype(
        np.float32
    )
    return losses, weights


# Independent definitions.


def value_at_risk(losses, weights, alpha):
    """The minimum of Rockafellar and Uryasev, which lies at one of the losses."""
    losses, weights = losses.astype(np.float64), weights.astype(np.float64)
    above = np.maximum(losses[None] - losses[:, None], 0)
    return np.min(losses + (weights * above).sum(1) / (alpha * weights.sum()))


def quantile_mean(losses, weights, low, high):
    """Mean of the weighted quantile function between two levels, exactly."""
    order = np.argsort(losses, kind="stable")
    x, w = losses[order].astype(np.float64), weights[order].astype(np.float64)
    level = np.append(0, np.cumsum(w)) / w.sum()
    inside = np.maximum(np.minimum(level[1:], high) - np.maximum(level[:-1], low), 0)
    return (inside * x).sum() / inside.sum()


@pytest.mark.parametrize("size", [1, 7, 10])
@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.25, 1 / 3, 0.5, 0.77, 1.0])
def test_tail_mean_is_the_minimum_of_rockafellar_and_uryasev(size, alpha):
    losses, weights = drawn(size, size)
    weights[0] = 0.5
    for w in (np.ones(size, np.float32), weights):
        got = tail_mean(losses, alpha, weights=w)
        want = value_at_risk(losses, w, alpha)
        np.testing.assert_allclose(got, want, rtol=5e-6, atol=2e-6)


def test_a_tail_that_ends_within_an_example_counts_it_in_part():
    losses = jnp.array([1.0, 4.0, 2.0, 3.0])
    np.testing.assert_allclose(tail_mean(losses, 0.375), (4 + 3 / 2) / 1.5)
    got = jax.grad(tail_mean)(losses, 0.375)
    np.testing.assert_allclose(got, np.array([0, 1, 0, 0.5]) / 1.5)


@pytest.mark.parametrize("drop", [0.0, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("alpha", [0.1, 0.3, 1.0])
def test_tail_mean_without_outliers_is_the_tail_of_the_rest(alpha, drop):
    losses, _ = drawn(3, 20)
    rest = np.sort(losses)[: round(20 * (1 - drop))]
    want = value_at_risk(rest, np.ones_like(rest), alpha)
    np.testing.assert_allclose(tail_mean(losses, alpha, drop), want, rtol=5e-6)


def test_tails_of_no_width_are_the_loss_they_point_at():
    losses = jnp.array([3.0, 1.0, 4.0, 2.0])
    assert tail_mean(losses, 0.0) == 4
    assert tail_mean(losses, 0.0, drop=0.5) == 2
    assert tail_mean(losses, 0.3, drop=1.0) == 1
    assert tail_mean(losses, 1.0) == 2.5


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.37, 0.49])
def test_trimmed_mean_is_the_mean_of_the_middle_quantiles(share):
    for seed in range(3):
        losses, weights = drawn(seed, 20)
        for w in (np.ones_like(losses), weights):
            want = quantile_mean(losses, w, share, 1 - share)
            got = trimmed_mean(losses, share, weights=w)
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.45])
def test_trimmed_mean_of_whole_examples_is_that_of_scipy(share):
    losses, _ = drawn(5, 40)
    want = scipy.stats.trim_mean(losses.astype(np.float64), share)
    np.testing.assert_allclose(trimmed_mean(losses, share), want, rtol=2e-6)


@pytest.mark.parametrize("k", [0, 1, 3, 8, 100])
def test_top_k_mean_is_that_of_the_sorted(k):
    losses, weights = drawn(7, 12)
    there = np.flatnonzero(weights)
    chosen = there[np.argsort(-losses[there], kind="stable")][:k]
    want = np.average(losses[chosen], weights=weights[chosen]) if k else 0
    np.testing.assert_allclose(top_k_mean(losses, k, weights=weights), want, rtol=2e-6)


@pytest.mark.parametrize("t", [-30.0, -1.0, -1e-2, -1e-4, 1e-6, 1e-3, 0.1, 2.0, 50.0])
def test_tilted_mean_is_its_definition(t):
    losses, weights = drawn(9, 33)
    with np.errstate(all="raise"):
        wide = losses.astype(np.longdouble)
        w = weights.astype(np.longdouble) / weights.sum(dtype=np.longdouble)
        want = np.log((w * np.exp(np.longdouble(t) * wide)).sum()) / np.longdouble(t)
    got = tilted_mean(losses, t, weights=weights)
    np.testing.assert_allclose(got, want.astype(np.float64), rtol=2e-6)


def test_tilted_mean_never_overflows():
    value_and_gradient = jax.jit(jax.value_and_grad(tilted_mean))
    for scale in (1e-30, 1e-20, 1.0, 1e20, 1e30, 3e38):
        losses = np.array([0.25, 1.0, 0.5, -1.0], np.float32) * np.float32(scale)
        for t in (0.0, 1e-40, 1e-20, 1.0, 1e20, 3e38, np.inf):
            for tilt in (t, -t):
                value, gradient = value_and_gradient(losses, tilt)
                slack = 1e-6 * np.float32(scale)
                assert losses.min() - slack <= value <= losses.max() + slack
                if 1e-20 <= scale <= 1e30:
                    assert (gradient >= 0).all()
                    np.testing.assert_allclose(gradient.sum(), 1, rtol=1e-6)


def test_tilted_mean_rises_from_the_smallest_through_the_mean_to_the_largest():
    losses, weights = drawn(11, 17)
    tilts = jnp.array([-jnp.inf, -1e9, *np.linspace(-5, 5, 101), 1e9, jnp.inf])
    means = jax.vmap(lambda t: tilted_mean(losses, t, weights=weights))(tilts)
    assert (np.diff(means) > -1e-6).all()
    there = losses[weights > 0]
    np.testing.assert_allclose(means[:2], there.min(), rtol=1e-6)
    np.testing.assert_allclose(means[-2:], there.max(), rtol=1e-6)
    np.testing.assert_array_equal(
        tilted_mean(losses, 0.0, weights=weights).round(5),
        weighted_mean(losses, weights).round(5),
    )


def test_tilted_mean_has_the_derivatives_of_its_definition_around_0():
    losses = jnp.array([1.0, 2.0, 6.0])
    slope_in_t = jax.jit(jax.grad(tilted_mean, 1))
    np.testing.assert_allclose(
        slope_in_t(losses, 0.0), np.var([1, 2, 6]) / 2, rtol=1e-6
    )
    assert jnp.isfinite(jax.jit(jax.hessian(tilted_mean))(losses, 0.0)).all()


# What all of them promise.


@every_mean
def test_gradient_is_the_slope(mean):
    losses, weights = drawn(13, 15)
    with jax.enable_x64(True):
        wide, w = losses.astype(np.float64), weights.astype(np.float64)
        gradient = jax.jit(jax.grad(lambda x: mean(x, weights=w)))(jnp.asarray(wide))
        for i in range(wide.size):
            step = np.zeros_like(wide)
            step[i] = 1e-6
            slope = mean(wide + step, weights=w) - mean(wide - step, weights=w)
            np.testing.assert_allclose(gradient[i], slope / 2e-6, rtol=1e-6, atol=1e-8)


@every_mean
def test_gradient_in_the_weights_is_the_slope(mean):
    losses, weights = drawn(14, 9)
    with jax.enable_x64(True):
        wide, w = losses.astype(np.float64), weights.astype(np.float64) + 0.1
        gradient = jax.jit(jax.grad(lambda w: mean(wide, weights=w)))(jnp.asarray(w))
        for i in range(wide.size):
            step = np.zeros_like(wide)
            step[i] = 1e-7
            slope = mean(wide, weights=w + step) - mean(wide, weights=w - step)
            np.testing.assert_allclose(gradient[i], slope / 2e-7, rtol=1e-5, atol=1e-7)


def test_what_is_dropped_has_gradient_0():
    losses = jnp.arange(10.0)
    tail = jax.grad(tail_mean)(losses, 0.3, 0.2)
    np.testing.assert_allclose(tail[:5], 0)
    np.testing.assert_allclose(tail[8:], 0)
    trimmed = jax.grad(trimmed_mean)(losses, 0.3)
    np.testing.assert_array_equal(trimmed[jnp.array([0, 1, 2, 7, 8, 9])], 0)
    top = jax.grad(top_k_mean)(losses, 2)
    np.testing.assert_array_equal(top, [0] * 8 + [0.5] * 2)


def test_of_equal_losses_the_first_is_the_larger():
    losses = jnp.ones(4)
    np.testing.assert_array_equal(jax.grad(top_k_mean)(losses, 2), [0.5, 0.5, 0, 0])
    np.testing.assert_array_equal(jax.grad(tail_mean)(losses, 0.25), [1, 0, 0, 0])
    np.testing.assert_array_equal(jax.grad(tail_mean)(losses, 1, 0.75), [0, 0, 0, 1])
    trimmed = jax.grad(trimmed_mean)(losses, 0.25)
    np.testing.assert_array_equal(trimmed, [0, 0.5, 0.5, 0])


@every_mean
def test_weight_zero_keeps_poison_out(mean):
    losses, weights = drawn(15, 12)
    absent = [2, 7]
    weights[absent] = 0
    results = jax.jit(jax.value_and_grad(lambda x, w: mean(x, weights=w)))
    for w in (weights, weights > 0):
        want = results(losses, w)
        for poison in (np.nan, np.inf, -np.inf, 3e38):
            spoilt = losses.copy()
            spoilt[absent] = poison
            got = results(spoilt, w)
            np.testing.assert_array_equal(got[0], want[0])
            np.testing.assert_array_equal(got[1], want[1])
            np.testing.assert_array_equal(np.asarray(got[1])[absent], 0)


@every_mean
def test_padding_changes_nothing(mean):
    losses, _ = drawn(16, 11)
    padded = jnp.pad(losses, (3, 5), constant_values=99)
    where = jnp.pad(jnp.ones(11, bool), (3, 5))
    np.testing.assert_allclose(mean(padded, weights=where), mean(losses), rtol=2e-6)


@every_mean
def test_a_nan_with_a_weight_is_seen(mean):
    for place in range(4):
        losses = jnp.array([1.0, 2.0, 3.0, 4.0]).at[place].set(jnp.nan)
        assert jnp.isnan(mean(losses))
    assert jnp.isnan(mean(jnp.ones(3), weights=jnp.array([1.0, -0.5, 1.0])))


@every_mean
def test_nothing_counted_is_zero_with_gradient_zero(mean):
    for losses in ([1.0, 2.0], [jnp.nan, jnp.inf], []):
        losses = jnp.array(losses)
        none = jnp.zeros(losses.shape, bool)
        value, gradient = jax.value_and_grad(mean)(losses, weights=none)
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)


@every_mean
def test_the_order_of_the_examples_does_not_matter(mean):
    losses, weights = drawn(17, 31)
    order = np.random.default_rng(0).permutation(31)
    np.testing.assert_allclose(
        mean(losses[order], weights=weights[order]),
        mean(losses, weights=weights),
        rtol=5e-6,
    )


@every_mean
def test_a_shift_of_all_losses_shifts_it(mean):
    losses, weights = drawn(18, 31)
    np.testing.assert_allclose(
        mean(losses + 3, weights=weights), mean(losses, weights=weights) + 3, rtol=5e-6
    )


@every_mean
def test_any_shape_and_half_precision(mean):
    losses, weights = drawn(19, 12)
    folded = mean(losses.reshape(3, 4), weights=weights.reshape(3, 4))
    np.testing.assert_array_equal(folded, mean(losses, weights=weights))
    narrow = jnp.asarray(losses, jnp.bfloat16)
    got = mean(narrow)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, mean(narrow.astype(jnp.float32)), rtol=1e-6)
    assert jax.grad(mean)(narrow).dtype == jnp.bfloat16


@every_mean
def test_shapes_must_agree(mean):
    with pytest.raises(ValueError, match="`weights` must have the shape of `losses`"):
        mean(jnp.ones(4), weights=jnp.ones((4, 1)))
    with pytest.raises(TypeError, match="`losses` must be floating"):
        mean(jnp.ones(4, jnp.int32))


def test_options_are_traced_and_compile_once():
    traces = []

    def together(losses, alpha, drop, share, k, t):
        traces.append(1)
        return (
            reduction.tail_mean(losses, alpha, drop)
            + reduction.trimmed_mean(losses, share)
            + reduction.top_k_mean(losses, k)
            + reduction.tilted_mean(losses, t)
        )

    compiled = jax.jit(together)
    losses, _ = drawn(21, 10)
    steps = [(0.1 * i, 0.2 * i, 0.1 * i, i, 1.0 - i) for i in range(3)]
    values = [compiled(losses, *options) for options in steps]
    assert len(traces) == 1
    plain = [together(losses, *options) for options in steps]
    np.testing.assert_allclose(values, plain, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: reduction.tail_mean(x, 1.5),
            r"`alpha` must be in \[0, 1\], got 1.5",
        ),
        (
            lambda x: reduction.tail_mean(x, 0.5, -0.1),
            r"`drop` must be in \[0, 1\], got -0.1",
        ),
        (
            lambda x: reduction.trimmed_mean(x, 0.5),
            r"`share` must be in \[0, 0.5\), got 0.5",
        ),
        (lambda x: reduction.top_k_mean(x, -1), "`k` must not be below 0, got -1"),
    ],
)
def test_options_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones(3))


def test_a_large_batch_keeps_its_tail():
    # Running sums of a million weights, in single precision.
    losses = np.random.default_rng(0).permutation(1_000_000).astype(np.float32)
    got = tail_mean(losses, 0.001, weights=np.full(1_000_000, 0.1, np.float32))
    np.testing.assert_allclose(got, 999_500, rtol=1e-5)
