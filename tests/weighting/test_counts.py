"""Weights of classes from their counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.weighting import class_balanced, inverse_frequency

COUNTS = np.array([1, 10, 1000, 0, 50_000_000])


def reference(counts, beta):
    """Cui et al., in float64 and summed term by term where that is possible."""
    effective = np.array([-np.expm1(n * np.log(beta)) / (1 - beta) for n in counts])
    weights = np.divide(1, effective, out=np.zeros(len(counts)), where=counts > 0)
    return weights / weights[counts > 0].mean()


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.999, 0.9999999])
def test_class_balanced_is_its_definition(beta):
    got = class_balanced(COUNTS, beta)
    np.testing.assert_allclose(got, reference(COUNTS, beta), rtol=2e-6)
    assert got.sum() == pytest.approx(4)


def test_class_balanced_sums_the_news_of_every_example():
    effective = [sum(0.9**i for i in range(n)) for n in (3, 7)]
    want = 1 / np.array(effective)
    got = class_balanced(jnp.array([3, 7]), 0.9)
    np.testing.assert_allclose(got, want / want.mean(), rtol=1e-6)


def test_the_ends_of_beta_are_no_weighting_and_inverse_frequency():
    np.testing.assert_array_equal(class_balanced(COUNTS, 0.0), [1, 1, 1, 0, 1])
    np.testing.assert_array_equal(
        class_balanced(COUNTS, 1.0), inverse_frequency(COUNTS)
    )
    near = class_balanced(COUNTS, 1 - 1e-12)
    np.testing.assert_allclose(near, inverse_frequency(COUNTS), rtol=1e-4)


def test_inverse_frequency_gives_every_class_the_same_say():
    counts = np.array([5.0, 20.0, 75.0])
    say = inverse_frequency(counts) * counts
    np.testing.assert_allclose(say, 3 / (1 / counts).sum(), rtol=1e-6)


@pytest.mark.parametrize("weigh", [class_balanced, inverse_frequency])
def test_what_does_not_occur_has_weight_0(weigh):
    got = weigh(jnp.array([2.0, 0.0, -3.0, jnp.nan, jnp.inf, 2.0]))
    np.testing.assert_allclose(got, [1, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(weigh(jnp.zeros(3)), 0)
    assert weigh(jnp.zeros(0)).shape == (0,)
    assert jnp.isfinite(weigh(jnp.array([1.0, 1e38]))).all()


@pytest.mark.parametrize("weigh", [class_balanced, inverse_frequency])
def test_no_gradient_flows_through(weigh):
    gradient = jax.grad(lambda c: (weigh(c) * c).sum())(jnp.array([1.0, 4.0]))
    np.testing.assert_array_equal(gradient, weigh(jnp.array([1.0, 4.0])))


def test_beta_and_counts_are_traced():
    traces = []

    @jax.jit
    def compiled(counts, beta):
        traces.append(1)
        return class_balanced(counts, beta)

    for beta in (0.0, 0.9, 1.0):
        np.testing.assert_allclose(
            compiled(COUNTS, beta), class_balanced(COUNTS, beta), rtol=1e-5
        )
    assert len(traces) == 1


def test_bad_counts_and_beta_are_refused():
    with pytest.raises(ValueError, match=r"`beta` must be in \[0, 1\], got 1.5"):
        class_balanced(jnp.ones(2), 1.5)
    with pytest.raises(ValueError, match=r"`counts` must have shape \(classes,\)"):
        inverse_frequency(jnp.ones((2, 2)))
