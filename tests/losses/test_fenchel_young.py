"""What is peculiar to the losses made from a maximum."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import losses


def _log_sum_exp(scores):
    return jax.nn.logsumexp(scores)


def test_sparsemax_loss_by_hand():
    logits = jnp.array([-2.0, -0.5, 0.0, 0.5, 2.0])
    each = jax.vmap(losses.sparsemax_loss, (0, None))(logits, 1.0)
    np.testing.assert_allclose(each, [2, 0.5625, 0.25, 0.0625, 0], atol=1e-7)
    np.testing.assert_allclose(
        each, optax.losses.sparsemax_loss(logits, jnp.ones(5, int)), atol=1e-7
    )


def test_optax_takes_any_target_for_yes_where_ours_is_linear_in_it():
    assert optax.losses.sparsemax_loss(jnp.array(2.0), jnp.array(0.5)) == 0
    # 0.5 h(2) + 0.5 h(-2) = 1
    assert losses.sparsemax_loss(2.0, 0.5) == 1


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_multiclass_sparsemax_loss_does_not_feel_an_offset(offset):
    score = jnp.array([1.0, 0.5, -3.0]) + offset
    assert losses.multiclass_sparsemax_loss(score, 0) == 0.0625


def test_multiclass_sparsemax_takes_one_example_where_optax_wants_a_batch():
    score = jnp.array([0.3, 0.1, -0.4, 0.2])
    with pytest.raises(ValueError):
        optax.losses.multiclass_sparsemax_loss(score, jnp.array(1))
    with jax.numpy_dtype_promotion("standard"):
        (theirs,) = optax.losses.multiclass_sparsemax_loss(score[None], jnp.array([1]))
    np.testing.assert_allclose(
        losses.multiclass_sparsemax_loss(score, 1), theirs, rtol=1e-6
    )


def test_multiclass_sparsemax_gradient_is_the_projection_less_the_label():
    # The simplex point nearest to (1, 0.5, -3) is (0.75, 0.25, 0).
    score = jnp.array([1.0, 0.5, -3.0])
    gradient = jax.grad(losses.multiclass_sparsemax_loss)
    np.testing.assert_allclose(gradient(score, 0), [-0.25, 0.25, 0], atol=1e-7)
    np.testing.assert_allclose(gradient(score, 2), [0.75, 0.25, -1], atol=1e-7)


def test_multiclass_sparsemax_is_zero_from_a_lead_of_one_on():
    value_and_grad = jax.value_and_grad(losses.multiclass_sparsemax_loss)
    for lead in (1.0, 1.5, jnp.inf):
        value, gradient = value_and_grad(jnp.array([lead, 0.0, 0.0]), 0)
        assert value == 0 and (gradient == 0).all()


def test_multiclass_sparsemax_with_ties_and_impossible_classes():
    value_and_grad = jax.value_and_grad(losses.multiclass_sparsemax_loss)
    value, gradient = value_and_grad(jnp.array([2.0, 2.0, -jnp.inf, 2.0]), 0)
    # p = 1/3 three times: half the squared distance of p to the label.
    np.testing.assert_allclose(value, (4 / 9 + 2 / 9) / 2, rtol=1e-6)
    np.testing.assert_allclose(gradient, [-2 / 3, 1 / 3, 0, 1 / 3], rtol=1e-6)
    assert losses.multiclass_sparsemax_loss(jnp.array([0.0, -jnp.inf]), 1) == jnp.inf
    assert jnp.isnan(losses.multiclass_sparsemax_loss(jnp.full(2, -jnp.inf), 1))


def test_a_fenchel_young_loss_of_the_plain_maximum_is_the_perceptron():
    loss = losses.make_fenchel_young_loss(jnp.max)
    score = jnp.array([0.3, 1.2, -0.4])
    np.testing.assert_allclose(
        loss(score, jnp.array([1.0, 0, 0])),
        losses.multiclass_perceptron_loss(score, 0),
        rtol=1e-6,
    )


def test_a_fenchel_young_loss_has_the_values_of_optax():
    score, target = jnp.array([0.3, 1.2, -0.4]), jnp.array([0.2, 0.5, 0.3])
    np.testing.assert_allclose(
        losses.make_fenchel_young_loss(_log_sum_exp)(score, target),
        optax.losses.make_fenchel_young_loss(_log_sum_exp)(score, target),
        rtol=1e-6,
    )
