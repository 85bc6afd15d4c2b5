"""What is peculiar to `jaxloss.losses.transducer`."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxloss import checked, per_sample
from jaxloss.losses import rnnt_loss
from tests.catalogue.transducer import way_sum, ways

results = jax.jit(jax.value_and_grad(rnnt_loss), static_argnames="blank_id")


def uniform(frames, labels, classes=4):
    return jnp.zeros((frames, labels + 1, classes))


def by_ways(logits, labels, frames, length):
    """Value and gradient, by what each way costs and how probable it is afterwards."""
    log_p = scipy.special.log_softmax(np.asarray(logits, np.float64), axis=-1)
    gradients, log_ways = [], []
    for way in ways(frames, length):
        t = u = total = 0
        gradient = np.zeros_like(log_p)
        for silent in way:
            c = 0 if silent else labels[u]
            total += log_p[t, u, c]
            gradient[t, u] += np.exp(log_p[t, u]) - (np.arange(log_p.shape[2]) == c)
            t, u = (t + 1, u) if silent else (t, u + 1)
        log_ways.append(total)
        gradients.append(gradient)
    posterior = scipy.special.softmax(log_ways)
    return way_sum(logits, labels, frames, length), np.tensordot(
        posterior, gradients, 1
    )


def lattice_sum(logits, labels, blank_id=0):
    """By the recursion of the paper, in float64."""
    log_p = scipy.special.log_softmax(np.asarray(logits, np.float64), axis=-1)
    frames, count = len(logits), len(labels)
    alpha = np.full((frames, count + 1), -np.inf)
    for t, u in itertools.product(range(frames), range(count + 1)):
        come = [0.0] if t == u == 0 else []
        if t:
            come.append(alpha[t - 1, u] + log_p[t - 1, u, blank_id])
        if u:
            come.append(alpha[t, u - 1] + log_p[t, u - 1, labels[u - 1]])
        alpha[t, u] = scipy.special.logsumexp(come)
    return -(alpha[-1, -1] + log_p[-1, -1, blank_id])


@pytest.mark.parametrize(
    ("frames", "labels"), [(1, 0), (3, 0), (1, 1), (1, 4), (2, 1), (4, 3), (7, 5)]
)
def test_rnnt_of_even_chances_counts_the_ways(frames, labels):
    loss, gradient = results(
        uniform(frames, labels), jnp.ones(labels, int), frames, labels
    )
    by_hand = (frames + labels) * np.log(4) - np.log(
        math.comb(frames + labels - 1, labels)
    )
    np.testing.assert_allclose(loss, by_hand, rtol=1e-6)
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=1e-6)


def test_rnnt_is_the_sum_over_ways_for_every_short_lattice():
    rng = np.random.default_rng(0)
    for frames, length in itertools.product(range(1, 5), range(4)):
        logits = rng.normal(0, 2, (5, 4, 3))
        labels = rng.integers(1, 3, 3)
        want, want_gradient = by_ways(logits, labels, frames, length)
        loss, gradient = results(logits.astype(np.float32), labels, frames, length)
        np.testing.assert_allclose(loss, want, rtol=1e-5)
        np.testing.assert_allclose(gradient, want_gradient, atol=2e-6)
        np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=1e-6)
        with jax.enable_x64(True):
            loss, gradient = results(logits, labels, frames, length)
        np.testing.assert_allclose(loss, want, rtol=1e-13)
        np.testing.assert_allclose(gradient, want_gradient, atol=1e-14)


def test_rnnt_is_that_of_the_example_of_torchaudio():
    """That of its documentation, with the last class as the blank; value and gradient
    are those that torchaudio 2.11 gives."""
    logits = jnp.array(
        [
            [
                [0.1, 0.6, 0.1, 0.1, 0.1],
                [0.1, 0.1, 0.6, 0.1, 0.1],
                [0.1, 0.1, 0.2, 0.8, 0.1],
            ],
            [
                [0.1, 0.6, 0.1, 0.1, 0.1],
                [0.1, 0.1, 0.2, 0.1, 0.1],
                [0.7, 0.1, 0.2, 0.1, 0.1],
            ],
        ]
    )
    loss, gradient = results(logits, jnp.array([1, 2]), 2, 2, blank_id=4)
    np.testing.assert_allclose(loss, 5.09566689, rtol=1e-6)
    want = [
        [0.17703119, -0.39992693, 0.17703119, 0.17703119, -0.13116688],
        [0.12247054, 0.12247054, -0.18168409, 0.12247054, -0.18572752],
        [0.06269138, 0.06269138, 0.06928471, 0.12624495, -0.32091245],
        [0.05456069, -0.21824275, 0.05456069, 0.05456069, 0.05456069],
        [0.12073955, 0.12073955, -0.48295832, 0.12073955, 0.12073955],
        [0.30741173, 0.16871114, 0.18645465, 0.16871114, -0.83128875],
    ]
    np.testing.assert_allclose(gradient.reshape(6, 5), want, atol=2e-7)


@pytest.mark.parametrize("seed", range(3))
def test_rnnt_agrees_with_the_recursion_on_long_sequences(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (60, 21, 9)).astype(np.float32)
    labels = rng.integers(1, 9, 20)
    loss, gradient = results(logits, labels, 50, 15)
    np.testing.assert_allclose(
        loss, lattice_sum(logits[:50, :16], labels[:15]), rtol=1e-6
    )
    with jax.enable_x64(True):
        exact = results(logits.astype(np.float64), labels, 50, 15)[1]
    np.testing.assert_allclose(gradient, exact, atol=1e-5)
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=2e-6)


def test_rnnt_keeps_its_digits_over_a_thousand_moves():
    """A log-probability of -2000 has 4 digits behind the point in float32."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (900, 101, 8)).astype(np.float32)
    labels = rng.integers(1, 8, 100)
    loss, gradient = results(logits, labels, 900, 100)
    with jax.enable_x64(True):
        exact, exact_gradient = results(logits.astype(np.float64), labels, 900, 100)
    np.testing.assert_allclose(loss, exact, rtol=5e-7)
    np.testing.assert_allclose(gradient, exact_gradient, atol=2e-5)


