"""Cross-entropy of hidden states and a matrix: exact, in chunks, on many devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import gradients, reduction
from jaxloss.kernels import (
    linear_softmax_cross_entropy,
    linear_softmax_cross_entropy_with_statistics,
    weighted_linear_softmax_cross_entropy,
)

FEATURES = 8
OPTIONS = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.1},
    "z_loss": {"z_loss": 0.01},
    "soft_cap": {"soft_cap": 3.0},
    "all": {"label_smoothing": 0.3, "z_loss": 0.1, "soft_cap": 5.0},
}
# What runs once need not be compiled well.
compiled = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def head(tokens, classes, scale=1.0, dtype=jnp.float32, seed=0):
    """Hidden states, labels, weights and a bias whose logits have this scale."""
    rng = np.random.default_rng(seed)
    weights = scale * rng.normal(size=(FEATURES, classes)) / FEATURES**0.5
    arrays = (
        rng.normal(size=(tokens, FEATURES)),
        weights,
        scale * rng.normal(size=classes) / 2,
    )
    hidden, weights, bias = (jnp.asarray(x, dtype) for x in arrays)
    return hidden, jnp.asarray(rng.integers(0, classes, tokens)), weights, bias


def cotangent(tokens):
    """Not uniform, of both signs, some of them 0."""
    rng = np.random.default_rng(5)
    return rng.normal(size=tokens) * (rng.random(tokens) < 0.7)


def expected(hidden, labels, weights, bias, weight):
    """Losses and gradients in float64, from the textbook."""
    hidden, weights, bias = (np.asarray(x, np.float64) for x in (hidden, weights, bias))
    logits, rows = hidden @ weights + bias, np.arange(len(labels))
    own, highest = logits[rows, labels], logits.max(axis=1)
    slope = np.exp(logits - highest[:, None])
    total = slope.sum(axis=1)
    slope[rows, labels] = 0
    others = slope.sum(axis=1)
    slope[rows, labels] = -others
    slope *= (weight / total)[:, None]
    odds = np.log(others) + highest - own
    return np.logaddexp(0, odds), (slope @ weights.T, hidden.T @ slope, slope.sum(0))


def pulled(labels, **options):
    """Losses, and the gradients for a cotangent of them."""

    def ask(hidden, weights, bias, weight):
        def losses(hidden, weights, bias):
            return linear_softmax_cross_entropy(
                hidden, labels, weights, bias, **options
            )

        value, pull = jax.vjp(losses, hidden, weights, bias)
        return value, pull(weight)

    return ask


def near(found, wanted, tolerance):
    """Equal within a share of the largest element."""
    found = np.asarray(found, np.float64)
    np.testing.assert_allclose(
        found, wanted, rtol=0, atol=tolerance * (np.abs(wanted).max() + 1e-30)
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("classes", [2, 127, 128, 1000, 32769])
@pytest.mark.parametrize("tokens", [1, 7, 128, 1000])
def test_losses_and_gradients_are_exact_for_any_sizes_and_scales(
    tokens, classes, dtype
):
    weight = cotangent(tokens)
    sizes = {"chunk_size": 1} if classes == 2 else {"chunk_size": 64}
    sizes = {"chunk_size": 8192} if classes == 32769 else sizes
    labels = head(tokens, classes)[1]
    asks = [pulled(labels, implementation="reference")]
    asks += [pulled(labels, implementation="chunked", **sizes)]
    ask = compiled(lambda *data: [ask(*data) for ask in asks])
    for scale in (0.01, 1, 30):
        hidden, labels, weights, bias = head(tokens, classes, scale, dtype)
        losses, slopes = expected(hidden, labels, weights, bias, weight)
        for found, pulls in ask(hidden, weights, bias, jnp.asarray(weight, "f4")):
            assert found.dtype == jnp.float32
            near(found, losses, 2e-5)
            for one, other in zip(pulls, slopes, strict=True):
                assert one.dtype == dtype
                near(one, other, 4e-3 if dtype == jnp.bfloat16 else 2e-5)


@pytest.mark.parametrize("chunk_size", [1, 5, 60, 61, 300, None])
def test_every_size_of_a_chunk_gives_the_same(chunk_size):
    hidden, labels, weights, bias = head(9, 61)
    weight = cotangent(9)
    ask = pulled(labels, implementation="chunked", chunk_size=chunk_size)
    found, pulls = compiled(ask)(hidden, weights, bias, jnp.asarray(weight, "f4"))
    losses, slopes = expected(hidden, labels, weights, bias, weight)
    near(found, losses, 1e-6)
    for one, other in zip(pulls, slopes, strict=True):
        near(one, other, 1e-6)


def statistics_in_words(logits, label, label_smoothing=0, z_loss=0, soft_cap=None):
    """One token in float64: loss, log-probability and entropy."""
    if soft_cap is not None:
        logits = np.where(
            logits > -np.inf, soft_cap * np.tanh(logits / soft_cap), -np.inf
        )
    normalizer = np.logaddexp.reduce(logits)
    log_p = logits - normalizer
    possible = logits > -np.inf
    loss = -(1 - label_smoothing) * log_p[label]
    loss -= label_smoothing * log_p[possible].mean()
    loss += z_loss * normalizer**2
    return loss, log_p[label], -np.sum(np.exp(log_p[possible]) * log_p[possible])


@pytest.mark.parametrize("implementation", ["reference", "chunked"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_options_and_statistics_are_right_and_so_are_their_gradients(
    implementation, options
):
    hidden, labels, weights, bias = head(6, 23)
    bias = bias.at[3].set(-jnp.inf)  # an impossible class, which is no label here
    labels = jnp.where(labels == 3, 4, labels)
    rng = np.random.default_rng(1)
    mix = rng.normal(size=(3, 6))

    def total(hidden, weights, bias):
        logits = hidden @ weights + bias
        rows = [
            statistics_in_words(z, y, **options)
            for z, y in zip(logits, labels, strict=True)
        ]
        return np.transpose(rows)

    def ask(hidden, weights, bias):
        losses, more = linear_softmax_cross_entropy_with_statistics(
            hidden,
            labels,
            weights,
            bias,
            implementation=implementation,
            chunk_size=7,
            **options,
        )
        return jnp.stack([losses, more.log_probs, more.entropies])

    arrays = [np.asarray(x, np.float64) for x in (hidden, weights, bias)]
    found, pull = jax.vjp(jax.jit(ask), hidden, weights, bias)
    near(found, total(*arrays), 2e-6)
    slopes = pull(jnp.asarray(mix, "f4"))
    for k in range(3):
        direction = [np.zeros_like(x) for x in arrays]
        direction[k] = rng.normal(size=arrays[k].shape)
        step = 1e-6
        sides = [
            np.sum(mix * total(*(a + sign * step * d for a, d in moved)))
            for sign, moved in (
                (s, zip(arrays, direction, strict=True)) for s in (1, -1)
            )
        ]
        slope = (sides[0] - sides[1]) / (2 * step)
        ours = np.sum(np.asarray(slopes[k], np.float64) * direction[k])
        assert ours == pytest.approx(slope, rel=1e-4, abs=1e-4)
    assert slopes[2][3] == 0


@pytest.mark.parametrize("implementation", ["reference", "chunked"])
def test_a_nearly_certain_label_keeps_its_digits(implementation):
    gaps = jnp.array([20.0, 40.0, 80.0])
    weights = jnp.array([[1.0, 0.0, 0.0]])

    @compiled
    def ask(hidden):
        losses, pull = jax.vjp(
            lambda h: linear_softmax_cross_entropy(
                h,
                jnp.array([0, 0, 0]),
                weights,
                implementation=implementation,
                chunk_size=2,
            ),
            hidden,
        )
        return losses, pull(jnp.ones(3))[0]

    losses, slopes = ask(gaps[:, None])
    wanted = np.log1p(2 * np.exp(-np.asarray(gaps, np.float64)))
    # 80 - log(2) is rounded to 4e-6.
    np.testing.assert_allclose(losses, wanted, rtol=4e-6)
    np.testing.assert_allclose(slopes[:, 0], np.expm1(-wanted), rtol=4e-6)


@pytest.mark.parametrize("implementation", ["reference", "chunked"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_what_is_no_label_or_no_number_is_nan_and_harms_nobody_else(
    implementation, options
):
    hidden, labels, weights, bias = map(np.array, head(6, 11))
    bad, worse = labels.copy(), hidden.copy()
    bad[1:4] = -1, 11, -100
    worse[4] = np.nan
    ask = compiled(
        lambda y, h: pulled(y, implementation=implementation, chunk_size=4, **options)(
            h, weights, bias, jnp.ones(6).at[4].set(0)
        )
    )
    losses, slopes = ask(bad, worse)
    np.testing.assert_array_equal(jnp.isnan(losses), [0, 1, 1, 1, 1, 0])
    assert jnp.all(slopes[0][1:5] == 0)
    kept = jnp.array([1.0, 0, 0, 0, 0, 1])
    good = compiled(pulled(labels, implementation="reference", **options))(
        hidden, weights, bias, kept
    )
    for one, other in zip(slopes, good[1], strict=True):
        near(one, np.asarray(other, np.float64), 2e-6)


@pytest.mark.parametrize("implementation", ["reference", "chunked"])
def test_impossible_classes_cost_as_they_should(implementation):
    hidden, labels, weights, _ = head(3, 7)
    ask = compiled(pulled(labels, implementation=implementation, chunk_size=3))
    bias = jnp.zeros(7).at[labels[0]].set(-jnp.inf)
    losses, slopes = ask(hidden, weights, bias, jnp.ones(3))
    assert losses[0] == jnp.inf
    assert all(jnp.all(jnp.isfinite(x)) for x in slopes)
    assert slopes[2][labels[0]] == 0
    alone = jnp.full(7, -jnp.inf).at[labels[1]].set(0)
    losses, slopes = ask(hidden, weights, alone, jnp.ones(3))
    assert losses[1] == 0
    assert all(jnp.all(jnp.isfinite(x)) for x in slopes)


def test_the_smallest_batches_have_losses():
    hidden, labels, weights, bias = head(4, 5)
    for implementation in ("reference", "chunked"):
        ask = pulled(labels[:0], implementation=implementation)
        losses, slopes = ask(hidden[:0], weights, bias, jnp.zeros(0))
        assert losses.shape == (0,)
        assert not jnp.any(slopes[1])
        one = pulled(0 * labels, implementation=implementation)
        losses, _ = one(hidden, weights[:, :1], bias[:1], jnp.ones(4))
        assert not jnp.any(losses)


def test_it_is_mapped_and_derived_as_losses_are():
    hidden, labels, weights, _ = head(12, 10)
    hidden, labels = hidden.reshape(3, 4, FEATURES), labels.reshape(3, 4)

    def sequence(weights, hidden, labels, implementation):
        losses = linear_softmax_cross_entropy(
            hidden, labels, weights, implementation=implementation, chunk_size=4
        )
        return jnp.sum(losses**2)

    def each(weights, implementation):
        slope = jax.vmap(jax.grad(sequence), in_axes=(None, 0, 0, None))
        return slope(weights, hidden, labels, implementation)

    both = ("chunked", "reference")
    one, other = compiled(lambda w: [each(w, i) for i in both])(weights)
    near(one, np.asarray(other, np.float64), 1e-6)
    direction = jnp.ones_like(weights)

    def curvature(weights, implementation):
        slope = jax.grad(sequence)(weights, hidden[0], labels[0], implementation)
        return jnp.sum(slope * direction * weights)

    one, other = compiled(lambda w: [jax.grad(curvature)(w, i) for i in both])(weights)
    near(one, np.asarray(other, np.float64), 1e-5)


def test_forward_mode_works_or_says_that_it_does_not():
    hidden, labels, weights, _ = head(4, 10)

    def losses(weights, implementation):
        return linear_softmax_cross_entropy(
            hidden, labels, weights, implementation=implementation
        )

    change = jnp.ones_like(weights)
    _, found = jax.jvp(lambda w: losses(w, "reference"), (weights,), (change,))
    (slopes,) = jax.vjp(lambda w: losses(w, "chunked"), weights)[1](jnp.ones(4))
    assert jnp.sum(found) == pytest.approx(float(jnp.sum(slopes)), abs=1e-5)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda w: losses(w, "chunked"), (weights,), (change,))


def test_small_logits_are_just_computed_and_large_ones_never():
    def largest(tokens):
        data = (jnp.zeros((tokens, 8)), jnp.zeros(tokens, int), jnp.zeros((8, 32768)))
        program = jax.make_jaxpr(linear_softmax_cross_entropy)(*data)
        return "scan" in str(program)

    assert not largest(512)
    assert largest(513)


@pytest.mark.parametrize("classes", [32768, 131072])
def test_memory_does_not_grow_with_the_classes(classes):
    tokens, features = 4096, 512
    arrays = (
        jax.ShapeDtypeStruct((tokens, features), "f4"),
        jax.ShapeDtypeStruct((features, classes), "f4"),
        jax.ShapeDtypeStruct((classes,), "f4"),
        jax.ShapeDtypeStruct((tokens,), "f4"),
    )
    labels = jnp.zeros(tokens, jnp.int32)

    def weighted(hidden, weights, bias, token_weights):
        def mean(hidden, weights, bias):
            return weighted_linear_softmax_cross_entropy(
                hidden, labels, token_weights, weights, bias
            )

        return jax.value_and_grad(mean, (0, 1, 2), has_aux=True)(hidden, weights, bias)

    for ask in (pulled(labels), weighted):
        memory = jax.jit(ask).lower(*arrays).compile().memory_analysis()
        assert memory is not None
        assert memory.temp_size_in_bytes <= 160 * 2**20


def products(function, *data):
    """How many products of matrices a program has."""
    return str(jax.make_jaxpr(function)(*data)).count("dot_general[")


def test_it_takes_four_products_and_the_weighted_form_three():
    hidden, labels, weights, _ = head(8, 12)

    def total(hidden, weights):
        losses = linear_softmax_cross_entropy(
            hidden, labels, weights, implementation="chunked", chunk_size=4
        )
        return jnp.sum(losses * jnp.arange(8.0))

    assert products(jax.value_and_grad(total, (0, 1)), hidden, weights) == 4

    def mean(hidden, weights, losses_too):
        mean, losses = weighted_linear_softmax_cross_entropy(
            hidden, labels, jnp.ones(8), weights, chunk_size=4
        )
        return (mean + jnp.sum(losses) if losses_too else mean), losses

    both = jax.value_and_grad(mean, (0, 1), has_aux=True)
    assert products(jax.jit(lambda h, w: both(h, w, False)), hidden, weights) == 3
    assert products(lambda h, w: both(h, w, True), hidden, weights) > 3


@pytest.mark.parametrize("chunk_size", [None, 1, 4, 5])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_the_weighted_form_is_the_weighted_mean_with_all_its_gradients(
    chunk_size, options
):
    hidden, labels, weights, bias = head(9, 21)
    labels = labels.at[2].set(-1)
    hidden = hidden.at[3].set(jnp.nan)
    token_weights = jnp.asarray(np.abs(cotangent(9)), "f4").at[2:4].set(0)

    def ours(hidden, token_weights, weights, bias):
        mean, losses = weighted_linear_softmax_cross_entropy(
            hidden,
            labels,
            token_weights,
            weights,
            bias,
            chunk_size=chunk_size,
            **options,
        )
        return 3 * mean, losses

    def plain(hidden, token_weights, weights, bias):
        losses = linear_softmax_cross_entropy(
            hidden, labels, weights, bias, implementation="reference", **options
        )
        return 3 * reduction.weighted_mean(losses, token_weights), losses

    data = hidden, token_weights, weights, bias
    found, wanted = (
        compiled(jax.value_and_grad(f, (0, 1, 2, 3), has_aux=True))(*data)
        for f in (ours, plain)
    )
    assert jnp.sum(jnp.isnan(found[0][1])) == 2
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6),
        found,
        wanted,
    )


def test_the_losses_of_the_weighted_form_have_a_gradient_too():
    hidden, labels, weights, _ = head(7, 13)
    weight = jnp.asarray(cotangent(7), "f4")

    def ours(hidden, weights):
        mean, losses = weighted_linear_softmax_cross_entropy(
            hidden, labels, jnp.ones(7), weights
        )
        return mean + jnp.sum(weight * losses)

    def plain(hidden, weights):
        losses = linear_softmax_cross_entropy(hidden, labels, weights)
        return jnp.mean(losses) + jnp.sum(weight * losses)

    found, wanted = (
        compiled(jax.grad(f, (0, 1)))(hidden, weights) for f in (ours, plain)
    )
    for one, other in zip(found, wanted, strict=True):
        near(one, np.asarray(other, np.float64), 1e-6)


def test_weights_of_nothing_give_nothing():
    hidden, labels, weights, _ = head(5, 13)
    mean, slopes = compiled(
        jax.value_and_grad(
            lambda w: weighted_linear_softmax_cross_entropy(
                hidden, labels, jnp.zeros(5), w
            )[0]
        )
    )(weights)
    assert mean == 0
    assert not jnp.any(slopes)


def test_gradients_of_narrow_weights_are_summed_in_float32():
    # One column gets 4096 equal parts: added up in bfloat16 they would stop at 256.
    tokens = 4096
    hidden = jnp.ones((tokens, 1), jnp.bfloat16)
    weights = jnp.zeros((1, 2), jnp.bfloat16)
    labels = jnp.zeros(tokens, jnp.int32)

    def mean(weights):
        return weighted_linear_softmax_cross_entropy(
            hidden, labels, jnp.ones(tokens), weights, chunk_size=64
        )[0]

    def total(weights):
        return jnp.sum(
            linear_softmax_cross_entropy(
                hidden, labels, weights, implementation="chunked"
            )
        )

    np.testing.assert_array_equal(jax.grad(mean)(weights), [[-0.5, 0.5]])
    np.testing.assert_array_equal(jax.grad(total)(weights), [[-2048, 2048]])


def test_gradients_of_each_example_stay_in_factors():
    hidden, labels, weights, bias = head(12, 30)
    params = {"weights": weights, "bias": bias}

    def loss(params, hidden, labels):
        return jnp.mean(
            linear_softmax_cross_entropy(
                hidden,
                labels,
                params["weights"],
                params["bias"],
                implementation="reference",
            )
        )

    batch = hidden.reshape(4, 3, FEATURES), labels.reshape(4, 3)
    _, grads = gradients.per_example(loss)(params, *batch)
    ((met, slope),) = grads.factors
    assert (met.shape, slope.shape) == ((4, 3, FEATURES), (4, 3, 30))
    each = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(params, *batch)
    squares = sum(jnp.sum(x**2, axis=range(1, x.ndim)) for x in each.values())
    np.testing.assert_allclose(gradients.norms(grads) ** 2, squares, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"hidden": jnp.ones((2, 3, 8))}, ValueError, "Fold further axes"),
        ({"hidden": jnp.ones((6, 8), int)}, TypeError, "`hidden` must be floating"),
        ({"weights": jnp.ones((11, 8))}, ValueError, r"`weights\.T`"),
        ({"bias": jnp.ones(3)}, ValueError, r"`bias` must have shape \(11,\)"),
        ({"labels": jnp.ones(6)}, TypeError, "`labels` must be an integer"),
        ({"labels": jnp.ones(5, int)}, ValueError, r"`labels` must have shape \(6,\)"),
        ({"chunk_size": 0}, ValueError, "`chunk_size` must be a number of classes"),
        ({"implementation": "fast"}, ValueError, "'reference', 'chunked' or None"),
        ({"soft_cap": jnp.ones(())}, TypeError, "`soft_cap` must be a Python number"),
        ({"soft_cap": -1.0}, ValueError, "`soft_cap` must be above 0"),
        ({"label_smoothing": 2.0}, ValueError, "`label_smoothing` must be in"),
    ],
)
def test_bad_input_is_told_what_was_wanted(change, error, message):
    hidden, labels, weights, bias = head(6, 11)
    data = {"hidden": hidden, "labels": labels, "weights": weights, "bias": bias}
    options = {"implementation": "chunked"}
    for name, value in change.items():
        (data if name in data else options)[name] = value
    with pytest.raises(error, match=message):
        linear_softmax_cross_entropy(*data.values(), **options)


def test_bad_weights_of_tokens_are_told_what_was_wanted():
    hidden, labels, weights, _ = head(6, 11)
    ask = weighted_linear_softmax_cross_entropy
    with pytest.raises(ValueError, match="one for each token"):
        ask(hidden, labels, jnp.ones(5), weights)
    with pytest.raises(ValueError, match="number of tokens from 1 on"):
        ask(hidden, labels, jnp.ones(6), weights, chunk_size=0)
    with pytest.raises(TypeError, match="`z_loss` must be a Python number"):
        ask(hidden, labels, jnp.ones(6), weights, z_loss=jnp.ones(()))  # pyright: ignore[reportArgumentType]
