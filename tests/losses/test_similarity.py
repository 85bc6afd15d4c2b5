"""What is peculiar to the losses of `jaxloss.losses.similarity`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import per_sample
from jaxloss.losses import cosine_distance, cosine_similarity

both = pytest.mark.parametrize("loss", [cosine_similarity, cosine_distance])


def test_cosine_by_hand():
    # 12 + 12 over 5 times 5.
    a, b = jnp.array([3.0, 4.0]), jnp.array([4.0, 3.0])
    np.testing.assert_allclose(cosine_similarity(a, b), 24 / 25, rtol=1e-6)
    np.testing.assert_allclose(cosine_distance(a, b), 1 / 25, rtol=1e-6)
    np.testing.assert_allclose(cosine_distance(a, -a), 2, rtol=1e-6)


def test_cosine_distance_does_not_assume_vectors_of_length_1():
    # 1 - a.b would be -10.
    a, b = jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])
    np.testing.assert_allclose(cosine_distance(a, b), 1 - 11 / np.sqrt(125), rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "value"), [(cosine_similarity, 0), (cosine_distance, 1)]
)
def test_cosine_of_a_zero_vector_moves_nothing(loss, value):
    zero, other = jnp.zeros(2), jnp.array([3.0, 4.0])
    for pair, position in [((zero, other), 0), ((other, zero), 1)]:
        np.testing.assert_allclose(loss(*pair), value, rtol=1e-7)
        gradients = jax.grad(loss, argnums=(0, 1))(*pair)
        np.testing.assert_array_equal(gradients[position], 0)
        np.testing.assert_allclose(gradients[1 - position], 0, atol=1e-7)
        for second in (jax.hessian(loss), jax.jacrev(jax.grad(loss))):
            assert jnp.isfinite(second(*pair)).all()
    assert loss(zero, zero) == value
    assert jnp.isnan(optax.losses.cosine_similarity(zero, other))


@both
@pytest.mark.parametrize("size", [1e-36, 1e-30, 1e-15, 1e20, 3e38])
def test_cosine_is_the_same_at_every_size(loss, size):
    a, b = jnp.array([1.0, 0.25, 0.0]), jnp.array([0.5, 1.0, 1.0])
    np.testing.assert_allclose(loss(size * a, size * b), loss(a, b), rtol=1e-6)
    gradient = jax.grad(loss)(size * a, size * b)
    want = jax.grad(loss)(a, b) if size < 1e38 else 0  # too small for float32
    np.testing.assert_allclose(gradient * size, want, rtol=1e-5, atol=1e-6)


def test_cosine_of_large_vectors_is_not_the_0_of_optax():
    a = jnp.array([1e20, 1e20])
    assert optax.losses.cosine_similarity(a, a) == 0
    np.testing.assert_allclose(cosine_similarity(a, a), 1, rtol=1e-6)


def test_cosine_of_half_precision_vectors_is_not_the_0_of_optax():
    a = jnp.array([300, 1], jnp.float16)
    assert optax.losses.cosine_similarity(a, a) == 0
    np.testing.assert_allclose(cosine_similarity(a, a), 1, rtol=1e-6)


def test_cosine_epsilon_is_a_floor_under_the_norms():
    # PyTorch has 0.1 here; optax holds the squared norm: 0.01.
    a, b = jnp.array([1e-3, 0.0]), jnp.array([1.0, 0.0])
    np.testing.assert_allclose(cosine_similarity(a, b, epsilon=1e-2), 0.1, rtol=1e-6)
    np.testing.assert_allclose(cosine_distance(a, b, epsilon=1e-2), 0.9, rtol=1e-6)
    theirs = optax.losses.cosine_similarity(a, b, epsilon=1e-2)
    np.testing.assert_allclose(theirs, 0.01, rtol=1e-5)
    for slope in (
        jax.grad(cosine_similarity)(jnp.zeros(2), b, epsilon=1e-2),
        -jax.grad(cosine_distance)(jnp.zeros(2), b, epsilon=1e-2),
    ):
        np.testing.assert_allclose(slope, [100, 0], rtol=1e-6)


def test_cosine_has_the_derivative_of_its_epsilon():
    a, b = jnp.array([3e-3, 4e-3]), jnp.array([1.0, 0.0])
    for loss, sign in [(cosine_similarity, 1), (cosine_distance, -1)]:
        slope = jax.grad(lambda epsilon, loss=loss: loss(a, b, epsilon=epsilon))
        np.testing.assert_allclose(slope(1e-2), -sign * 30, rtol=1e-5)
        np.testing.assert_allclose(slope(1e-3), 0, atol=1e-5)


def test_cosine_distance_resolves_nearly_equal_vectors():
    a, b = jnp.array([1.0, 0.0]), jnp.array([1.0, 1e-6])
    np.testing.assert_allclose(cosine_distance(a, b), 0.5e-12, rtol=1e-5)
    np.testing.assert_allclose(
        jax.grad(cosine_distance)(a, b), [0, -1e-6], rtol=1e-5, atol=1e-11
    )
    assert 1 - cosine_similarity(a, b) == 0


def test_cosine_stays_within_its_range():
    a = jax.random.normal(jax.random.key(0), (500, 7))
    for other, cosine in [(a, 1), (3 * a, 1), (-7 * a, -1)]:
        similarity = per_sample(cosine_similarity)(a, other)
        distance = per_sample(cosine_distance)(a, other)
        assert (abs(similarity) <= 1).all()
        assert ((distance >= 0) & (distance <= 2)).all()
        np.testing.assert_allclose(similarity, cosine, rtol=1e-6)
    np.testing.assert_allclose(per_sample(cosine_distance)(a, a), 0, atol=1e-14)


@both
@pytest.mark.parametrize("element", [jnp.inf, jnp.nan])
def test_cosine_of_what_is_not_finite_is_nan_with_gradient_0(loss, element):
    a, b = jnp.array([1.0, element]), jnp.array([1.0, 2.0])
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(a, b)
    assert jnp.isnan(value)
    np.testing.assert_array_equal(gradients, 0)


@both
@pytest.mark.parametrize("size", [1.0, 0.0, 1e-36, 1e-20, 1e20, 1e30])
def test_one_example_of_another_size_changes_no_cosine_of_its_batch(loss, size):
    # A batch of plain sizes takes plain sums of squares, and no other does.
    a, b = np.random.default_rng(0).normal(size=(2, 64, 33))
    a[5], b[7] = size * a[5], size * b[7]
    norms = [np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b)]
    u, v = (x / np.where(n > 0, n, 1) for x, n in zip((a, b), norms, strict=True))
    cosines = np.sum(u * v, -1, keepdims=True)
    sign, start = (1, 0) if loss is cosine_similarity else (-1, 1)
    slopes = sign * (v - cosines * u) * (norms[0] > 0)
    kernel = jax.jit(jax.vmap(jax.value_and_grad(loss)))
    values, gradients = kernel(jnp.float32(a), jnp.float32(b))
    np.testing.assert_allclose(values, start + sign * cosines[:, 0], atol=5e-7)
    np.testing.assert_allclose(gradients * norms[0], slopes, rtol=1e-5, atol=1e-6)
