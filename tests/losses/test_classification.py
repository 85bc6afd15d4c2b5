"""Values by hand and guarantees peculiar to the losses over classes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import losses

_xent = losses.softmax_cross_entropy_with_integer_labels
# Compiled as wholes: by itself each operation on each shape is a program too.
_integer, _soft = (
    jax.jit(jax.vmap(jax.value_and_grad(loss)))
    for loss in (_xent, losses.softmax_cross_entropy)
)
_integer_values, _soft_values = (
    jax.jit(jax.vmap(loss)) for loss in (_xent, losses.softmax_cross_entropy)
)
_one = jax.jit(jax.value_and_grad(_xent))


@pytest.mark.parametrize(
    ("label", "smoothing", "by_hand"),
    [
        (0, 0.0, math.log(4 / 3)),
        (1, 0.0, math.log(4)),
        (0, 0.5, 0.5 * math.log(4 / 3) + 0.25 * (math.log(4 / 3) + math.log(4))),
    ],
)
def test_integer_labels_by_hand(label, smoothing, by_hand):
    logits = jnp.log(jnp.array([3.0, 1.0]))  # probabilities 3/4 and 1/4
    loss = _xent(logits, label, label_smoothing=smoothing)
    np.testing.assert_allclose(loss, by_hand, rtol=1e-6)


HARD_POINTS = [
    ([1e8, 1e8], 0, math.log(2)),
    ([1000.0, 990.0], 0, math.log1p(math.exp(-10))),
    ([17.0, 0.0], 0, math.log1p(math.exp(-17))),
    ([0.0, 17.0], 0, 17 + math.log1p(math.exp(-17))),
    ([3e38, -3e38], 0, 0.0),
    ([5.0], 0, 0.0),
    ([math.inf, 0.0], 0, 0.0),
    ([math.inf, 0.0], 1, math.inf),
    ([-math.inf, 0.0], 0, math.inf),
    ([-math.inf, 0.0], 1, 0.0),
    ([math.inf, math.inf], 0, math.nan),
    ([-math.inf, -math.inf], 0, math.nan),
    ([math.nan, 0.0], 1, math.nan),
    ([math.nan, math.inf], 1, math.nan),
    ([0.0, -1e-9], 0, math.log(2)),
]


@pytest.mark.parametrize(("logits", "label", "exact"), HARD_POINTS)
def test_integer_and_soft_labels_agree_at_the_hard_points(logits, label, exact):
    logits = jnp.array(logits)
    np.testing.assert_allclose(_xent(logits, label), exact, rtol=1e-6)
    target = jax.nn.one_hot(label, logits.size)
    soft = losses.softmax_cross_entropy(logits, target)
    np.testing.assert_allclose(soft, exact, rtol=1e-6)


@pytest.mark.parametrize("classes", [3, 20, 48, 49, 63, 64, 200, 512, 513, 2048])
def test_hard_points_among_many_impossible_classes_and_plain_examples(classes):
    batch = [*HARD_POINTS, ([0.5, 1.0, 0.25], 1, None), ([17.0, 0.0], 1, None)]
    logits = np.full((len(batch), classes), -np.inf, np.float32)
    for row, (some, _, _) in zip(logits, batch, strict=True):
        row[: len(some)] = some
    label = np.array([label for _, label, _ in batch])
    target = np.eye(classes, dtype=np.float32)[label]
    integer, soft = _integer(logits, label), _soft(logits, target)
    exact = [_xent(jnp.array(z), y) if e is None else e for z, y, e in batch]
    np.testing.assert_allclose(integer[0], exact, rtol=1e-6)
    np.testing.assert_allclose(soft[0], exact, rtol=1e-6)
    # The gradient p - y of a soft target is rounded as p is.
    finite = ~np.isinf(integer[0])
    slopes, soft_slopes = np.asarray(integer[1]), np.asarray(soft[1])
    np.testing.assert_allclose(soft_slopes[finite], slopes[finite], atol=1.2e-7)
    for row, (some, y, _) in zip(slopes, batch, strict=True):
        _, alone = _one(jnp.array(some), y)
        np.testing.assert_allclose(row[: len(some)], alone, rtol=1e-6)
        np.testing.assert_array_equal(row[len(some) :], 0)


@pytest.mark.parametrize(
    ("classes", "size"),
    [(20, 256), (48, 256), (49, 256), (100, 256), (1000, 256), (1280, 64), (50257, 16)],
)
@pytest.mark.parametrize("scale", [0.1, 3, 30])
def test_cross_entropies_are_exact_for_every_certainty(classes, size, scale):
    rng = np.random.default_rng(classes)
    logits = scale * rng.standard_normal((size, classes), np.float32)
    target = rng.dirichlet(np.full(classes, 0.02), size).astype(np.float32)
    best = logits.argmax(-1)
    certain = target[: size // 2]
    certain[:] = 0
    np.put_along_axis(certain, best[: size // 2, None], 1, -1)
    wide = logits.astype(np.float64)
    below = wide - wide.max(-1, keepdims=True)
    others = np.exp(below)
    np.put_along_axis(others, best[:, None], 0, -1)
    log_p = below - np.log1p(others.sum(-1, keepdims=True))
    exact = -(target.astype(np.float64) * log_p).sum(-1)
    soft = _soft_values(logits, target)
    np.testing.assert_allclose(soft, exact, rtol=3e-6, atol=1e-37)
    integer = _integer_values(logits, best)
    own = np.take_along_axis(log_p, best[:, None], -1)[:, 0]
    np.testing.assert_allclose(integer, -own, rtol=3e-6, atol=1e-37)


@pytest.mark.parametrize("classes", [513, 1000, 1024])
@pytest.mark.parametrize("lead", [3, 8, 17, 60])
def test_soft_labels_are_exact_wherever_the_certain_class_is(classes, lead):
    # In some column of a sum, and some classes would be in two.
    rng = np.random.default_rng(lead)
    logits = rng.standard_normal((classes, classes), np.float32) - 5
    np.fill_diagonal(logits, lead)
    target = np.eye(classes, dtype=np.float32)
    others = np.exp(logits.astype(np.float64) - lead)
    np.fill_diagonal(others, 0)
    exact = np.log1p(others.sum(-1))
    soft = _soft_values(logits, target)
    np.testing.assert_allclose(soft, exact, rtol=3e-6, atol=1e-37)


@pytest.mark.parametrize("classes", [10, 40, 100, 1280])
@pytest.mark.parametrize("together", [False, True])
def test_labels_however_far_behind_are_exact(classes, together):
    behind = np.array([-100, -60, 0, 20, 44, 44.4, 50, 80, 89, 100, 500], np.float32)
    logits = np.random.default_rng(0).standard_normal((behind.size, classes), "f4")
    label, rival = 3, 7
    logits[:, label] = 10
    logits[:, rival] = 10 + behind
    kernel = jax.jit(jax.vmap(jax.value_and_grad(_xent), in_axes=(0, None)))
    parts = [slice(None)] if together else [slice(i, i + 1) for i in range(behind.size)]
    loss, gradient = (
        np.concatenate(x)
        for x in zip(*(kernel(logits[part], label) for part in parts), strict=True)
    )
    odds = np.exp(np.delete(logits.astype(np.float64), label, 1) - 10)
    total = odds.sum(1, keepdims=True)
    slopes = np.insert(odds, label, -total[:, 0], 1) / (1 + total)
    np.testing.assert_allclose(loss, np.log1p(total[:, 0]), rtol=3e-6)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("classes", [10, 40, 100])
@pytest.mark.parametrize("behind", [40.0, 44.0, 60.0, 87.0])
def test_a_small_weight_of_a_label_far_behind_keeps_its_gradient(classes, behind):
    # Divided by the sum of exponentials, all at once, it would be below all numbers.
    logits = jnp.zeros(classes).at[7].set(behind)
    weighted = jax.jit(jax.grad(lambda z: 1e-6 * _xent(z, 3)))(logits)
    np.testing.assert_allclose(weighted[jnp.array([3, 7])], [-1e-6, 1e-6], rtol=1e-5)


@pytest.mark.parametrize("classes", [10, 40, 100, 300, 1000])
@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_one_bad_logit_is_seen_with_the_gradient_too(classes, bad):
    # In a large batch: there the compiler fuses maxima, which may lose a nan.
    size, rng = 1024, np.random.default_rng(classes)
    logits = rng.normal(size=(size, classes)).astype(np.float32)
    label = rng.integers(0, classes, size)
    rows = np.arange(size)
    other = (label + 1 + rows % (classes - 1)) % classes
    spoilt = logits.copy()
    spoilt[rows[::2], other[::2]] = bad
    spoilt[rows[1::4], label[1::4]] = jnp.nan
    bad_one = (rows % 4 == 1) | (rows % 2 == 0)
    soft = np.full((size, classes), 0.1 / (classes - 1), np.float32)
    soft[rows, label] = 0.9
    for loss, target in ((_xent, label), (losses.softmax_cross_entropy, soft)):
        results = jax.jit(jax.vmap(jax.value_and_grad(loss)))
        clean, clean_gradient = results(logits, target)
        value, gradient = results(spoilt, target)
        at_inf = (rows % 2 == 0) & np.isinf(bad)
        np.testing.assert_array_equal(np.isinf(value), at_inf)
        np.testing.assert_array_equal(np.isnan(value), bad_one & ~at_inf)
        np.testing.assert_array_equal(gradient[bad_one & ~at_inf], 0)
        assert not np.isnan(gradient).any()
        np.testing.assert_allclose(value[~bad_one], clean[~bad_one], rtol=1e-6)
        np.testing.assert_allclose(
            gradient[~bad_one], clean_gradient[~bad_one], rtol=1e-5, atol=1e-9
        )


def test_optax_cancels_where_we_do_not():
    logits = jnp.array([1e8, 1e8])
    peer = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.array(0))
    assert peer == 0.0  # true: log 2
    np.testing.assert_allclose(_xent(logits, 0), math.log(2), rtol=1e-6)


def test_optax_wraps_a_label_of_minus_one_where_we_do_not():
    logits = jnp.array([1.0, 2.0, 3.0])
    peer = optax.softmax_cross_entropy_with_integer_labels
    assert peer(logits, jnp.array(-1)) == peer(logits, jnp.array(2))
    assert jnp.isnan(_xent(logits, -1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_impossible_classes_are_as_if_absent(smoothing):
    masked = jnp.array([0.3, -jnp.inf, 2.0])
    without = jnp.array([0.3, 2.0])
    loss, gradient = jax.value_and_grad(_xent)(masked, 2, label_smoothing=smoothing)
    want = _xent(without, 1, label_smoothing=smoothing)
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    assert gradient[1] == 0.0 and jnp.isfinite(gradient).all()
    target = jnp.array([0.25, 0.0, 0.75])
    soft = losses.softmax_cross_entropy(masked, target, label_smoothing=smoothing)
    want = losses.softmax_cross_entropy(without, target[::2], label_smoothing=smoothing)
    np.testing.assert_allclose(soft, want, rtol=1e-6)


def test_a_target_on_an_impossible_class_costs_infinity_without_nan_gradient():
    logits, target = jnp.array([0.0, -jnp.inf]), jnp.array([0.5, 0.5])
    loss, gradient = jax.value_and_grad(losses.softmax_cross_entropy)(logits, target)
    assert loss == jnp.inf
    assert not jnp.isnan(gradient).any()


def test_integer_label_gradient_sums_to_zero_and_is_bounded():
    for logits in ([-80.0, 80.0], [0.3, 0.1], [17.0, 0.0]):
        gradient = jax.grad(_xent)(jnp.array(logits), 0)
        assert gradient.sum() == 0
        assert jnp.linalg.norm(gradient) <= math.sqrt(2) + 1e-6
    # Near certainty the last digits are kept: softmax minus one-hot would give 0.
    np.testing.assert_allclose(
        jax.grad(_xent)(jnp.array([17.0, 0.0]), 0)[1], 4.1399376e-08, rtol=1e-5
    )


@pytest.mark.parametrize("label", [0, 1])
def test_second_order_is_finite_where_an_exponential_overflows(label):
    logits = jnp.array([1e30, 0.0, -1e4])
    for second in (jax.hessian(_xent), jax.jacrev(jax.grad(_xent))):
        assert jnp.isfinite(second(logits, label)).all()


def test_the_gradient_for_an_unnormalised_target_is_the_true_one():
    logits, target = jnp.array([0.5, -1.0, 2.0]), jnp.array([2.0, 0.0, 1.0])
    want = jax.nn.softmax(logits) * 3 - target
    got = jax.grad(losses.softmax_cross_entropy)(logits, target)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_forward_mode_with_an_impossible_class_is_finite():
    logits, target = jnp.array([0.5, -jnp.inf, 2.0]), jnp.array([0.5, 0.0, 0.5])
    slopes = jax.jacfwd(losses.softmax_cross_entropy)(logits, target)
    assert jnp.isfinite(slopes).all()
    assert jnp.isnan(jax.jacfwd(optax.safe_softmax_cross_entropy)(logits, target)).any()


def test_soft_cap_keeps_impossible_classes_impossible():
    logits = jnp.array([40.0, -jnp.inf, 2.0])
    capped = 5 * np.tanh(np.array([40.0, 2.0]) / 5)
    want = _xent(jnp.asarray(capped, jnp.float32), 1)
    np.testing.assert_allclose(_xent(logits, 2, soft_cap=5.0), want, rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{"label_smoothing": 1.5}, {"soft_cap": 0.0}, {"class_weights": [1.0]}]
)
def test_options_out_of_range_are_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"`{name}` must"):
        _xent(jnp.zeros(3), 0, **options)


def test_categorical_cross_entropy_corners():
    def loss(p, y, **options):
        return losses.categorical_cross_entropy(jnp.array(p), jnp.array(y), **options)

    assert loss([1.0, 0.0], [1.0, 0.0]) == 0
    assert loss([1.0, 0.0], [0.0, 1.0]) == jnp.inf
    assert jnp.isnan(loss([1.2, 0.1], [1.0, 0.0]))
    assert jnp.isnan(loss([-0.1, 0.1], [0.0, 1.0]))
    assert jnp.isnan(loss([0.0, 0.0], [0.0, 1.0], normalize=True))
    np.testing.assert_allclose(
        loss([0.2, 0.2], [0.0, 1.0], normalize=True), math.log(2), rtol=1e-6
    )
    np.testing.assert_allclose(
        loss([1.0, 0.0], [0.0, 1.0], clip=1e-7), -math.log(1e-7), rtol=1e-6
    )


def test_margin_wants_two_classes():
    with pytest.raises(ValueError, match="at least two classes, got 1"):
        losses.margin(jnp.zeros(1), 0)


def test_margin_of_probabilities_is_bounded():
    logits = jnp.array([1e4, -1e4, 0.0])
    for label, want in [(0, 1), (1, -1), (2, -1)]:
        np.testing.assert_allclose(losses.margin(logits, label, temperature=1.0), want)


def test_forward_mode_is_safe_where_that_of_optax_is_nan():
    logits, target = jnp.array([1.0, -jnp.inf, 0.5]), jnp.array([0.4, 0.0, 0.6])
    theirs = jax.jacfwd(optax.losses.safe_softmax_cross_entropy)(logits, target)
    assert jnp.isnan(theirs).any()
    # softmax of the two possible classes, less the target
    p = 1 / (1 + np.exp(-0.5))
    ours = jax.jacfwd(losses.safe_softmax_cross_entropy)(logits, target)
    np.testing.assert_allclose(ours, [p - 0.4, 0, 1 - p - 0.6], rtol=1e-5)


def test_smooth_labels_equals_that_of_optax_without_a_mask():
    target = jnp.array([0.0, 1.0, 0.0])
    np.testing.assert_allclose(
        losses.smooth_labels(target, alpha=0.3),
        optax.losses.smooth_labels(target, 0.3),
        rtol=1e-6,
    )


def test_smooth_labels_gives_nothing_to_classes_left_out():
    target, where = jnp.array([1.0, 0.0, 0.0]), jnp.array([True, True, False])
    with jax.numpy_dtype_promotion("standard"):
        theirs = optax.losses.smooth_labels(target, 0.3, where=where)
    np.testing.assert_allclose(theirs, [0.85, 0.15, 0.15], rtol=1e-6)
    ours = losses.smooth_labels(target, where, alpha=0.3)
    np.testing.assert_allclose(ours, [0.85, 0.15, 0], rtol=1e-6)
    poisoned = target.at[2].set(jnp.nan)
    np.testing.assert_array_equal(
        losses.smooth_labels(poisoned, where, alpha=0.3), ours
    )


def test_smooth_labels_is_the_option_of_the_cross_entropy():
    logits, target = jnp.array([1.0, -jnp.inf, 0.5]), jnp.array([0.4, 0.0, 0.6])
    smoothed = losses.smooth_labels(target, logits > -jnp.inf, alpha=0.2)
    np.testing.assert_allclose(
        losses.softmax_cross_entropy(logits, smoothed),
        losses.softmax_cross_entropy(logits, target, label_smoothing=0.2),
        rtol=1e-6,
    )


def test_smooth_labels_refuses_an_index():
    with pytest.raises(TypeError, match="`target` must be floating"):
        losses.smooth_labels(jnp.array([0, 1]), alpha=0.1)
    with pytest.raises(ValueError, match="`alpha` must be in"):
        losses.smooth_labels(jnp.array([0.0, 1.0]), alpha=1.1)


def test_nll_loss_of_log_softmax_is_cross_entropy():
    logits = jnp.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(
        losses.nll_loss(jax.nn.log_softmax(logits), 2),
        losses.softmax_cross_entropy_with_integer_labels(logits, 2),
        rtol=1e-6,
    )


def test_nll_loss_of_an_impossible_class_is_inf_unless_it_has_no_weight():
    log_prob = jnp.array([0.0, -jnp.inf])
    assert losses.nll_loss(log_prob, 1) == jnp.inf
    assert losses.nll_loss(log_prob, 1, class_weights=jnp.array([1.0, 0.0])) == 0
    assert losses.nll_loss(log_prob, 0) == 0


def test_one_nan_in_another_class_spoils_probabilities_and_moves_nothing():
    loss = losses.sparse_categorical_cross_entropy
    value, gradient = jax.value_and_grad(loss)(jnp.array([0.1, jnp.nan]), 0)
    assert jnp.isnan(value) and (gradient == 0).all()


def test_nll_loss_does_not_read_the_other_classes():
    log_prob = jnp.array([-0.1, jnp.nan])
    value, gradient = jax.value_and_grad(losses.nll_loss)(log_prob, 0)
    np.testing.assert_allclose(value, 0.1, rtol=1e-6)
    np.testing.assert_array_equal(gradient, [-1, 0])


def test_a_probability_of_zero_is_inf_and_clipped_only_on_request():
    # Keras clips at 1e-7 and so gives 16.118, with gradient 0.
    certain = jnp.array([1.0, 0.0])
    assert losses.sparse_categorical_cross_entropy(certain, 1) == jnp.inf
    value, gradient = jax.value_and_grad(losses.sparse_categorical_cross_entropy)(
        certain, 1, normalize=True, clip=1e-7
    )
    np.testing.assert_allclose(value, 16.118, rtol=1e-5)
    np.testing.assert_array_equal(gradient, 0)


def test_a_one_hot_target_is_its_label_for_probabilities():
    probability = jnp.array([0.2, 0.5, 0.3])
    np.testing.assert_allclose(
        losses.sparse_categorical_cross_entropy(probability, 2),
        losses.categorical_cross_entropy(probability, jnp.array([0, 0, 1])),
        rtol=1e-6,
    )
