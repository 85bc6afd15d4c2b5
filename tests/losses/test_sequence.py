"""What is peculiar to `jaxloss.losses.sequence`."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from jaxloss import checked, per_sample
from jaxloss.losses import ctc_loss, ctc_loss_with_forward_probs
from tests.catalogue.sequence import path_sum

results = jax.jit(
    jax.value_and_grad(ctc_loss), static_argnames=("blank_id", "zero_infinity")
)


def uniform(frames, classes=4):
    return jnp.zeros((frames, classes))


def optax_loss(logits, labels, frames, length, loss=optax.ctc_loss):
    """optax's answer, by its 0/1 paddings and for a batch of one."""
    paddings = [
        (np.arange(len(x)) >= n).astype(np.float32)[None]
        for x, n in ((logits, frames), (labels, length))
    ]
    return jax.jit(loss)(
        logits[None], paddings[0], jnp.asarray(labels)[None], paddings[1]
    )


def lattice_sum(logits, labels, blank_id=0):
    """By the recursion of the paper over the 2 U + 1 states, in float64."""
    log_p = scipy.special.log_softmax(np.asarray(logits, np.float64), axis=-1)
    states = [blank_id]
    for label in labels:
        states += [label, blank_id]
    alpha = np.full(len(states), -np.inf)
    alpha[0] = 0
    alpha = np.concatenate([[-np.inf], alpha])  # before the first frame
    states = [blank_id, *states]
    for t, frame in enumerate(log_p):
        new = np.full_like(alpha, -np.inf)
        for s in range(1, len(states)):
            ways = [alpha[s]] if t else []
            if t == 0:
                ways = [0.0] if s <= 2 else []
            elif s > 1:
                ways.append(alpha[s - 1])
                if s > 2 and states[s] not in (blank_id, states[s - 2]):
                    ways.append(alpha[s - 2])
            if ways:
                new[s] = scipy.special.logsumexp(ways) + frame[states[s]]
        alpha = new
    return -scipy.special.logsumexp(alpha[-2:] if len(labels) else alpha[-1:])


@pytest.mark.parametrize(
    ("labels", "frames", "paths"),
    [
        ([], 0, 1),
        ([], 3, 1),
        ([1], 1, 1),
        ([1], 2, 3),
        ([1, 2], 2, 1),
        ([1, 2], 3, 5),
        ([1, 1], 3, 1),
        ([1, 1], 4, 5),
        ([1, 1], 2, 0),
        ([1], 0, 0),
        ([1, 2, 3], 2, 0),
    ],
)
def test_ctc_of_even_chances_counts_the_paths(labels, frames, paths):
    loss, gradient = results(
        uniform(frames), jnp.array(labels, int), frames, len(labels)
    )
    by_hand = frames * np.log(4) - np.log(paths) if paths else np.inf
    np.testing.assert_allclose(loss, by_hand, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=1e-6)
    if not paths:
        np.testing.assert_array_equal(gradient, 0)


def test_ctc_is_the_sum_over_paths_for_every_short_sequence():
    rng = np.random.default_rng(0)
    loss = jax.jit(ctc_loss)
    for frames in range(6):
        logits = rng.normal(0, 2, (5, 3)).astype(np.float32)
        for length in range(4):
            for labels in itertools.product([1, 2], repeat=length):
                padded = np.pad(np.array(labels, int), (0, 3 - length))
                np.testing.assert_allclose(
                    loss(logits, padded, frames, length),
                    path_sum(logits.astype(np.float64), padded, frames, length),
                    rtol=1e-5,
                    atol=1e-6,
                )


@pytest.mark.parametrize("seed", range(3))
def test_ctc_agrees_with_the_recursion_and_with_optax_on_long_sequences(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (60, 9)).astype(np.float32)
    labels = rng.integers(1, 9, 20)
    want = lattice_sum(logits[:50], labels[:15])
    np.testing.assert_allclose(ctc_loss(logits, labels, 50, 15), want, rtol=1e-6)
    np.testing.assert_allclose(optax_loss(logits, labels, 50, 15), [want], rtol=1e-5)

    gradient = results(logits, labels, 50, 15)[1]
    peer = jax.grad(lambda z: optax_loss(z, labels, 50, 15)[0])(logits)
    np.testing.assert_allclose(gradient, peer, atol=1e-3)
    with jax.enable_x64(True):
        exact = results(logits.astype(np.float64), labels, 50, 15)[1]
    np.testing.assert_allclose(gradient, exact, atol=1e-5)
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=2e-6)


