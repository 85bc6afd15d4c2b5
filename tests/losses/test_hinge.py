"""What is peculiar to the losses with a margin."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import losses


@pytest.mark.parametrize(
    ("loss", "score"),
    [
        (losses.hinge_loss, 1.0),
        (losses.squared_hinge_loss, 1.0),
        (losses.perceptron_loss, 0.0),
    ],
)
def test_the_slope_at_the_kink_is_zero(loss, score):
    assert jax.grad(loss)(score, 1.0) == 0


@pytest.mark.parametrize(
    "loss",
    [
        losses.hinge_loss,
        losses.squared_hinge_loss,
        losses.perceptron_loss,
        losses.soft_margin_loss,
    ],
)
def test_a_target_of_zero_is_on_no_side(loss):
    value, slope = jax.value_and_grad(loss)(0.3, 0.0)
    assert jnp.isnan(value) and slope == 0


def test_squared_hinge_of_one_example_does_not_look_at_the_others():
    # Keras reads the row [0, 1] as labels or as sides by the rest of the batch.
    assert losses.squared_hinge_loss(jnp.array([0.5, -0.5]), jnp.array([1, -1])) == 0.25


def test_crammer_singer_and_weston_watkins_are_two_losses():
    score = jnp.array([2.0, 1.5, -3.0])
    assert losses.multiclass_hinge_loss(score, 0) == 0.5
    np.testing.assert_allclose(losses.multi_margin_loss(score, 0), 0.5 / 3, rtol=1e-6)


def test_multi_margin_weight_is_outside_the_power():
    # relu(1 - 0 + 0.5)^2 = 2.25 for one rival of two classes, times 2, over 2.
    loss = losses.multi_margin_loss(
        jnp.array([0.0, 0.5]), 0, p=2, class_weights=jnp.array([2.0, 1.0])
    )
    assert loss == 2.25


def test_multi_margin_power_is_one_or_two():
    with pytest.raises(ValueError, match="`p` must be 1 or 2, got 3"):
        losses.multi_margin_loss(jnp.zeros(3), 0, p=3)


multiclass = pytest.mark.parametrize(
    "loss",
    [
        losses.multiclass_hinge_loss,
        losses.multiclass_perceptron_loss,
        losses.multi_margin_loss,
    ],
)


@multiclass
def test_an_impossible_rival_is_none(loss):
    score = jnp.array([0.2, -jnp.inf, 0.5])
    value, gradient = jax.value_and_grad(loss)(score, 0)
    without = loss(score[jnp.array([0, 2])], 0)
    scale = 2 / 3 if loss is losses.multi_margin_loss else 1
    np.testing.assert_allclose(value, scale * without, rtol=1e-6)
    assert gradient[1] == 0
    assert loss(score, 1) == jnp.inf
    assert loss(jnp.array([0.2]), 0) == 0


def test_optax_multiclass_hinge_is_nan_for_an_impossible_rival():
    score = jnp.array([0.2, -jnp.inf, 0.5])
    assert jnp.isnan(optax.losses.multiclass_hinge_loss(score, jnp.array(0)))
    # The rival 0.5 is 0.3 ahead of 0.2, and the margin 1 wanted: 1.3.
    np.testing.assert_allclose(losses.multiclass_hinge_loss(score, 0), 1.3, rtol=1e-6)


@multiclass
def test_tied_scores_have_a_gradient_that_sums_to_zero(loss):
    gradient = jax.grad(loss)(jnp.zeros(4), 1)
    np.testing.assert_allclose(gradient.sum(), 0, atol=1e-7)


@pytest.mark.parametrize("classes", [40, 300, 307])  # 307 have no equal rows
def test_the_first_of_the_highest_rivals_moves_also_among_many_that_tie(classes):
    rng = np.random.default_rng(0)
    score = rng.integers(-3, 4, (64, classes)).astype(np.float32)
    label = rng.integers(0, classes, 64)
    label[:16] = 0
    score[:8, 0], score[8:16, 0] = 3, 3.5  # the label ties and is first, or leads
    score[::2] *= 1e-30  # the highest is ahead by next to nothing
    others = score.copy()
    np.put_along_axis(others, label[:, None], -np.inf, -1)
    expected = np.eye(classes)[others.argmax(-1)] - np.eye(classes)[label]
    gradient = jax.vmap(jax.grad(losses.multiclass_hinge_loss))
    behind = others.max(-1) - np.take_along_axis(score, label[:, None], -1)[:, 0]
    expected[1 + behind <= 0] = 0
    np.testing.assert_array_equal(gradient(score, label), expected)


def test_a_perceptron_that_ties_does_not_move():
    assert (jax.grad(losses.multiclass_perceptron_loss)(jnp.zeros(4), 1) == 0).all()


@pytest.mark.parametrize(
    ("score", "keras", "crammer_singer"),
    [([1.0, -3.0, -2.0], 0.0, 0.0), ([-1.0, -3.0, -2.0], 2.0, 0.0)],
)
def test_categorical_hinge_floors_negatives_at_zero(score, keras, crammer_singer):
    score, target = jnp.array(score), jnp.array([1.0, 0.0, 0.0])
    assert losses.categorical_hinge_loss(score, target) == keras
    assert losses.multiclass_hinge_loss(score, 0) == crammer_singer


SCORE = jnp.array([0.1, 0.2, 0.4, 0.8])


@pytest.mark.parametrize(
    ("labels", "by_hand"),
    [
        ([3, 0, -1, 1], 0.85),  # the example of torch's documentation
        ([-1, 0, 1, 2], 0.0),
        ([0, 1, 2, 3], 0.0),
        ([3, 3, -1, 0], 2 * (0.3 + 0.4 + 0.6) / 4),  # listed twice, counted twice
    ],
)
def test_multilabel_margin_loss_by_hand(labels, by_hand):
    loss = losses.multilabel_margin_loss_with_integer_labels(SCORE, jnp.array(labels))
    np.testing.assert_allclose(loss, by_hand, rtol=1e-6)


@pytest.mark.parametrize("labels", [[4, -1, 0, 0], [0, -2, 0, 0]])
def test_multilabel_margin_loss_is_nan_for_a_label_that_is_no_class(labels):
    value, gradient = jax.value_and_grad(
        losses.multilabel_margin_loss_with_integer_labels
    )(SCORE, jnp.array(labels))
    assert jnp.isnan(value) and (gradient == 0).all()


def test_multilabel_margin_loss_takes_presence_or_labels():
    np.testing.assert_allclose(
        losses.multilabel_margin_loss(SCORE, jnp.array([True, False, False, True])),
        losses.multilabel_margin_loss_with_integer_labels(
            SCORE, jnp.array([0, 3, -1, -1], jnp.int8)
        ),
        rtol=1e-6,
    )
