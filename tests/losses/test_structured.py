"""What is peculiar to `jaxloss.losses.structured`."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxloss import checked, per_sample
from jaxloss.losses import crf_nll
from tests.catalogue.structured import by_enumeration, score

SCORES = (0, 2, 3, 4)
results = jax.jit(jax.value_and_grad(crf_nll, argnums=SCORES))
loss_of = jax.jit(crf_nll)


def example(steps, tags, seed=0, scale=2.0, length=None):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(0, scale, (steps, tags)).astype(np.float32),
        rng.integers(0, tags, steps),
        rng.normal(0, scale, (tags, tags)).astype(np.float32),
        rng.normal(0, scale, tags).astype(np.float32),
        rng.normal(0, scale, tags).astype(np.float32),
        np.array(steps if length is None else length),
    )


def changed(data, position, value):
    return (*data[:position], value, *data[position + 1 :])


def wide(data):
    return tuple(
        x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x for x in data
    )


def by_recursion(emissions, tags, transitions, start, end, length, /):
    """The forward algorithm, in float64."""
    emissions, transitions, start, end = wide((emissions, transitions, start, end))
    alpha = start + emissions[0]
    for t in range(1, length):
        alpha = np.logaddexp.reduce(alpha[:, None] + transitions, axis=0)
        alpha = alpha + emissions[t]
    true = score(emissions[:length], tags[:length], transitions, start, end)
    return np.logaddexp.reduce(alpha + end) - true


def assert_zero(gradients):
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("length", range(5))
def test_of_even_chances_it_counts_the_sequences(length):
    zeros = jnp.zeros((3, 3)), jnp.zeros(3), jnp.zeros(3)
    loss = crf_nll(jnp.zeros((4, 3)), jnp.array([0, 2, 1, 1]), *zeros, length)
    np.testing.assert_allclose(loss, length * np.log(3), rtol=1e-6)


def test_it_is_the_sum_over_sequences_for_all_tags_and_lengths():
    emissions, _, *scores, _ = example(3, 3)
    scores[0][1, 2] = scores[1][0] = -np.inf
    for length in range(4):
        for tags in itertools.product(range(3), repeat=length):
            padded = np.pad(np.array(tags, int), (0, 3 - length), constant_values=9)
            data = emissions, padded, *scores, np.array(length)
            want = by_enumeration(*wide(data))
            np.testing.assert_allclose(loss_of(*data), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 40, 50])
def test_it_agrees_with_the_forward_algorithm_on_long_sequences(length):
    data = example(50, 9, length=length)
    np.testing.assert_allclose(loss_of(*data), by_recursion(*data), rtol=1e-6)


def test_it_keeps_its_digits_over_a_thousand_steps():
    data = example(1000, 16)
    loss, gradients = results(*data)
    with jax.enable_x64(True):
        exact, exact_gradients = results(*wide(data))
    assert float(exact) > 5000
    np.testing.assert_allclose(loss, exact, rtol=5e-7)
    for gradient, want in zip(gradients, exact_gradients, strict=True):
        np.testing.assert_allclose(gradient, want, atol=3e-6 * np.abs(want).max())


def test_a_score_pulls_by_how_often_it_is_expected_less_how_often_it_is_true():
    data = emissions, tags, transitions, start, end, _ = wide(example(4, 3))
    wants = [np.zeros_like(x) for x in (emissions, transitions, start, end)]

    def count(tags, weight):
        wants[0][np.arange(4), tags] += weight
        for pair in itertools.pairwise(tags):
            wants[1][pair] += weight
        wants[2][tags[0]] += weight
        wants[3][tags[-1]] += weight

    every = list(itertools.product(range(3), repeat=4))
    scores = np.array([score(emissions, x, transitions, start, end) for x in every])
    for these, chance in zip(every, scipy.special.softmax(scores), strict=True):
        count(np.array(these), chance)
    count(tags, -1)
    _, gradients = results(*example(4, 3))
    for gradient, want in zip(gradients, wants, strict=True):
        np.testing.assert_allclose(gradient, want, rtol=1e-5, atol=1e-6)
    with jax.enable_x64(True):
        for gradient, want in zip(results(*data)[1], wants, strict=True):
            np.testing.assert_allclose(gradient, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("lead", [10.0, 40.0, 80.0])
def test_it_is_accurate_next_to_zero(lead):
    """Where the logarithm of a sum less a score would be 0, or below."""
    tags = np.array([0, 2, 1, 1])
    emissions = lead * np.eye(3, dtype=np.float32)[tags]
    zeros = (np.zeros(shape, np.float32) for shape in ((3, 3), (3,), (3,)))
    loss, (gradient, *_) = results(emissions, tags, *zeros, 4)
    np.testing.assert_allclose(loss, 4 * np.log1p(2 * np.exp(-lead)), rtol=1e-5)
    others = np.exp(-lead) / (1 + 2 * np.exp(-lead))
    want = np.where(emissions > 0, -2 * others, others)
    np.testing.assert_allclose(gradient, want, rtol=1e-5)


def test_a_large_score_common_to_all_tags_costs_no_digits():
    """But for those that the sum with it has no room for, from the fourth on."""
    data = example(5, 3)
    want = loss_of(*data)
    for position in SCORES:
        raised = changed(data, position, data[position] + np.float32(2**12))
        np.testing.assert_allclose(loss_of(*raised), want, rtol=1e-3)


def test_a_forbidden_move_leaves_sequences_out():
    data = example(4, 3)
    tags = np.array([0, 1, 1, 2])
    data = changed(data, 1, tags)
    for position, entry in [(0, (2, 0)), (2, (0, 2)), (3, 1), (4, 0)]:
        scores = data[position].copy()
        scores[entry] = -np.inf
        loss, gradients = results(*changed(data, position, scores))
        want = by_enumeration(*wide(changed(data, position, scores)))
        np.testing.assert_allclose(loss, want, rtol=1e-5)
        assert all(jnp.isfinite(gradient).all() for gradient in gradients)
        assert gradients[SCORES.index(position)][entry] == 0


def test_true_tags_that_need_a_forbidden_move_are_inf_and_move_nothing():
    data = example(4, 3)
    tags = np.array([0, 1, 1, 2])
    data = changed(data, 1, tags)
    for position, entry in [(0, (2, 1)), (2, (1, 1)), (3, 0), (4, 2)]:
        scores = data[position].copy()
        scores[entry] = -np.inf
        loss, gradients = results(*changed(data, position, scores))
        assert loss == jnp.inf
        assert_zero(gradients)
    nowhere = changed(data, 2, np.full((3, 3), -np.inf, np.float32))
    loss, gradients = results(*nowhere)
    assert loss == jnp.inf
    assert_zero(gradients)


def test_where_only_the_true_tags_are_possible_it_is_zero():
    data = example(4, 3)
    emissions = np.where(np.eye(3)[data[1]] > 0, data[0], -np.inf).astype(np.float32)
    loss, gradients = results(*changed(data, 0, emissions))
    assert loss == 0
    assert_zero(gradients)
    loss, gradients = results(*example(4, 1))
    assert loss == 0
    assert_zero(gradients)


def test_nothing_in_the_padding_reaches_value_or_gradient():
    data = emissions, tags, *scores = example(5, 3, length=3)
    cut = emissions[:3], tags[:3], *scores

    @jax.jit
    def everything(emissions, *rest):
        def gradients(x):
            return jax.grad(crf_nll, argnums=SCORES)(x, *rest)

        ones = jnp.ones_like(emissions)
        return crf_nll(emissions, *rest), *jax.jvp(gradients, (emissions,), (ones,))

    want, *wants = everything(*cut)
    for poison in (np.nan, np.inf, -np.inf, 3e38):
        for wrong in (-1, 3, 2**31 - 1):
            emissions, tags = data[0].copy(), data[1].copy()
            emissions[3:], tags[3:] = poison, wrong
            value, *gots = everything(emissions, tags, *scores)
            np.testing.assert_allclose(value, want, rtol=1e-6)
            for (got, *rest), (first, *others) in zip(gots, wants, strict=True):
                np.testing.assert_allclose(got[:3], first, rtol=1e-5, atol=1e-6)
                np.testing.assert_array_equal(got[3:], 0)
                for x, y in zip(rest, others, strict=True):
                    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
            batch = (np.asarray(x)[None] for x in (emissions, tags, *scores))
            checked(per_sample(crf_nll))(*batch)


def test_a_sequence_of_no_steps_costs_nothing():
    for steps in (0, 1, 4):
        loss, gradients = results(*example(steps, 3, length=0))
        assert loss == 0
        assert_zero(gradients)


@pytest.mark.parametrize(
    ("tags", "length", "wanted"),
    [
        ([0, 1, 3], 3, r"`tags` must be in \[0, 3\), got 3"),
        ([0, -1, 2], 3, r"`tags` must be in \[0, 3\), got -1"),
        ([0, 1, 2], 4, r"`length` must be in \[0, 3\], got 4"),
        ([0, 1, 2], -1, r"`length` must be in \[0, 3\], got -1"),
    ],
)
def test_a_wrong_tag_or_length_is_nan_with_gradient_zero(tags, length, wanted):
    data = example(3, 3, length=length)
    data = changed(data, 1, np.array(tags))
    loss, gradients = results(*data)
    assert jnp.isnan(loss)
    assert_zero(gradients)
    with pytest.raises(ValueError, match=wanted):
        checked(per_sample(crf_nll))(*(x[None] for x in data))


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_a_score_that_is_no_number_below_infinity_is_nan_with_gradient_zero(score):
    data = example(3, 3)
    names = ("emissions", "", "transitions", "start", "end")
    for position in SCORES:
        spoilt = data[position].copy()
        spoilt.flat[2] = score
        spoilt = changed(data, position, spoilt)
        loss, gradients = results(*spoilt)
        assert jnp.isnan(loss)
        assert_zero(gradients)
        wanted = f"`{names[position]}` must be a number.*, got {score}"
        with pytest.raises(ValueError, match=wanted):
            checked(per_sample(crf_nll))(*(x[None] for x in spoilt))


def test_parameters_shared_by_a_batch_get_the_sum_of_the_gradients():
    batch = [example(4, 3, seed=seed, length=seed + 1) for seed in range(4)]
    emissions, tags, *scores, lengths = (np.stack(x) for x in zip(*batch, strict=True))
    scores = [x[0] for x in scores]
    kernel = per_sample(crf_nll, in_axes=(0, 0, None, None, None, 0))
    weights = jnp.array([1.0, 0.0, -2.0, 0.5])

    def total(*scores):
        return jnp.dot(weights, kernel(emissions, tags, *scores, lengths))

    got = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(*scores)
    wants = [
        results(*x, *scores, n)[1][1:]
        for *x, n in zip(emissions, tags, lengths, strict=True)
    ]
    for gradient, want in zip(got, zip(*wants, strict=True), strict=True):
        want = jnp.tensordot(weights, jnp.stack(want), 1)
        np.testing.assert_allclose(gradient, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32])
def test_tags_and_lengths_of_any_integer_type_agree(dtype):
    data = example(4, 3)
    other = changed(changed(data, 1, data[1].astype(dtype)), 5, data[5].astype(dtype))
    assert crf_nll(*other) == crf_nll(*data)


def test_tags_and_lengths_that_are_no_integers_are_refused():
    data = example(4, 3)
    for position, name in ((1, "tags"), (5, "length")):
        wrong = changed(data, position, data[position].astype(np.float32))
        with pytest.raises(TypeError, match=f"`{name}` must be an integer"):
            crf_nll(*wrong)
