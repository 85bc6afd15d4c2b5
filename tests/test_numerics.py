"""The shared primitives at the points where the plain ones fail."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special

from jaxloss import _numerics

INF, NAN, HUGE = jnp.inf, jnp.nan, 3e38


@functools.cache
def compiled_derivatives(fun, positions):
    # Compiled as a whole: by itself each of its operations is a program too.
    return jax.jit(
        lambda *point: (
            jax.jacfwd(fun, argnums=positions)(*point),
            jax.grad(fun, argnums=positions)(*point),
            [jax.hessian(fun, argnums=i)(*point) for i in positions],
        )
    )


def derivatives(fun, *point):
    """First and second derivatives, each argument by itself."""
    ask = compiled_derivatives(fun, tuple(range(len(point))))
    forward, reverse, second = ask(*map(np.float32, point))
    np.testing.assert_array_equal(forward, reverse)
    return list(map(float, reverse)), list(map(float, second))


# slopes


def test_a_slope_that_is_not_finite_counts_as_0():
    root = _numerics.slopes(lambda x: 0.5 / jnp.sqrt(x))(jnp.sqrt)
    x = jnp.array([0.0, 4.0, -1.0, NAN])
    np.testing.assert_array_equal(jax.vmap(jax.grad(root))(x), [0, 0.25, 0, 0])


def test_slopes_of_a_scalar_of_an_array_are_summed():
    total = _numerics.slopes(lambda x: 2 * x)(lambda x: jnp.sum(x**2))
    x = jnp.array([1.0, 3.0])
    np.testing.assert_array_equal(jax.grad(total)(x), [2, 6])
    assert jax.jvp(total, (x,), (jnp.ones(2),))[1] == 8
    np.testing.assert_array_equal(jax.hessian(total)(x), 2 * np.eye(2))


def test_slopes_of_arguments_that_stand_still_are_not_asked_for():
    def never(x, y):
        raise AssertionError

    product = _numerics.slopes(lambda x, y: y, never)(lambda x, y: x * y)
    assert jax.grad(product)(jnp.float32(2), jnp.float32(3)) == 3


# refined


def _square_where_bad(good, x, weight):
    """-1 where it is good, the weighted square elsewhere."""
    return _numerics.refined(good, -jnp.ones_like(x), lambda x, w: w * x**2, x, weight)


def test_a_value_is_refined_where_it_is_not_good():
    good, x = jnp.array([[True, False], [False, True]]), jnp.array([[1.0, 2], [3, 4]])
    weights, expected = jnp.array([1.0, 10]), [[-1, 40], [9, -1]]
    one = _square_where_bad
    by_row = jax.vmap(jax.vmap(one), in_axes=(0, 0, None))
    np.testing.assert_array_equal(by_row(good, x, weights), expected)
    by_column = jax.vmap(jax.vmap(one, in_axes=(0, 0, None)), in_axes=(1, 1, 0))
    np.testing.assert_array_equal(by_column(good, x, weights).T, expected)
    for i, j in np.ndindex(2, 2):
        assert jax.jit(one)(good[i, j], x[i, j], weights[j]) == expected[i][j]


def test_one_judgement_may_hold_for_all_examples():
    x, weight = jnp.array([1.0, 2.0]), jnp.float32(3)
    refine = jax.vmap(_square_where_bad, in_axes=(None, 0, None))
    np.testing.assert_array_equal(refine(jnp.array(False), x, weight), [3, 12])
    np.testing.assert_array_equal(refine(jnp.array(True), x, weight), [-1, -1])


def test_what_is_refined_has_no_derivative_of_its_own():
    good, x, weight = jnp.array([True]), jnp.ones(1), jnp.float32(3)
    refine = jax.vmap(_square_where_bad, in_axes=(0, 0, None))
    with pytest.raises(TypeError, match="no derivative"):
        jax.jvp(lambda x: refine(good, x, weight), (x,), (x,))


def test_a_batch_of_good_values_does_not_compute_better_ones():
    calls = []

    def better(x):
        jax.debug.callback(lambda: calls.append(1))
        return x

    refine = jax.jit(jax.vmap(lambda g, x: _numerics.refined(g, x, better, x)))
    refine(jnp.array([True, True]), jnp.ones(2)).block_until_ready()
    jax.effects_barrier()
    assert not calls
    refine(jnp.array([True, False]), jnp.ones(2)).block_until_ready()
    jax.effects_barrier()
    assert calls


# mean


def test_mean_is_over_the_kept_elements():
    values, where = jnp.array([1.0, NAN, 5.0]), jnp.array([True, False, True])
    assert _numerics.mean(values, where) == 3
    np.testing.assert_array_equal(
        jax.grad(_numerics.mean)(values, where), [0.5, 0, 0.5]
    )


def test_mean_over_nothing_is_0_with_derivative_0():
    assert _numerics.mean(jnp.zeros((0, 3))) == 0
    values, nowhere = jnp.array([NAN, INF]), jnp.zeros(2, bool)
    assert _numerics.mean(values, nowhere) == 0
    np.testing.assert_array_equal(jax.grad(_numerics.mean)(values, nowhere), 0)


# behind


@pytest.mark.parametrize("classes", [3, 100, 101])
def test_who_is_behind_has_a_slope_in_every_mode(classes):
    x = np.sin(np.arange(1, classes + 1, dtype=np.float32))
    change = np.cos(np.arange(1, classes + 1, dtype=np.float32))
    label, others = 1, x.copy()
    others[label] = -2
    rival = np.argmax(others)

    @jax.jit
    def results(x, change, label):
        def behind(x):
            return _numerics.behind(x, label)

        gradient = jax.grad(behind)
        second = jax.jvp(gradient, (x,), (change,))[1]
        return *jax.jvp(behind, (x,), (change,)), second, gradient(x)

    behind, slope, second, _ = results(x, change, np.int32(label))
    assert behind == x[rival] - x[label]
    np.testing.assert_allclose(slope, change[rival] - change[label], rtol=1e-6)
    np.testing.assert_array_equal(second, 0)
    *_, nothing = results(x, change, np.int32(-1))
    np.testing.assert_array_equal(nothing, 0)


@pytest.mark.parametrize("classes", [2, 16, 17, 33, 100, 203, 1000, 1021, 4100])
def test_behind_sees_every_class(classes):
    rng = np.random.default_rng(classes)
    x = rng.integers(-50, 0, (min(classes, 200), classes)).astype(np.float32)
    place = rng.permutation(classes)[:200]
    rows, label = np.arange(len(x)), (place + 1) % classes
    x[rows, place] = 7
    value, slopes = jax.jit(jax.vmap(jax.value_and_grad(_numerics.behind)))(x, label)
    np.testing.assert_array_equal(value, 7 - x[rows, label])
    want = np.zeros_like(x)
    want[rows, place], want[rows, label] = 1, -1
    np.testing.assert_array_equal(slopes, want)
    x[rows, place] = np.nan
    assert np.isnan(jax.jit(jax.vmap(_numerics.behind))(x, label)).all()


# sum_of


def weighted(x, y, scale):
    return scale * jnp.sin(x) * y


@pytest.mark.parametrize("cheap", [False, True])
@pytest.mark.parametrize(
    "shape", [(), (0,), (3,), (7, 5), (8, 16), (2**15 + 2,), (40, 30, 50), (65537,)]
)
def test_sum_of_is_a_sum_with_its_derivatives(shape, cheap):
    # 3 are added one by one, the others by columns.
    rng = np.random.default_rng(0)
    x, y = (np.asarray(rng.normal(size=shape), np.float32) for _ in range(2))
    operands = (x, y, np.float32(0.5))

    def ours(*operands):
        return _numerics.sum_of(weighted, *operands, cheap=cheap)

    def plain(*operands):
        return jnp.sum(weighted(*operands))

    @jax.jit
    def results(*operands):
        ones = jax.tree.map(jnp.ones_like, operands)
        found, wanted = (
            [jax.grad(f, position)(*operands) for position in range(3)]
            for f in (ours, plain)
        )
        return found, wanted, jax.jvp(jax.grad(ours), operands, ones)[1]

    exact = np.sum(0.5 * np.sin(x, dtype=float) * y)
    np.testing.assert_allclose(jax.jit(ours)(*operands), exact, rtol=1e-4, atol=1e-6)
    found, wanted, curve = results(*operands)
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    want = 0.5 * (-np.sin(x) * y + np.cos(x)) + np.cos(x) * y
    np.testing.assert_allclose(curve, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "length", [17, 20, 31, 33, 47, 63, 65, 100, 300, 511, 1000, 1021, 1152, 50257]
)
def test_sum_of_takes_every_element_once(length):
    # Lengths that columns do not divide: some elements lie in two of them.
    x = np.random.default_rng(length).integers(0, 9, (3, length)).astype(np.float32)
    total = jax.jit(jax.vmap(lambda x: _numerics.sum_of(jnp.square, x)))
    np.testing.assert_array_equal(total(x), np.sum(x**2, axis=1))
    for place in (0, length // 2, length - 1):
        x[1, place] = np.nan
        assert np.isnan(total(x)).tolist() == [False, True, False]
        x[1, place] = 0


@pytest.mark.parametrize("shape", [(224, 224), (50257,)])
def test_sum_of_a_batch_of_long_examples_holds_a_fourteenth_of_it(shape):
    x = jnp.ones((64, *shape))
    total = jax.jit(jax.vmap(lambda x: _numerics.sum_of(jnp.exp, x)))
    np.testing.assert_allclose(total(x), math.prod(shape) * np.e, rtol=1e-5)
    memory = total.lower(x).compile().memory_analysis()
    assert memory is not None
    assert 0 < memory.temp_size_in_bytes <= x.nbytes / 14


def three(x, y, scale):
    return scale * jnp.sin(x) * y, jnp.square(x), y


def test_a_cheap_sum_of_many_examples_leaves_to_another_loop_what_comes_after():
    # One thread made a sum that also divides, for so many examples.
    batch = jax.ShapeDtypeStruct((65536, 100), jnp.float32)
    mean = functools.partial(_numerics.mean_of, lambda x: x * x, cheap=True)
    program = jax.jit(jax.vmap(mean)).lower(batch).compile().as_text()
    assert program is not None
    (sums,) = (loop for loop in program.split("\n\n") if " reduce(" in loop)
    root = next(line for line in sums.splitlines() if line.lstrip().startswith("ROOT"))
    assert " reduce(" in root


@pytest.mark.parametrize("cheap", [False, True])
@pytest.mark.parametrize(
    "shape",
    [(), (0,), (3,), (17,), (8, 40), (1000,), (1021,), (40, 200), (300_001,)],
)
def test_sums_of_one_pass_are_those_of_each(shape, cheap):
    rng = np.random.default_rng(0)
    x, y = (np.asarray(rng.normal(size=(2, *shape)), np.float32) for _ in range(2))
    scale = jnp.float32(0.5)

    def ours(x, y):
        return _numerics.sum_of(three, x, y, scale, cheap=cheap)

    got = jax.jit(jax.vmap(ours))(x, y)
    within = tuple(range(1, 1 + len(shape)))
    each = 0.5 * np.sin(x, dtype=float) * y, np.square(x, dtype=float), y
    for sums, of in zip(got, each, strict=True):
        np.testing.assert_allclose(sums, np.sum(of, within), rtol=1e-4, atol=1e-3)
    slopes = jax.jit(jax.vmap(jax.grad(lambda *a: sum(ours(*a)), (0, 1))))(x, y)
    np.testing.assert_allclose(
        slopes[0], np.cos(x) * y / 2 + 2 * x, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(slopes[1], np.sin(x) / 2 + 1, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [3, 300, 1000, 1021])
def test_what_is_nan_in_one_sum_is_not_in_the_others(length):
    x = np.ones((2, length), np.float32)
    y = x.copy()
    x[1, length // 2] = y[0, 0] = np.nan
    sums = jax.jit(jax.vmap(lambda *a: _numerics.sum_of(lambda *a: a, *a)))(x, y)
    np.testing.assert_array_equal(sums, [[length, np.nan], [np.nan, length]])


def test_mean_of_is_the_mean_of_the_kept_elements():
    x, where = jnp.arange(4.0), jnp.array([True, True, False, False])
    assert _numerics.mean_of(jnp.square, x) == 3.5
    assert _numerics.mean_of(jnp.square, x, where=where) == 0.5
    assert _numerics.mean_of(jnp.square, jnp.zeros((0, 3))) == 0


# exponential, decay


def compiled_over_few_and_many(function, x):
    """As a program makes it of each of few and of many elements."""
    for copies in (1, 64):
        got = jax.jit(function)(np.tile(np.asarray(x), copies))
        yield from np.asarray(got, np.float64).reshape(copies, -1)


def test_the_exponential_is_exact_to_the_last_digit():
    x = np.linspace(-86.9, 88.72, 200_001, dtype=np.float32)
    exact = np.exp(x.astype(np.longdouble))
    got = np.asarray(jax.jit(_numerics.exponential)(x), np.longdouble)
    assert np.max(np.abs(got - exact) / exact) < 1.5 * 2**-24  # the compiler's: 1.4


def test_decay_is_exact_to_the_last_digit_and_knows_its_ends():
    x = np.linspace(0, 87.3, 100_001, dtype=np.float32)
    exact = np.exp(-x.astype(np.longdouble))
    got = np.asarray(jax.jit(_numerics.decay)(x), np.longdouble)
    assert np.max(np.abs(got - exact) / exact) < 1.5 * 2**-24
    ends = jnp.array([0, 88, 104, HUGE, INF, NAN, -INF], jnp.float32)
    for got in compiled_over_few_and_many(_numerics.decay, ends):
        np.testing.assert_allclose(got[:-1], [1, 0, 0, 0, 0, NAN], atol=1e-37)
        assert not np.isfinite(got[-1])


def test_the_exponential_at_the_ends():
    ends = [-INF, -HUGE, -104, -88, -87.3, -87, 0, 88.73, 89, HUGE, INF, NAN]
    want = [0, 0, 0, 0, 0, 0, 1, INF, INF, INF, INF, NAN]
    x = jnp.array(ends, jnp.float32)
    for got in compiled_over_few_and_many(_numerics.exponential, x):
        np.testing.assert_allclose(got, want, atol=1e-37)
    slopes = jax.vmap(jax.grad(_numerics.exponential))(x)
    np.testing.assert_allclose(slopes, want, atol=1e-37)


def falling(x):
    return _numerics.decay(-x)


@pytest.mark.parametrize("x", [-100.0, -1.5, 0.0, 3.0, 100.0])
def test_exponentials_and_their_derivatives_in_double_precision(x):
    with jax.enable_x64(True):
        for function in (_numerics.exponential, falling):
            for derivative in (function, jax.grad(function), jax.hessian(function)):
                np.testing.assert_allclose(derivative(x), np.exp(x), rtol=1e-15)


# logarithm


def test_the_logarithm_is_exact_to_the_last_digit():
    x = np.geomspace(1.2e-38, 3.4e38, 200_001, dtype=np.float32)
    near_1 = np.linspace(0.5, 2, 100_001, dtype=np.float32)
    x = np.concatenate([x, near_1[near_1 != 1], 1 + np.array([-1, 1], "f4") / 2**23])
    exact = np.log(x.astype(np.longdouble))
    got = np.asarray(jax.jit(_numerics.logarithm)(x), np.longdouble)
    assert np.max(np.abs((got - exact) / exact)) < 1.5 * 2**-24  # the compiler's: 2.0


def test_the_logarithm_at_the_ends():
    x = jnp.array([0, -0.0, 1, INF, -1e-30, -1, -INF, NAN], jnp.float32)
    want = [-INF, -INF, 0, INF, NAN, NAN, NAN, NAN]
    for got in compiled_over_few_and_many(_numerics.logarithm, x):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("x64", [False, True])
def test_the_logarithm_and_its_derivatives(x64):
    with jax.enable_x64(x64):
        rtol = 1e-15 if x64 else 1e-6
        x = jnp.array([1e-6, 0.3, 1, 7, 1e6])

        def total(x):
            return jnp.sum(_numerics.logarithm(x))

        np.testing.assert_allclose(total(x), np.sum(np.log(x)), rtol=rtol)
        slopes = jax.grad(total)
        np.testing.assert_allclose(slopes(x), 1 / x, rtol=rtol)
        curves = jax.grad(lambda x: jnp.sum(slopes(x)))(x)
        np.testing.assert_allclose(curves, -1 / x**2, rtol=rtol)


# log1p_of_share, twice_artanh, log_complement


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logarithms_of_shares_are_exact(dtype):
    with jax.enable_x64(dtype == np.float64):
        eps = np.finfo(dtype).eps
        x = np.array([0, 1e-30, 1e-9, 1e-4, 0.1, 0.3, 0.5, 0.7, 1 - eps, 1], dtype)
        exact = np.log1p(x.astype(np.longdouble)).astype(np.float64)
        for got in compiled_over_few_and_many(_numerics.log1p_of_share, x):
            np.testing.assert_allclose(got, exact, rtol=3 * eps)
        third = x / 3
        exact = 2 * np.arctanh(third.astype(np.longdouble)).astype(np.float64)

        def of_thirds(x):
            return _numerics.twice_artanh(x, jnp.ones_like(x))

        for got in compiled_over_few_and_many(of_thirds, third):
            np.testing.assert_allclose(got, exact, rtol=3 * eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_logarithm_of_a_complement_is_exact(dtype):
    with jax.enable_x64(dtype == np.float64):
        eps = np.finfo(dtype).eps
        x = np.array([0, 1e-30, 1e-9, eps, 1e-4, 0.3, 0.5, 0.9, 1 - eps, 1], dtype)
        with np.errstate(divide="ignore"):
            exact = np.log1p(-x.astype(np.longdouble)).astype(np.float64)
        for got in compiled_over_few_and_many(_numerics.log_complement, x):
            np.testing.assert_allclose(got, exact, rtol=3 * eps)
        outside = jnp.array([1.5, NAN, INF], dtype)
        assert jnp.isnan(jax.jit(_numerics.log_complement)(outside)).all()


def test_logarithms_of_shares_lose_at_most_a_digit():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(0, 1, 200_000), 10 ** rng.uniform(-30, 0, 200_000)])
    x = x.astype(np.float32)[x < 0.9999]
    wide = x.astype(np.longdouble)
    for function, exact in (
        (_numerics.log_of_share, np.log(wide)),
        (_numerics.log_complement, np.log1p(-wide)),
    ):
        got = np.asarray(jax.jit(function)(x), np.longdouble)
        assert np.max(np.abs((got - exact) / exact)) < 2.5 * 2**-24


# softplus


@pytest.mark.parametrize(
    ("x", "value", "slope", "curvature"),
    [
        (0, np.log(2), 0.5, 0.25),
        (-50, np.exp(-50), np.exp(-50), np.exp(-50)),
        (50, 50, 1, 0),
        (-HUGE, 0, 0, 0),
        (HUGE, HUGE, 1, 0),
        (-INF, 0, 0, 0),
        (INF, INF, 1, 0),
        (NAN, NAN, 0, 0),
    ],
)
def test_softplus_is_exact_in_both_tails(x, value, slope, curvature):
    got = _numerics.softplus(jnp.float32(x))
    np.testing.assert_allclose(got, value, rtol=1e-6)
    (first,), (second,) = derivatives(_numerics.softplus, x)
    np.testing.assert_allclose(first, slope, rtol=1e-6)
    np.testing.assert_allclose(second, curvature, rtol=1e-6, atol=1e-20)


# nan_if_negative


@pytest.mark.parametrize("x", [0, 1e-30, 1, HUGE, INF])
def test_nan_if_negative_adds_nothing_to_a_number_from_0_on(x):
    assert _numerics.nan_if_negative(jnp.float32(x)) == 0


@pytest.mark.parametrize("x", [-1e-30, -1, -INF, NAN])
def test_nan_if_negative_is_nan_below_0(x):
    assert jnp.isnan(_numerics.nan_if_negative(jnp.float32(x)))
    assert jnp.isnan(jax.jit(_numerics.nan_if_negative)(jnp.float32(x)))


@pytest.mark.parametrize("x", [-INF, -1, 0, 1, INF, NAN])
def test_nan_if_negative_has_derivative_0(x):
    assert derivatives(_numerics.nan_if_negative, x) == ([0], [0])


# nan_if_any

NAN_OR_NOT = [
    ([0, 1, -1], 0),
    ([0, NAN, -1], NAN),
    ([INF, 0, -INF], 0),  # of which the sum is nan
    ([INF, NAN, -INF], NAN),
    ([HUGE, HUGE, 0], 0),  # of which the sum is infinite
    ([HUGE, HUGE, NAN], NAN),
]


@pytest.mark.parametrize("size", [3, 200])
def test_nan_if_any_is_nan_for_the_examples_that_hold_one(size):
    examples = jnp.zeros((len(NAN_OR_NOT), size))
    examples = examples.at[:, -3:].set(jnp.array([x for x, _ in NAN_OR_NOT]))
    expected = [value for _, value in NAN_OR_NOT]
    together = jax.jit(jax.vmap(_numerics.nan_if_any))(examples)
    np.testing.assert_array_equal(together, expected)
    np.testing.assert_array_equal([*map(_numerics.nan_if_any, examples)], expected)


@pytest.mark.parametrize("size", [3, 200])
def test_nan_if_any_has_derivative_0(size):
    def added(x):
        return jnp.sum(x) + _numerics.nan_if_any(x)

    results = jax.jit(lambda x: (jax.grad(added)(x), jax.hessian(added)(x)))
    for value in (1, INF, NAN):
        gradient, second = results(np.full(size, value, np.float32))
        np.testing.assert_array_equal(gradient, np.ones(size))
        np.testing.assert_array_equal(second, np.zeros((size, size)))


# times


@pytest.mark.parametrize("y", [-INF, INF, NAN, 0, HUGE])
def test_times_0_is_0(y):
    assert _numerics.times(jnp.float32(0), jnp.float32(y)) == 0
    first, second = derivatives(_numerics.times, 0, y)
    assert first == [float(jnp.float32(y)) if np.isfinite(y) else 0, 0]
    assert second == [0, 0]


def test_times_is_a_product_elsewhere():
    assert _numerics.times(jnp.float32(2), jnp.float32(INF)) == INF
    assert jnp.isnan(_numerics.times(jnp.float32(NAN), jnp.float32(2)))
    assert derivatives(_numerics.times, 2, 3) == ([3, 2], [0, 0])


# ratio


@pytest.mark.parametrize("y", [-INF, INF, NAN, 0])
def test_ratio_of_0_is_0(y):
    assert _numerics.ratio(jnp.float32(0), jnp.float32(y)) == 0
    assert derivatives(_numerics.ratio, 0, y) == ([0, 0], [0, 0])


def test_ratio_is_a_quotient_elsewhere():
    assert _numerics.ratio(jnp.float32(2), jnp.float32(0)) == INF
    assert derivatives(_numerics.ratio, 2, 0) == ([0, 0], [0, 0])
    assert derivatives(_numerics.ratio, 2, 4) == ([0.25, -0.125], [0, 0.0625])
    assert jnp.isnan(_numerics.ratio(jnp.float32(NAN), jnp.float32(2)))


def test_ratio_of_huge_numbers_has_finite_derivatives():
    first, _ = derivatives(_numerics.ratio, 1e30, 1e30)
    np.testing.assert_allclose(first, [1e-30, -1e-30], rtol=1e-6)


# norm and factors


def unit(x, floor):
    down, inverse, length = _numerics.factors(x, floor)
    np.testing.assert_allclose(length, np.linalg.norm(x * down * inverse), rtol=1e-6)
    return _unit(x, floor)


def _unit(x, floor):
    down, inverse, _ = _numerics.factors(x, floor)
    return x * down * inverse


@pytest.mark.parametrize("size", [1e-30, 1, 1e30, 5e37])
def test_norm_of_numbers_of_any_size(size):
    x = jnp.array([3.0, -4.0, 0.0]) * size
    np.testing.assert_allclose(_numerics.norm(x), 5 * size, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(_numerics.norm)(x), [0.6, -0.8, 0], rtol=1e-6)


def test_norm_and_factors_of_0_have_derivatives_0():
    x, zero = jnp.zeros(3), jnp.float32(0)
    assert _numerics.norm(x) == 0 and _numerics.norm(jnp.zeros(0)) == 0
    np.testing.assert_array_equal(unit(x, zero), 0)
    for derivative in (jax.grad, jax.hessian):
        np.testing.assert_array_equal(jax.jit(derivative(_numerics.norm))(x), 0)
    for derivative in (jax.jacrev, jax.hessian):
        np.testing.assert_array_equal(jax.jit(derivative(_unit))(x, zero), 0)


def test_norm_of_what_is_not_a_number_is_nan_with_derivative_0():
    x = jnp.array([1.0, NAN])
    assert jnp.isnan(_numerics.norm(x))
    np.testing.assert_array_equal(jax.grad(_numerics.norm)(x), 0)


def test_norm_has_the_curvature_of_a_sphere():
    # The identity without the direction, over the norm.
    curvature = jax.hessian(_numerics.norm)(jnp.array([3.0, 4.0]))
    want = (np.eye(2) - np.outer([0.6, 0.8], [0.6, 0.8])) / 5
    np.testing.assert_allclose(curvature, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("floor", "length"), [(0, 5), (2, 5), (5, 5), (10, 10)])
def test_factors_divide_by_the_norm_or_a_larger_floor(floor, length):
    x, floor = jnp.array([3.0, 4.0]), jnp.float32(floor)
    np.testing.assert_allclose(unit(x, floor), x / length, rtol=1e-6)
    turn = jax.jacrev(_unit)(x, floor)
    radial = np.outer([0.6, 0.8], [0.6, 0.8]) if length == 5 else 0
    np.testing.assert_allclose(turn, (np.eye(2) - radial) / length, atol=1e-7)


def test_factors_of_0_over_a_floor_have_the_derivative_of_a_division():
    turn = jax.jacrev(_unit)(jnp.zeros(2), jnp.float32(4))
    np.testing.assert_allclose(turn, np.eye(2) / 4, rtol=1e-6)


# logsumexp


@pytest.mark.parametrize(
    ("x", "value", "slope"),
    [
        ([1.0, 1.0], 1 + np.log(2), [0.5, 0.5]),
        ([HUGE, 0.0], HUGE, [1, 0]),
        ([-INF, 2.0], 2, [0, 1]),
        ([-INF, -INF], -INF, [0, 0]),
        ([INF, 0.0], INF, [0, 0]),
        ([NAN, 0.0], NAN, [0, 0]),
    ],
)
def test_logsumexp_has_derivatives_also_at_infinities(x, value, slope):
    x = jnp.array(x, jnp.float32)
    np.testing.assert_allclose(_numerics.logsumexp(x), value, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(_numerics.logsumexp)(x), slope, rtol=1e-6)
    assert jnp.isfinite(jax.hessian(_numerics.logsumexp)(x)).all()


# log_sum


@pytest.mark.parametrize(
    ("x", "y", "value", "share"),
    [
        (1.0, 1.0, 1 + np.log(2), 0.5),
        (0.0, -30.0, np.exp(-30.0), 1),
        (HUGE, -HUGE, HUGE, 1),
        (-INF, 2.0, 2, 0),
        (2.0, -INF, 2, 1),
        (-INF, -INF, -INF, 0.5),
    ],
)
def test_log_sum_has_derivatives_also_where_a_term_is_nothing(x, y, value, share):
    x, y = jnp.float32(x), jnp.float32(y)
    np.testing.assert_allclose(_numerics.log_sum(x, y), value, rtol=1e-6)
    slopes, curvatures = derivatives(_numerics.log_sum, x, y)
    np.testing.assert_allclose(slopes, [share, 1 - share], rtol=1e-6, atol=1e-12)
    assert np.isfinite(curvatures).all()
    np.testing.assert_allclose(_numerics.share_of_sum(x, y), share, rtol=1e-6)


# is_zero


@pytest.mark.parametrize(
    ("x", "y", "total", "share"),
    [
        (-INF, -INF, -INF, 0.5),
        (-INF, -2, -2, 0),
        (-2, -INF, -2, 1),
        (-1000, -1000, -1000 + math.log(2), 0.5),
        (-20, 0, math.log1p(math.exp(-20)), 1 / (1 + math.exp(20))),
    ],
)
def test_log_sum_and_share_are_exact_where_a_probability_is_0(x, y, total, share):
    x, y = jnp.float32(x), jnp.float32(y)
    np.testing.assert_allclose(_numerics.log_sum(x, y), total, rtol=1e-6)
    np.testing.assert_allclose(_numerics.share_of_sum(x, y), share, rtol=1e-6)
    slopes, second = derivatives(_numerics.log_sum, x, y)
    np.testing.assert_allclose(slopes, [share, 1 - share], rtol=1e-6)
    assert np.isfinite(second).all()


def test_log_sum_has_all_digits_at_every_distance():
    gap = np.concatenate([np.linspace(0, 2, 999), np.geomspace(2, 80, 99)])
    for dtype, rtol in ((np.float32, 4e-7), (np.float64, 1e-15)):
        y = -gap.astype(dtype)
        want = np.log1p(np.exp(y.astype(np.float64)))
        with jax.enable_x64(dtype == np.float64):
            got = _numerics.log_sum(jnp.zeros_like(y), jnp.asarray(y))
        np.testing.assert_allclose(got, want, rtol=rtol)


def test_is_zero_knows_the_number_0_and_nothing_traced():
    assert all(map(_numerics.is_zero, (0, 0.0, -0.0, False)))
    assert not any(map(_numerics.is_zero, (1e-30, NAN, jnp.zeros(()))))


@pytest.mark.parametrize(("q", "slope"), [(0.0, 0), (0.5, 0), (1.0, 1), (2.0, 0)])
def test_power_has_a_finite_slope_at_zero(q, slope):
    value, got = jax.value_and_grad(_numerics.power)(0.0, q)
    assert value == float(q == 0) and got == slope


@pytest.mark.parametrize("label", [0, 1])
def test_log_odds_against_do_not_cancel(label):
    for logits in ([17.0, 0.0], [1e8, 1e8], [1000.0, 990.0], [1e8, 1e8 + 80]):
        odds, gradient = jax.value_and_grad(_numerics.log_odds_against)(
            jnp.array(logits), jnp.int32(label)
        )
        np.testing.assert_allclose(odds, logits[1 - label] - logits[label])
        np.testing.assert_array_equal(gradient, [-1, 1] if label == 0 else [1, -1])


def test_log_odds_against_at_the_ends():
    def odds(logits, label):
        return jax.value_and_grad(_numerics.log_odds_against)(
            jnp.array(logits), jnp.int32(label)
        )

    assert odds([1.0, -jnp.inf], 0)[0] == -jnp.inf
    assert odds([1.0, -jnp.inf], 1)[0] == jnp.inf
    assert odds([1.0], 0)[0] == -jnp.inf
    assert odds([-1e8, 1e8], 0)[0] == 2e8
    assert odds([-1e8, 1e8], 1)[0] == -jnp.inf  # exp(-2e8) is below any number
    for logits, label in (([1.0, 2.0], -1), ([1.0, jnp.nan], 0), ([jnp.nan, 1.0], 0)):
        value, gradient = odds(logits, label)
        assert jnp.isnan(value)
        np.testing.assert_array_equal(gradient, 0)


def test_smooth_keeps_the_sum():
    kept = jnp.array([True, False, True])
    smoothed = _numerics.smooth(jnp.array([0.25, 0.0, 0.75]), kept, 0.2)
    np.testing.assert_allclose(smoothed, [0.3, 0.0, 0.7], rtol=1e-6)


def test_an_argument_without_a_slope_says_so():
    @_numerics.slopes(lambda x, label: jnp.ones_like(x), _numerics.no_slope)
    def loss(x, label):
        return x + label.astype(x.dtype)

    assert jax.grad(loss)(1.0, jnp.int32(2)) == 1
    with pytest.raises(TypeError, match="no derivative"):
        jax.grad(loss, argnums=1)(1.0, jnp.float32(2))


@pytest.mark.parametrize("scale", [1e-36, 1.0, 1e30, 1e37])
def test_norm_and_direction_do_not_depend_on_scale(scale):
    x = scale * jnp.array([3.0, 0.0, -4.0])
    np.testing.assert_allclose(_numerics.norm(x), 5 * np.float32(scale), rtol=1e-6)
    np.testing.assert_allclose(_numerics.direction(x), [0.6, 0, -0.8], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(_numerics.norm)(x), [0.6, 0, -0.8], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-36, 1.0, 1e30, 5e37])
def test_distance_is_the_norm_of_the_difference(scale):
    shift = jnp.array([1.0, -2.0, 0.5]) * scale
    x, y = shift + scale * jnp.array([3.0, 0.0, -4.0]), shift
    np.testing.assert_allclose(_numerics.distance(x, y), 5 * scale, rtol=1e-6)
    for position, side in ((0, 1), (1, -1)):
        slope = jax.grad(_numerics.distance, argnums=position)(x, y)
        np.testing.assert_allclose(slope, side * np.array([0.6, 0, -0.8]), rtol=1e-6)


@pytest.mark.parametrize("size", [1, 0, 1e-30, 1e30])
def test_one_distance_of_another_size_changes_no_other(size):
    # A batch of plain sizes takes plain sums of squares, and no other does.
    x, y = np.random.default_rng(0).normal(size=(2, 40, 9))
    x[3], y[3] = size * x[3], size * y[3]
    both = jax.jit(jax.vmap(jax.value_and_grad(_numerics.distance)))
    distances, slopes = both(jnp.float32(x), jnp.float32(y))
    want = np.linalg.norm(x - y, axis=-1, keepdims=True)
    np.testing.assert_allclose(distances, want[:, 0], rtol=1e-6)
    toward = (x - y) / np.where(want > 0, want, 1)
    np.testing.assert_allclose(slopes, toward, rtol=1e-5, atol=1e-6)


def test_safe_squares_are_nan_where_squares_overflow_or_vanish():
    sizes = jnp.array([1.0, 1e-10, 1e10, 0, 1e-30, 1e30, jnp.inf, jnp.nan])
    x = jnp.outer(sizes, jnp.array([3.0, 4.0]))
    want = [25, 25e-20, 25e20] + [np.nan] * 5
    squares = jax.jit(jax.vmap(_numerics.safe_squares))(x)
    np.testing.assert_allclose(squares, want, rtol=1e-6)


def test_distance_has_the_curvature_of_a_sphere_around_either_end():
    x, y = jnp.array([4.0, 3.0]), jnp.array([1.0, -1.0])
    want = jax.hessian(_numerics.norm)(x - y)
    for position in (0, 1):
        curvature = jax.hessian(_numerics.distance, argnums=position)(x, y)
        np.testing.assert_allclose(curvature, want, rtol=1e-5, atol=1e-7)
    mixed = jax.jacfwd(jax.grad(_numerics.distance), argnums=1)(x, y)
    np.testing.assert_allclose(mixed, -want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "length",
    [
        _numerics.norm,
        lambda x: _numerics.distance(x, jnp.zeros(3)),
        lambda x: _numerics.distance(jnp.zeros(3), x),
        _numerics.largest,
        lambda x: _numerics.minkowski(x, jnp.array(0.5)),
        lambda x: _numerics.minkowski(x, jnp.array(1.0)),
        lambda x: _numerics.minkowski(x, jnp.array(3.0)),
    ],
)
def test_the_zero_vector_has_derivatives_of_zero(length):
    @jax.jit
    def results(x):
        slope = jax.grad(length)
        return length(x), slope(x), jax.hessian(length)(x), jax.jacrev(slope)(x)

    value, slope, *second = results(np.zeros(3, np.float32))
    assert value == 0
    np.testing.assert_array_equal(slope, 0)
    assert not np.isnan(second).any()


def test_power_counts_an_infinite_slope_as_zero():
    slope = jax.grad(_numerics.power, argnums=(0, 1))
    np.testing.assert_array_equal(slope(0.0, 0.5), 0)
    np.testing.assert_allclose(slope(4.0, 0.5), [0.25, 2 * np.log(4)], rtol=1e-6)


def test_logsumexp_where_of_nothing_is_minus_infinity_without_slope():
    x, where = jnp.array([1.0, 300.0, jnp.nan]), jnp.array([True, False, False])
    value, gradient = jax.value_and_grad(_numerics.logsumexp_where)(x, where)
    assert value == 1
    np.testing.assert_array_equal(gradient, [1, 0, 0])
    nowhere = jnp.zeros(3, bool)
    assert _numerics.logsumexp_where(x, nowhere) == -jnp.inf
    gradient = jax.grad(_numerics.logsumexp_where)(x, nowhere)
    np.testing.assert_array_equal(gradient, 0)


# lambert_w


def lambert_w(x, dtype):
    return np.asarray(jax.jit(_numerics.lambert_w)(jnp.asarray(x, dtype)))


def test_lambert_w_is_that_of_scipy():
    small = np.logspace(-36, -0.44, 300)
    x = np.concatenate([-small, small, np.logspace(0, 38, 300), np.linspace(-0.36, 3)])
    x = x.astype(np.float32)
    want = scipy.special.lambertw(x.astype(np.float64)).real
    np.testing.assert_allclose(lambert_w(x, np.float32), want, rtol=1e-6)
    with jax.enable_x64(True):
        got = lambert_w(x.astype(np.float64), np.float64)
    np.testing.assert_allclose(got, want, rtol=1e-13)


def lambert_w_from_the_branch_point(x):
    """1 + W solves 1 + (u - 1) exp(u) = e x + 1, whose left side is a short series."""
    inverse_e_rest = -1.2428753672788363e-17  # what a double leaves of 1 / e
    target = np.e * ((x + 1 / np.e) + inverse_e_rest)

    def left(u):
        return sum((n - 1) / math.factorial(n) * u**n for n in range(2, 20)) - target

    u: Any = scipy.optimize.brentq(left, 0, 1, xtol=1e-18)
    return u - 1


def test_lambert_w_where_its_branches_meet():
    # Floats just above -1/e, where the slope is infinite and where SciPy has half of
    # the digits of a double.
    edge = np.float32(-1 / np.e)
    steps = np.concatenate([np.arange(1, 30), np.arange(30, 200_000, 999)])
    x = (edge + (steps * np.spacing(-edge)).astype(np.float32)).astype(np.float32)
    want = [lambert_w_from_the_branch_point(float(v)) for v in x]
    np.testing.assert_allclose(lambert_w(x, np.float32), want, rtol=1e-6)
    with jax.enable_x64(True):
        got = lambert_w(x.astype(np.float64), np.float64)
    np.testing.assert_allclose(got, want, rtol=1e-13)


def test_lambert_w_at_the_ends():
    got = lambert_w([-1 / np.e, -0.5, -INF, 0, INF, NAN], np.float32)
    np.testing.assert_array_equal(got[:4], [-1, -1, -1, 0])
    largest = float(np.finfo(np.float32).max)
    np.testing.assert_allclose(got[4], scipy.special.lambertw(largest).real, rtol=1e-6)
    assert np.isnan(got[5])


def test_a_label_is_one_class_also_where_floating_numbers_do_not_count_all():
    classes = 2**24 + 2
    hits = _numerics.is_label(jnp.zeros(classes), jnp.int32(classes - 1))
    np.testing.assert_array_equal(jnp.flatnonzero(hits, size=2), [classes - 1, 0])
    assert jnp.sum(hits) == 1