def test_ctc_keeps_its_digits_over_a_thousand_frames():
    """A log-probability of -2000 has 4 digits behind the point in float32."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (1000, 16)).astype(np.float32)
    labels = rng.integers(1, 16, 100)
    peer = jax.grad(lambda z: optax_loss(z, labels, 1000, 100)[0])(logits)
    loss, gradient = results(logits, labels, 1000, 100)
    with jax.enable_x64(True):
        exact, exact_gradient = results(logits.astype(np.float64), labels, 1000, 100)
    np.testing.assert_allclose(loss, exact, rtol=5e-7)
    error, peer_error = (
        np.abs(np.asarray(g) - np.asarray(exact_gradient)).max()
        for g in (gradient, peer)
    )
    assert error < 1e-4 and error < peer_error / 4


def test_nothing_in_the_padding_reaches_value_or_gradient():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4, 4)).astype(np.float32)
    labels = np.array([3, 3])
    kernel = per_sample(ctc_loss)

    @jax.jit
    def everything(logits, labels):
        def fun(z):
            return ctc_loss(z, labels, 4, 2)

        gradient, second = jax.jvp(jax.grad(fun), (logits,), (jnp.ones_like(logits),))
        slope = jax.jvp(fun, (logits,), (jnp.ones_like(logits),))[1]
        return fun(logits), slope, gradient, second

    wants = everything(logits, labels)
    for poison in (np.nan, np.inf, -np.inf, 3e38):
        for wrong in (-1, 0, 4, 2**31 - 1):
            spoilt = np.pad(logits, ((0, 2), (0, 0)), constant_values=poison)
            spoilt_labels = np.pad(labels, (0, 3), constant_values=wrong)
            value, slope, gradient, second = everything(spoilt, spoilt_labels)
            gots = value, slope, gradient[:4], second[:4]
            for got, want in zip(gots, wants, strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
            np.testing.assert_array_equal(gradient[4:], 0)
            np.testing.assert_array_equal(second[4:], 0)
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
    example = uniform(3), jnp.array(labels), jnp.array(frames), jnp.array(length)
    loss, gradient = results(*example)
    assert jnp.isnan(loss)
    np.testing.assert_array_equal(gradient, 0)
    assert jnp.isnan(results(*example, zero_infinity=True)[0])
    forward = jax.jit(ctc_loss_with_forward_probs)
    assert all(jnp.isnan(x).all() for x in forward(*example))
    with pytest.raises(ValueError, match=wanted):
        checked(per_sample(ctc_loss))(*(x[None] for x in example))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32])
def test_labels_and_lengths_of_any_integer_type_agree(dtype):
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)), jnp.float32)
    labels, frames, length = (np.asarray(x, dtype) for x in ([1, 3, 255 % 5], 4, 2))
    want = ctc_loss(logits, jnp.array([1, 3, 0]), 4, 2)
    assert ctc_loss(logits, labels, frames, length) == want


def test_labels_and_lengths_that_are_no_integers_are_refused():
    for position, name in enumerate(("labels", "logit_length", "label_length"), 1):
        example = [uniform(3), jnp.array([1]), jnp.array(3), jnp.array(1)]
        example[position] = example[position].astype(jnp.float32)
        with pytest.raises(TypeError, match=f"`{name}` must be an integer"):
            ctc_loss(*example)


def test_a_blank_that_is_no_class_is_refused():
    for blank_id in (-1, 4):
        with pytest.raises(ValueError, match=r"`blank_id` must be in \[0, 4\)"):
            ctc_loss(uniform(3), jnp.array([1]), 3, 1, blank_id=blank_id)


def test_an_impossible_sequence_is_inf_or_zero_and_moves_nothing():
    """Two equal labels need three frames; optax charges 1e5 and pulls with it."""
    logits, labels = uniform(2), jnp.array([1, 1])
    for zero_infinity, want in ((False, np.inf), (True, 0)):
        loss, gradient = results(logits, labels, 2, 2, zero_infinity=zero_infinity)
        assert loss == want
        np.testing.assert_array_equal(gradient, 0)
    peer, peer_gradient = jax.value_and_grad(lambda z: optax_loss(z, labels, 2, 2)[0])(
        logits
    )
    assert peer > 9e4 and jnp.abs(peer_gradient).max() > 0.1


def test_an_impossible_class_changes_nothing_for_the_others():
    """optax: nan, value and gradient."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 3)).astype(np.float32)
    labels = np.array([1, 2])
    wider = np.insert(logits, 3, -np.inf, axis=1)
    want, want_gradient = results(logits, labels, 4, 2)
    got, gradient = results(wider, labels, 4, 2)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(gradient[:, :3], want_gradient, atol=1e-6)
    np.testing.assert_array_equal(gradient[:, 3], 0)
    assert jnp.isnan(optax_loss(wider, labels, 4, 2)[0])

    without_blank = np.insert(logits[:, 1:], 0, -np.inf, axis=1)
    np.testing.assert_allclose(  # paths 1112, 1122, 1222
        ctc_loss(without_blank, labels, 4, 2),
        path_sum(without_blank.astype(np.float64), labels, 4, 2),
        rtol=1e-6,
    )
    assert ctc_loss(without_blank, np.array([1, 1]), 4, 2) == np.inf