def test_a_way_far_behind_others_on_its_way_is_not_lost():
    """After 2 moves the only way that ends is e^-300 times as probable as another."""
    logits = np.zeros((3, 3, 3), np.float32)
    logits[0, 0] = [0, -150, 0]  # the first label is improbable
    logits[0, 1] = [0, 0, -150]  # and so is the second
    logits[1:, :2] = [[[0, -300, -300]]]  # later they are more improbable still
    loss, gradient = results(logits, jnp.array([1, 2]), 3, 2)
    want, want_gradient = by_ways(logits, [1, 2], 3, 2)
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    np.testing.assert_allclose(gradient, want_gradient, atol=1e-6)
    assert gradient[0, 0, 1] < -0.9


def test_nothing_in_the_padding_reaches_value_or_gradient():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4, 3, 4)).astype(np.float32)
    labels = np.array([3, 3])
    kernel = per_sample(rnnt_loss)

    @jax.jit
    def everything(logits, labels):
        def fun(z):
            return rnnt_loss(z, labels, 4, 2)

        ones = jnp.ones_like(logits)
        gradient, second = jax.jvp(jax.grad(fun), (logits,), (ones,))
        reverse = jax.grad(lambda z: jnp.sum(jax.grad(fun)(z) ** 2))(logits)
        return (
            fun(logits),
            jax.jvp(fun, (logits,), (ones,))[1],
            gradient,
            second,
            reverse,
        )

    wants = everything(logits, labels)
    for poison in (np.nan, np.inf, -np.inf, 3e38):
        for wrong in (-1, 0, 4, 2**31 - 1):
            padding = (0, 2), (0, 3), (0, 0)
            spoilt = np.pad(logits, padding, constant_values=poison)
            spoilt_labels = np.pad(labels, (0, 3), constant_values=wrong)
            gots = everything(spoilt, spoilt_labels)
            for got, want in zip(gots, wants, strict=True):
                if got.ndim:
                    want = np.pad(want, padding)
                np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
            for got in gots[2:]:
                np.testing.assert_array_equal(got[4:], 0)
                np.testing.assert_array_equal(got[:, 3:], 0)
            batch = spoilt[None], spoilt_labels[None], np.array([4]), np.array([2])
            checked(kernel)(*batch)


