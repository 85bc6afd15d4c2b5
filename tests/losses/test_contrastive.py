"""What is peculiar to the losses of an anchor: values by hand, batches, peers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from jaxloss import losses, per_sample, reduction

LABELS = jnp.array([0, 1, 0, 2, 1, 0])
contrastive = pytest.mark.parametrize("loss", [losses.ntxent, losses.circle_loss])


def batch(seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(scale * rng.normal(size=(6, 4)), jnp.float32)


def masks(labels):
    same = labels[:, None] == labels[None]
    return same & ~jnp.eye(labels.size, dtype=bool), ~same


def batched(loss, embeddings, labels, **options):
    kernel = per_sample(loss, in_axes=(0, None, 0, 0), **options)
    return kernel(embeddings, embeddings, *masks(labels))


def test_ntxent_by_hand():
    anchor, keys = jnp.array([2.0, 0.0]), jnp.array([[3.0, 4.0], [0.0, 9.0]])
    # cosines 3/5 and 0, at temperature 1/5: log(1 + exp(-3))
    loss = losses.ntxent(
        anchor,
        keys,
        jnp.array([True, False]),
        jnp.array([False, True]),
        temperature=0.2,
    )
    np.testing.assert_allclose(loss, np.log1p(np.exp(-3)), rtol=1e-6)


def test_ntxent_of_a_batch_weighted_by_positives_is_that_of_optax():
    labels = LABELS.at[3].set(1)  # every example has a positive

    def ours(embeddings):
        rows = batched(losses.ntxent, embeddings, labels, temperature=0.3)
        return reduction.weighted_mean(rows, masks(labels)[0].sum(1))

    def theirs(embeddings):
        return optax.losses.ntxent(embeddings, labels, temperature=0.3)

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        value, gradient = jax.value_and_grad(theirs)(batch())
    got, got_gradient = jax.value_and_grad(ours)(batch())
    np.testing.assert_allclose(got, value, rtol=1e-5)
    np.testing.assert_allclose(got_gradient, gradient, rtol=1e-4, atol=1e-5)


def test_optax_ntxent_is_nan_for_a_batch_without_positives_ours_is_zero():
    labels = jnp.arange(6)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        assert jnp.isnan(optax.losses.ntxent(batch(), labels))
    for loss in (losses.ntxent, losses.circle_loss):

        def total(embeddings, loss=loss):
            return batched(loss, embeddings, labels).sum()

        value, gradient = jax.value_and_grad(total)(batch())
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)


@contrastive
def test_an_anchor_without_negatives_costs_nothing(loss):
    def total(embeddings):
        return batched(loss, embeddings, jnp.zeros(6, jnp.int32)).sum()

    value, gradient = jax.value_and_grad(total)(batch())
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@contrastive
def test_length_does_not_count_and_duplicates_are_fine(loss):
    embeddings = batch().at[2].set(batch()[0])
    want = batched(loss, embeddings, LABELS)
    for scale in (1e-20, 1e20):
        got = batched(loss, scale * embeddings, LABELS)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    gradient = jax.grad(lambda x: batched(loss, x, LABELS).sum())(embeddings)
    assert jnp.isfinite(gradient).all()


@contrastive
def test_a_key_that_is_neither_reaches_nothing_whatever_it_holds(loss):
    anchor, *keys = batch()
    positive = jnp.array([True, False, False, True, False])
    negative = jnp.array([False, True, False, False, True])
    results = jax.value_and_grad(loss, argnums=(0, 1))
    want = results(anchor, jnp.stack(keys), positive, negative)
    for poison in (jnp.nan, jnp.inf, 3e38):
        keys[2] = jnp.full(4, poison)
        value, gradients = results(anchor, jnp.stack(keys), positive, negative)
        assert value == want[0]
        for got, wanted in zip(gradients, want[1], strict=True):
            np.testing.assert_array_equal(got, wanted)


@contrastive
def test_a_key_that_counts_and_is_not_finite_is_nan_and_moves_nothing(loss):
    anchor, keys = batch()[0], batch()[1:].at[0, 1].set(jnp.inf)
    one = jnp.arange(5) == 0
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(anchor, keys, one, ~one)
    assert jnp.isnan(value)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


@contrastive
def test_keys_of_other_width_and_masks_of_other_length_or_dtype_are_refused(loss):
    anchor, keys, mask = jnp.ones(4), jnp.ones((5, 4)), jnp.ones(5, bool)
    with pytest.raises(ValueError, match="`keys` must have .* with 4 features, got"):
        loss(anchor, jnp.ones((5, 3)), mask, ~mask)
    with pytest.raises(ValueError, match=r"`positive` must have shape \(5,\), got"):
        loss(anchor, keys, mask[1:], ~mask)
    with pytest.raises(TypeError, match="`negative` must be boolean"):
        loss(anchor, keys, mask, jnp.zeros(5))


def test_ntxent_stays_right_as_the_temperature_goes_to_zero():
    anchor, keys = jnp.array([1.0, 0.0]), jnp.array([[0.6, 0.8], [0.8, 0.6]])
    one = jnp.array([True, False])
    for temperature in (1e-3, 1e-6):
        loss = losses.ntxent(anchor, keys, one, ~one, temperature=temperature)
        np.testing.assert_allclose(loss, 0.2 / temperature, rtol=1e-5)
        gradient = jax.grad(losses.ntxent)(
            anchor, keys, one, ~one, temperature=temperature
        )
        assert jnp.isfinite(gradient).all()


def test_circle_loss_of_a_batch_is_that_of_keras():
    """The formula of keras.losses.circle, in its terms: distances, not cosines."""
    gamma, margin = 80.0, 0.4
    unit = np.asarray(batch(), np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    distance = np.maximum(1 - unit @ unit.T, 0)
    same = np.asarray(LABELS)[:, None] == np.asarray(LABELS)
    positive, negative = same & ~np.eye(6, dtype=bool), ~same
    pull = -gamma * np.maximum(margin + distance, 0) * (margin - distance)
    push = gamma * np.maximum(1 + margin - distance, 0) * (1 - margin - distance)
    with np.errstate(divide="ignore"):
        near = scipy.special.logsumexp(np.where(positive, pull, -np.inf), axis=1)
        far = scipy.special.logsumexp(np.where(negative, push, -np.inf), axis=1)
    np.testing.assert_allclose(
        batched(losses.circle_loss, batch(), LABELS),
        np.logaddexp(near + far, 0),
        rtol=1e-4,
        atol=1e-5,
    )


def test_detached_weights_change_the_gradient_of_circle_loss_and_not_its_value():
    gamma, margin = 3.0, 0.25
    anchor, keys = jnp.array([1.0, 0.0]), jnp.array([[0.6, 0.8], [0.8, 0.6]])
    one = jnp.array([True, False])
    options = dict(gamma=gamma, margin=margin)
    results = jax.value_and_grad(losses.circle_loss)
    value, gradient = results(anchor, keys, one, ~one, **options)
    same, detached = results(anchor, keys, one, ~one, detach_weights=True, **options)
    np.testing.assert_allclose(same, value)
    # d loss / d s is gamma * weight * sigmoid, without the slope of the weight; the
    # anchor moves along what of a key is across it: (0, 0.8) and (0, 0.6).
    share = scipy.special.expit(np.log(np.expm1(float(value))))
    pull, push = 1 + margin - 0.6, 0.8 + margin
    by_hand = gamma * share * (push * 0.6 - pull * 0.8)
    np.testing.assert_allclose(detached, [0, by_hand], rtol=1e-5, atol=1e-6)
    assert abs(gradient[1] - by_hand) > 0.1