def test_a_confident_alignment_is_never_below_zero():
    """optax rounds to below 0: google-deepmind/optax#1771."""
    logits = jnp.array(
        [[0, 20.0, 0], [18.0, 0, 0], [0, 0, 19.0], [17.0, 0, 0], [16.5, 0, 0]]
    )
    labels = jnp.array([1, 2])
    loss, gradient = results(logits, labels, 5, 2)
    want = path_sum(np.asarray(logits, np.float64), np.array([1, 2]), 5, 2)
    assert 0 <= loss < 1e-6
    np.testing.assert_allclose(loss, want, atol=6e-8)
    assert jnp.isfinite(gradient).all()
    sure = jnp.array([[0.0, 30.0], [0.0, 30.0]])  # one path: 1 1, or 1 -, or - 1
    assert 0 <= ctc_loss(sure, jnp.array([1]), 2, 1) <= 2e-13
    rng = np.random.default_rng(0)
    peers, ours = [], []
    for _ in range(20):
        z = 18 * np.eye(4)[[1, 0, 2, 3, 0]] + rng.normal(0, 0.5, (5, 4))
        example = jnp.asarray(z, jnp.float32), jnp.array([1, 2, 3]), 5, 3
        ours.append(ctc_loss(*example))
        peers.append(optax_loss(*example)[0])
    assert min(ours) >= 0 > min(peers)


def test_a_certain_class_is_certain_and_two_are_undefined():
    logits = uniform(2).at[0, 1].set(jnp.inf)
    np.testing.assert_allclose(  # 1, then 1 or blank
        ctc_loss(logits, jnp.array([1]), 2, 1), np.log(2), rtol=1e-6
    )
    assert ctc_loss(logits, jnp.array([2]), 2, 1) == jnp.inf
    for row in ([jnp.inf, jnp.inf, 0, 0], [-jnp.inf] * 4, [jnp.nan, 0, 0, 0]):
        loss, gradient = results(
            uniform(2).at[1].set(jnp.array(row)), jnp.array([1]), 2, 1
        )
        assert jnp.isnan(loss)
        np.testing.assert_array_equal(gradient, 0)


def test_forward_probs_are_those_of_optax_where_they_can_be_reached():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(0, 2, (7, 5)), jnp.float32)
    labels = jnp.array([1, 1, 4, 2])
    for frames, length in ((7, 4), (5, 3), (5, 0), (1, 1)):
        ours = ctc_loss_with_forward_probs(logits, labels, frames, length)
        assert ours[0] == ctc_loss(logits, labels, frames, length)
        peers = optax_loss(
            logits, labels, frames, length, optax.ctc_loss_with_forward_probs
        )
        if ours[0] < jnp.inf:
            np.testing.assert_allclose(ours[0], peers[0][0], rtol=1e-5)
        for got, peer in zip(ours[1:], peers[1:], strict=True):
            want = np.array(peer[:, 0])
            want[want < -5e4] = -np.inf
            want[:, want.shape[1] - (len(labels) - length) :] = -np.inf
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_forward_probs_have_the_derivatives_of_their_definition():
    rng = np.random.default_rng(0)
    logits, tangent = rng.normal(0, 2, (2, 4, 3))
    labels = np.array([1, 1, 2])
    with jax.enable_x64(True):

        def parts(z):
            out = ctc_loss_with_forward_probs(z, labels, 4, 2)
            return jnp.concatenate([jnp.where(x > -jnp.inf, x, 0).ravel() for x in out])

        slope = jax.jvp(parts, (logits,), (tangent,))[1]
        step = 1e-6
        numeric = parts(logits + step * tangent) - parts(logits - step * tangent)
        np.testing.assert_allclose(slope, numeric / (2 * step), atol=1e-7)
        assert jnp.isfinite(jax.jit(jax.jacrev(parts))(logits)).all()


def test_ctc_needs_less_memory_than_optax():
    batch, frames, classes, count = 32, 400, 64, 60
    rng = np.random.default_rng(0)
    logits = jax.ShapeDtypeStruct((batch, frames, classes), jnp.float32)
    labels = jnp.asarray(rng.integers(1, classes, (batch, count)))
    lengths = jnp.full(batch, frames), jnp.full(batch, count)
    none = jnp.zeros((batch, frames)), jnp.zeros((batch, count))

    def ours(z):
        return per_sample(ctc_loss)(z, labels, *lengths).sum()

    def peers(z):
        return optax.ctc_loss(z, none[0], labels, none[1]).sum()

    def needed(function):
        memory = jax.jit(function).lower(logits).compile().memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    assert needed(ours) < 0.7 * needed(peers)
    assert needed(jax.value_and_grad(ours)) < 0.7 * needed(jax.value_and_grad(peers))