@pytest.mark.parametrize(
    ("labels", "frames", "length", "wanted"),
    [
        ([1, 4], 3, 2, r"`labels` must be in \[0, 4\) and not the blank, 0, got 4"),
        ([1, -1], 3, 2, r"`labels` must be .* got -1"),
        ([1, 0], 3, 2, r"`labels` must be .* got 0"),
        ([1, 2], 4, 2, r"`logit_length` must be in \[0, 3\], got 4"),
        ([1, 2], -1, 2, r"`logit_length` must be .* got -1"),
        ([1, 2], 3, 3, r"`label_length` must be in \[0, 2\], got 3"),
        ([1, 2], 3, -1, r"`label_length` must be .* got -1"),
    ],
)
def test_a_wrong_label_or_length_is_nan_with_gradient_zero(
    labels, frames, length, wanted
):
    example = uniform(3, 2), jnp.array(labels), jnp.array(frames), jnp.array(length)
    loss, gradient = results(*example)
    assert jnp.isnan(loss)
    np.testing.assert_array_equal(gradient, 0)
    with pytest.raises(ValueError, match=wanted):
        checked(per_sample(rnnt_loss))(*(x[None] for x in example))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32])
def test_labels_and_lengths_of_any_integer_type_agree(dtype):
    logits = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)
    labels, frames, length = (np.asarray(x, dtype) for x in ([1, 3, 255 % 5], 4, 2))
    want = rnnt_loss(logits, jnp.array([1, 3, 0]), 4, 2)
    assert rnnt_loss(logits, labels, frames, length) == want


def test_labels_and_lengths_that_are_no_integers_are_refused():
    for position, name in enumerate(("labels", "logit_length", "label_length"), 1):
        example = [uniform(3, 1), jnp.array([1]), jnp.array(3), jnp.array(1)]
        example[position] = example[position].astype(jnp.float32)
        with pytest.raises(TypeError, match=f"`{name}` must be an integer"):
            rnnt_loss(*example)


def test_logits_for_another_number_of_labels_are_refused():
    with pytest.raises(ValueError, match=r"\(frames, labels \+ 1, classes\) for 2 lab"):
        rnnt_loss(jnp.zeros((3, 2, 4)), jnp.array([1, 2]), 3, 2)


def test_a_blank_that_is_no_class_is_refused():
    for blank_id in (-1, 4):
        with pytest.raises(ValueError, match=r"`blank_id` must be in \[0, 4\)"):
            rnnt_loss(uniform(3, 1), jnp.array([1]), 3, 1, blank_id=blank_id)


def test_without_frames_only_nothing_can_be_said():
    for length, want in ((0, 0), (1, np.inf), (2, np.inf)):
        for logits in (uniform(3, 2), uniform(0, 2)):
            loss, gradient = results(logits, jnp.array([1, 2]), 0, length)
            assert loss == want
            np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
    ("place", "cost"),
    [
        ((slice(None), slice(None), 2), np.inf),  # the second label, anywhere
        ((2, 2, 0), np.inf),  # the blank of the last frame
        ((0, 0), np.nan),  # every class: there is no probability
    ],
)
def test_a_label_that_is_nowhere_possible_is_inf_and_moves_nothing(place, cost):
    logits = uniform(3, 2).at[place].set(-jnp.inf)
    loss, gradient = results(logits, jnp.array([1, 2]), 3, 2)
    np.testing.assert_array_equal(loss, cost)
    np.testing.assert_array_equal(gradient, 0)


