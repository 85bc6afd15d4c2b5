"""What is peculiar to `jaxloss.losses.adaptive`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import per_sample
from jaxloss.losses import (
    adaptive_log_softmax_loss,
    softmax_cross_entropy_with_integer_labels,
)
from tests.catalogue.adaptive import BIAS, HEAD, TAILS, full_log_prob
from tests.test_contract import central_difference

HIDDEN = np.linspace(-1, 1, 6, dtype=np.float32)


def test_the_probabilities_of_all_classes_sum_to_one():
    kernel = per_sample(adaptive_log_softmax_loss, in_axes=(None, 0, None, None, None))
    losses = kernel(HIDDEN, np.arange(7), HEAD, TAILS, BIAS)
    np.testing.assert_allclose(jnp.sum(jnp.exp(-losses)), 1, rtol=1e-6)
    np.testing.assert_allclose(
        -losses, full_log_prob(HIDDEN, HEAD, TAILS, BIAS), rtol=1e-5
    )


def test_without_tails_it_is_the_plain_softmax():
    np.testing.assert_allclose(
        adaptive_log_softmax_loss(HIDDEN, 3, HEAD, ()),
        softmax_cross_entropy_with_integer_labels(HIDDEN @ HEAD, 3),
        rtol=1e-6,
    )


@pytest.mark.parametrize("label", [0, 2, 6])
def test_every_parameter_gets_the_slope_of_the_definition(label):
    parameters = [x.astype(np.float64) for x in (HEAD, *TAILS[0], *TAILS[1], BIAS)]

    def arranged(head, a, b, c, d, bias):
        return head, ((a, b), (c, d)), bias

    with jax.enable_x64(True):
        gradients = jax.jit(
            jax.grad(
                lambda *p: adaptive_log_softmax_loss(HIDDEN, label, *arranged(*p)),
                argnums=range(6),
            )
        )(*parameters)
        for i, gradient in enumerate(gradients):

            def reference(x, i=i):
                changed = (*parameters[:i], x, *parameters[i + 1 :])
                return -full_log_prob(HIDDEN, *arranged(*changed))[label]

            numeric = central_difference(reference, parameters[i])
            np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)
    own = {0: (), 2: (1, 2), 6: (3, 4)}[label]
    for i in range(1, 5):
        assert (i in own) == bool(np.any(gradients[i]))


def test_a_cluster_that_is_impossible_leaves_the_others_alone():
    bias = BIAS.copy()
    bias[3] = -np.inf
    results = jax.value_and_grad(adaptive_log_softmax_loss)
    loss, gradient = results(jnp.asarray(HIDDEN, jnp.float32), 6, HEAD, TAILS, bias)
    assert loss == jnp.inf and jnp.isfinite(gradient).all()
    want = adaptive_log_softmax_loss(HIDDEN, 3, HEAD[:, :3], TAILS[:1], BIAS[:3])
    got = adaptive_log_softmax_loss(HIDDEN, 3, HEAD, TAILS, bias)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_parameters_that_do_not_fit_are_refused_in_words():
    (first, weights), second = TAILS
    for head, tails, bias, words in [
        (HEAD[:5], TAILS, None, "`head` must have shape .*6 features"),
        (HEAD[0], TAILS, None, "`head` must have shape"),
        (HEAD, ((first[:5], weights), second), None, r"`tails\[0\]\[0\]` must have"),
        (HEAD, ((first[:, :2], weights), second), None, r"2 narrow_0.*got \(3, 3\)"),
        (HEAD, TAILS, BIAS[:3], "`head_bias` must have shape .*4 outputs"),
        (HEAD[:, :1], TAILS, None, "`head` must have at least one output for each"),
    ]:
        with pytest.raises(ValueError, match=words):
            adaptive_log_softmax_loss(HIDDEN, 0, head, tails, bias)
