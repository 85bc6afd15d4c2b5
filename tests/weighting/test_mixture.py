"""The mixture of two groups: beside plain expectation-maximisation in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from sklearn.mixture import GaussianMixture

from jaxloss import weighting

NAN = jnp.nan
mixture = jax.jit(weighting.mixture, static_argnames="steps")


def two_groups(seed, size=400, share=0.3):
    rng = np.random.default_rng(seed)
    high = rng.uniform(size=size) < share
    losses = np.where(high, rng.normal(4, 1.2, size), rng.gamma(2, 0.3, size))
    return losses.astype(np.float32), high


def reference(losses, steps):
    """Plain EM on the losses themselves, from the best split found by trying all."""
    x = np.sort(losses.astype(np.float64))
    within = [x[:i].var() * i + x[i:].var() * (len(x) - i) for i in range(1, len(x))]
    edge = x[np.argmin(within)]
    x = losses.astype(np.float64)
    in_low = (x <= edge).astype(np.float64)

    def fit(in_low):
        groups = []
        for r in (in_low, 1 - in_low):
            mean = np.average(x, weights=r)
            variance = max(np.average((x - mean) ** 2, weights=r), 1e-3 * x.var())
            groups.append((r.mean(), mean, np.sqrt(variance)))
        return groups

    def posterior(groups, x):
        low, high = (w * scipy.stats.norm.pdf(x, m, s) for w, m, s in groups)
        return low / (low + high)

    for _ in range(steps):
        in_low = posterior(fit(in_low), x)
    groups = fit(in_low)
    return posterior(groups, np.clip(x, groups[0][1], groups[1][1])), groups


@pytest.mark.parametrize("steps", [0, 1, 10, 50])
def test_mixture_is_plain_expectation_maximisation(steps):
    for seed in range(3):
        losses, _ = two_groups(seed)
        want, _ = reference(losses, steps)
        got = mixture(losses, steps=steps)
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


def test_mixture_converges_to_the_fit_of_scikit_learn():
    losses, _ = two_groups(1, size=2000)
    peer = GaussianMixture(2, n_init=5, tol=1e-8, max_iter=1000, random_state=0)
    peer.fit(losses[:, None].astype(np.float64))
    means = np.ravel(np.asarray(peer.means_, np.float64))
    low = means.argmin()
    held = np.clip(losses, means.min(), means.max()).astype(np.float64)
    want = peer.predict_proba(held[:, None])[:, low]
    np.testing.assert_allclose(mixture(losses, steps=500), want, atol=2e-3)


def test_mixture_tells_the_groups_apart():
    losses, high = two_groups(2)
    assert ((mixture(losses) < 0.5) == high).mean() > 0.97


def test_a_larger_loss_has_no_larger_weight():
    for seed in range(5):
        losses, _ = two_groups(seed, share=0.5)
        losses = np.append(losses, [-5, 50]).astype(np.float32)
        ordered = mixture(losses)[np.argsort(losses)]
        assert (np.diff(ordered) <= 1e-6).all()
        assert ((ordered >= 0) & (ordered <= 1)).all()


def test_neither_shift_nor_scale_nor_order_matters():
    losses, _ = two_groups(3)
    want = mixture(losses)
    order = np.random.default_rng(0).permutation(losses.size)
    np.testing.assert_allclose(mixture(losses[order]), want[order], atol=1e-4)
    for scale in (1e-20, 1e20, 2e37):
        np.testing.assert_allclose(mixture(losses * np.float32(scale)), want, atol=1e-4)
    np.testing.assert_allclose(mixture(losses + 16), want, atol=1e-3)


def test_padding_nan_and_inf_have_weight_0_and_do_not_move_the_fit():
    losses, _ = two_groups(4, size=50)
    spoilt = np.insert(losses, [0, 7, 30, 50], [np.nan, np.inf, 99.0, -np.inf])
    spoilt = spoilt.astype(np.float32)
    where = spoilt != 99
    got = mixture(spoilt, where=where)
    there = where & np.isfinite(spoilt)
    np.testing.assert_array_equal(got[~there], 0)
    np.testing.assert_allclose(got[there], mixture(losses), atol=1e-4)


@pytest.mark.parametrize(
    ("losses", "want"),
    [
        ([], []),
        ([3.0], [1]),
        ([2.0, 2.0, 2.0], [1, 1, 1]),
        ([0.0, 0.0], [1, 1]),
        ([NAN, 5.0], [0, 1]),
        ([NAN, jnp.inf], [0, 0]),
        ([1.0, 9.0], [1, 0]),
        ([1.0, 1.0, 1.0, 9.0], [1, 1, 1, 0]),
        ([-3e38, 3e38], [1, 0]),
    ],
)
def test_degenerate_batches(losses, want):
    np.testing.assert_allclose(mixture(jnp.array(losses)), want, atol=1e-6)


def test_losses_of_one_kind_give_a_finite_answer():
    rng = np.random.default_rng(5)
    for losses in (rng.normal(size=300), rng.exponential(size=300), np.arange(300.0)):
        weights = mixture(losses.astype(np.float32))
        assert ((weights >= 0) & (weights <= 1)).all()


def test_no_gradient_flows_through_and_half_precision():
    losses = jnp.array([0.1, 0.2, 5.0])
    np.testing.assert_array_equal(jax.grad(lambda x: mixture(x).sum())(losses), 0)
    got = mixture(losses.astype(jnp.bfloat16))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, [1, 1, 0], atol=1e-6)


def test_steps_must_be_a_whole_number():
    with pytest.raises(ValueError, match="`steps` must be a whole number"):
        weighting.mixture(jnp.ones(3), steps=-1)