def test_an_impossible_class_leaves_the_ways_without_it():
    logits = uniform(3, 2).at[0, 0, 1].set(-jnp.inf)
    loss, gradient = results(logits, jnp.array([1, 2]), 3, 2)
    # Three ways begin with a blank, of probability 1/3 there, and have 4 more moves.
    np.testing.assert_allclose(loss, 4 * np.log(4), rtol=1e-6)
    assert jnp.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[0, 0, 1], 0)


def test_an_impossible_class_changes_nothing_for_the_others():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 3, 3)).astype(np.float32)
    labels = np.array([1, 2])
    wider = np.insert(logits, 3, -np.inf, axis=2)
    want, want_gradient = results(logits, labels, 4, 2)
    got, gradient = results(wider, labels, 4, 2)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(gradient[..., :3], want_gradient, atol=1e-6)
    np.testing.assert_array_equal(gradient[..., 3], 0)


def test_a_certain_class_is_certain_and_two_are_undefined():
    logits = uniform(2, 1).at[0, 0, 1].set(jnp.inf)
    np.testing.assert_allclose(  # the label, then blanks
        rnnt_loss(logits, jnp.array([1]), 2, 1), 2 * np.log(4), rtol=1e-6
    )
    assert rnnt_loss(logits, jnp.array([2]), 2, 1) == jnp.inf
    for row in (
        [jnp.inf, jnp.inf, 0, 0],
        [-jnp.inf] * 4,
        [jnp.nan, 0, 0, 0],
        [jnp.inf, jnp.nan, 0, 0],
        [0, 0, 0, jnp.nan],
    ):
        loss, gradient = results(
            uniform(2, 1).at[1, 0].set(jnp.array(row)), jnp.array([1]), 2, 1
        )
        assert jnp.isnan(loss)
        np.testing.assert_array_equal(gradient, 0)


def test_a_confident_alignment_has_all_its_digits_and_is_never_below_zero():
    way = np.array([1, 0, 2, 0, 0])  # label 1, blank, label 2, blank, blank
    places = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)]
    rng = np.random.default_rng(0)
    for sure in (12, 18, 25):
        logits = rng.normal(0, 0.5, (3, 3, 4)).astype(np.float32)
        for (t, u), c in zip(places, way, strict=True):
            logits[t, u, c] += sure
        with jax.enable_x64(True):
            exact = rnnt_loss(logits.astype(np.float64), np.array([1, 2]), 3, 2)
        loss, gradient = results(logits, np.array([1, 2]), 3, 2)
        assert loss >= 0
        np.testing.assert_allclose(loss, exact, rtol=2e-6, atol=1e-9)
        assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_logits_are_not_doubled(dtype):
    """Neither for the value nor for its gradient, which is the only copy there is."""
    batch, frames, count, classes = 8, 200, 60, 512
    logits = jax.ShapeDtypeStruct((batch, frames, count + 1, classes), dtype)
    rest = tuple(
        jax.ShapeDtypeStruct(shape, jnp.int32)
        for shape in ((batch, count), (batch,), (batch,))
    )
    cotangent = jax.ShapeDtypeStruct((batch,), jnp.float32)
    kernel = per_sample(rnnt_loss)

    def value_and_gradient(cotangent, logits, *rest):
        value, pull = jax.vjp(lambda z: kernel(z, *rest), logits)
        return value, pull(cotangent)[0]

    for compiled in (
        jax.jit(kernel).lower(logits, *rest).compile(),
        jax.jit(value_and_gradient).lower(cotangent, logits, *rest).compile(),
    ):
        memory = compiled.memory_analysis()
        assert memory is not None
        assert memory.temp_size_in_bytes < logits.size * logits.dtype.itemsize / 20
