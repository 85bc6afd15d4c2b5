"""What the scores of one example promise beyond the laws of the contract."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import losses, per_sample

INF, NAN = jnp.inf, jnp.nan


def test_error_norm_by_hand():
    logits = jnp.log(jnp.array([0.5, 0.25, 0.25]))
    np.testing.assert_allclose(
        losses.error_norm(logits, 0), np.sqrt(0.25 + 2 / 16), rtol=1e-6
    )
    np.testing.assert_allclose(
        losses.error_norm(logits, 2), np.sqrt(0.25 + 1 / 16 + 9 / 16), rtol=1e-6
    )


def test_error_norm_is_the_norm_of_the_gradient_of_the_cross_entropy():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(0, 3, (64, 7)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 7, 64))
    cross_entropy = losses.softmax_cross_entropy_with_integer_labels
    gradients = jax.vmap(jax.grad(cross_entropy))(logits, labels)
    np.testing.assert_allclose(
        per_sample(losses.error_norm)(logits, labels),
        jnp.linalg.norm(gradients, axis=-1),
        rtol=2e-6,
    )


@pytest.mark.parametrize("lead", [5.0, 20.0, 40.0, 80.0])
def test_error_norm_of_a_nearly_certain_label_is_accurate(lead):
    others = np.exp(-np.array([lead, lead + 1], np.float64))
    wrong = others / (1 + others.sum())
    exact = np.sqrt(wrong.sum() ** 2 + (wrong**2).sum())
    got = losses.error_norm(jnp.array([0.0, -lead, -lead - 1]), 0)
    np.testing.assert_allclose(got, exact, rtol=2e-6)


def test_error_norm_is_at_most_the_diagonal_and_does_not_see_a_shift():
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(0, 50, (256, 4)).round(), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 4, 256))
    norms = per_sample(losses.error_norm)(logits, labels)
    assert (norms <= np.float32(np.sqrt(2))).all()
    np.testing.assert_array_equal(
        per_sample(losses.error_norm)(logits + 1024, labels), norms
    )


def test_error_norm_of_a_single_or_an_impossible_class():
    assert losses.error_norm(jnp.array([3.0]), 0) == 0
    np.testing.assert_allclose(
        losses.error_norm(jnp.array([0.0, -INF]), 1), np.sqrt(2), rtol=1e-7
    )
    assert losses.error_norm(jnp.array([0.0, -INF]), 0) == 0


@pytest.mark.parametrize(
    "logits", [[-INF, -INF], [INF, 0.0], [INF, INF], [NAN, 0.0], [-INF, NAN]]
)
@pytest.mark.parametrize("temperature", [None, 1.0])
def test_scores_without_probabilities_are_nan_with_gradient_0(logits, temperature):
    for score in (
        losses.error_norm,
        lambda z, y: losses.margin(z, y, temperature=temperature),
    ):
        value, gradient = jax.value_and_grad(score)(jnp.array(logits), 0)
        assert jnp.isnan(value)
        np.testing.assert_array_equal(gradient, 0)


def test_margin_and_impossible_classes():
    assert losses.margin(jnp.array([1.0, -INF, -INF]), 0) == INF
    assert losses.margin(jnp.array([1.0, -INF, -INF]), 1) == -INF
    assert losses.margin(jnp.array([1.0, -INF, 3.0]), 0) == -2
    assert losses.margin(jnp.array([1.0, -INF]), 0, temperature=1.0) == 1
    assert losses.margin(jnp.array([1.0, -INF]), 1, temperature=1.0) == -1


def test_margin_of_a_class_that_shares_the_top_is_0():
    logits = jnp.array([2.0, 2.0, 0.0])
    assert losses.margin(logits, 0) == losses.margin(logits, 1) == 0
    assert losses.margin(logits, 1, temperature=0.5) == 0


@pytest.mark.parametrize("temperature", [1e-30, 1e-3, 1e30])
def test_a_tempered_margin_is_bounded_for_logits_of_any_size(temperature):
    for logits in ([3e38, -3e38, 0.0], [3e38, 2e38, -INF], [1.0, 0.5, 0.25]):
        score = jax.value_and_grad(losses.margin)
        value, gradient = score(jnp.array(logits), 0, temperature=temperature)
        assert 0 <= value <= 1
        assert jnp.isfinite(gradient).all()


def test_a_temperature_may_be_traced_and_must_be_above_0():
    logits = jnp.array([2.0, 0.5, 1.5])
    tempered = jax.jit(lambda t: losses.margin(logits, 0, temperature=t))
    for temperature in (0.5, 1.0, 4.0):
        p = np.exp(np.array([2.0, 0.5, 1.5]) / temperature)
        p /= p.sum()
        np.testing.assert_allclose(tempered(temperature), p[0] - p[2], rtol=2e-6)
    with pytest.raises(ValueError, match="`temperature` must be above 0, got 0"):
        losses.margin(logits, 0, temperature=0)


def test_a_margin_needs_a_rival():
    with pytest.raises(ValueError, match="at least two classes, got 1"):
        losses.margin(jnp.zeros(1), 0)
