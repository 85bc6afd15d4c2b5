"""`per_sample` and `checked`: what they add to a loss, and what they refuse."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import checked, losses, per_sample, reduction

LOGITS = jnp.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
LABELS = jnp.array([1, 2])


def test_the_kernel_is_found_again():
    first = per_sample(losses.huber_loss, delta=2.0)
    assert per_sample(losses.huber_loss, delta=2.0) is first
    assert per_sample(losses.huber_loss, delta=3.0) is not first
    assert per_sample(losses.huber_loss, delta=2) is not first  # another type


def test_a_training_loop_traces_step_and_kernel_once():
    @chex.assert_max_traces(n=1)
    def my_loss(logits, label):
        return losses.softmax_cross_entropy_with_integer_labels(logits, label)

    optimizer = optax.sgd(0.1)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(params, opt_state, x, y):
        def batch_loss(params):
            sample_losses = per_sample(my_loss)(x @ params, y)
            return sample_losses.mean(), sample_losses

        gradient_of = jax.value_and_grad(batch_loss, has_aux=True)
        (_, sample_losses), gradient = gradient_of(params)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return optax.apply_updates(params, updates), opt_state, sample_losses

    params = jnp.zeros((4, 3))
    opt_state = optimizer.init(params)
    rng = np.random.default_rng(0)
    for _ in range(50):
        x = jnp.asarray(rng.normal(size=(8, 4)), jnp.float32)
        y = jnp.asarray(rng.integers(0, 3, 8), jnp.int32)
        params, opt_state, sample_losses = step(params, opt_state, x, y)
        assert sample_losses.shape == (8,)


def test_a_step_outside_jit_traces_the_kernel_once():
    traces = []

    def my_loss(logits, label, *, weights):
        traces.append(1)
        return losses.softmax_cross_entropy_with_integer_labels(
            logits, label, class_weights=weights
        )

    for i in range(50):
        weights = jnp.full(3, 1.0 + i)  # an array option may change
        batch = per_sample(my_loss, weights=weights)(LOGITS, LABELS)
        assert batch.shape == (2,)
    assert len(traces) == 1


def test_array_options_are_used_and_differentiable():
    def total(weights):
        kernel = per_sample(
            losses.softmax_cross_entropy_with_integer_labels, class_weights=weights
        )
        return kernel(LOGITS, LABELS).sum()

    plain = per_sample(losses.softmax_cross_entropy_with_integer_labels)(LOGITS, LABELS)
    np.testing.assert_allclose(
        jax.grad(total)(jnp.ones(3)), [0, plain[0], plain[1]], rtol=1e-6
    )


def test_pytrees_and_dicts():
    def detection(prediction, target):
        return {
            "class": losses.softmax_cross_entropy_with_integer_labels(
                prediction["logits"], target["label"]
            ),
            "box": losses.huber_loss(prediction["box"], target["box"]),
        }

    prediction = {"logits": LOGITS, "box": jnp.ones((2, 4))}
    target = {"label": LABELS, "box": jnp.zeros((2, 4))}
    got = per_sample(detection)(prediction, target)
    assert got.keys() == {"class", "box"}
    np.testing.assert_allclose(got["box"], [0.5, 0.5])
    np.testing.assert_allclose(
        got["class"],
        per_sample(losses.softmax_cross_entropy_with_integer_labels)(LOGITS, LABELS),
    )
    empty = jax.tree.map(lambda x: x[:0], (prediction, target))
    assert per_sample(detection)(*empty)["box"].shape == (0,)


def test_shared_arguments_are_not_mapped():
    def nearest(point, others):
        return jnp.min(jnp.sum((others - point[None]) ** 2, axis=-1))

    points = jnp.array([[0.0, 0.0], [3.0, 0.0]])
    others = jnp.array([[0.0, 1.0], [3.0, 2.0]])
    got = per_sample(nearest, in_axes=(0, None))(points, others)
    np.testing.assert_allclose(got, [1, 4])


def test_another_batch_axis():
    got = per_sample(losses.squared_error, in_axes=1)(LOGITS, jnp.zeros_like(LOGITS))
    np.testing.assert_allclose(got, np.mean(np.square(LOGITS), axis=0), rtol=1e-6)


def test_half_precision_losses_of_the_user_are_widened():
    def mine(x, y):
        return jnp.sum((x - y) ** 2)

    x = jnp.ones((3, 2), jnp.bfloat16)
    assert per_sample(mine)(x, x).dtype == jnp.float32


def test_transformations_compose():
    kernel = per_sample(losses.squared_error)
    x = jnp.arange(12.0).reshape(2, 3, 2)
    np.testing.assert_allclose(jax.vmap(kernel)(x, x + 1), np.ones((2, 3)))
    total = jax.lax.scan(lambda c, p: (c + kernel(p, p + 1).sum(), None), 0.0, x)[0]
    assert total == 6

    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("data")
    sharded = jax.shard_map(kernel, mesh=mesh, in_specs=(spec, spec), out_specs=spec)
    np.testing.assert_allclose(sharded(x[0], x[0] + 1), np.ones(3))


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ((5, 3), (4,), r"`label` must have as many examples as `logits`: got shape "
         r"\(4,\) against \(5, 3\)"),
        ((5, 3), (), r"`label` must have 1 batch axes, got shape \(\)"),
    ],
)  # fmt: skip
def test_disagreeing_batches_are_refused_by_name(logits, labels, message):
    kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)
    with pytest.raises(ValueError, match=message):
        kernel(jnp.zeros(logits), jnp.zeros(labels, jnp.int32))


def test_a_part_of_a_pytree_is_named():
    def mine(prediction, target):
        return losses.squared_error(prediction["x"], target)

    with pytest.raises(ValueError, match=r"`target` must have as many .*`prediction\["):
        per_sample(mine)({"x": jnp.zeros((3, 2))}, jnp.zeros((2, 2)))


def test_nothing_mapped_is_refused():
    with pytest.raises(ValueError, match="no mapped argument"):
        per_sample(losses.squared_error, in_axes=None)(jnp.ones(3), jnp.ones(3))


def test_a_loss_of_more_than_one_number_is_refused():
    def elementwise(x, y):
        return (x - y) ** 2

    with pytest.raises(
        ValueError, match=r"elementwise must return one number .*\(3,\)"
    ):
        per_sample(elementwise)(jnp.ones((2, 3)), jnp.ones((2, 3)))


def test_an_unhashable_option_is_refused():
    with pytest.raises(TypeError, match="option `delta` must be an array or hashable"):
        per_sample(losses.huber_loss, delta=[1.0])


def test_checked_passes_good_data_through():
    kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)
    np.testing.assert_array_equal(
        checked(kernel)(LOGITS, LABELS), kernel(LOGITS, LABELS)
    )


def test_checked_names_loss_argument_example_and_value():
    kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)
    with pytest.raises(
        ValueError,
        match=r"^softmax_cross_entropy_with_integer_labels, at mapped index 1: "
        r"`label` must be in \[0, 3\), got 7\.$",
    ):
        checked(kernel)(LOGITS, jnp.array([1, 7]))
    probabilities = jnp.array([[0.2, 0.3], [0.2, 1.5]])
    with pytest.raises(
        ValueError,
        match=r"binary_cross_entropy, at mapped index 1: `probability` must be in "
        r"\[0, 1\], got 1.5",
    ):
        checked(per_sample(losses.binary_cross_entropy))(
            probabilities, jnp.zeros((2, 2))
        )


def test_checked_reaches_into_the_losses_of_the_user():
    def mine(prediction, target, *, weights):
        return weights[0] * losses.squared_error(prediction, target)

    kernel = checked(per_sample(mine, weights=jnp.ones(2)))
    bad = LOGITS.at[1, 2].set(jnp.nan)
    with pytest.raises(ValueError, match=r"mine, at mapped index 1: `target` .* nan"):
        kernel(LOGITS, bad)
    assert jnp.isnan(per_sample(mine, weights=jnp.ones(2))(LOGITS, bad)[1])


def test_checked_ignores_what_is_masked():
    where = jnp.array([[True, True, False], [True, True, True]])
    bad = LOGITS.at[0, 2].set(jnp.nan)
    checked(per_sample(losses.squared_error))(LOGITS, bad, where)


def test_checked_wants_a_kernel():
    with pytest.raises(TypeError, match="`kernel` must come from `per_sample`"):
        checked(losses.squared_error)


def test_checks_leave_no_trace_in_the_program():
    def plain(prediction, target):
        return jnp.mean((prediction - target) ** 2)

    shape = jax.ShapeDtypeStruct((64, 512), jnp.float32)
    with_checks, without = (
        dict(jax.jit(per_sample(f)).lower(shape, shape).compile().cost_analysis() or {})
        for f in (losses.squared_error, plain)
    )
    for key in ("flops", "bytes accessed"):
        assert 0 < with_checks[key] <= 1.01 * without[key]


def test_sample_losses_of_a_batch_sum_to_the_batch_loss():
    kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)
    direct = optax.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS).mean()
    np.testing.assert_allclose(
        reduction.batch_mean(kernel(LOGITS, LABELS)), direct, rtol=1e-6
    )


def test_partials_and_callables_have_names():
    kernel = per_sample(functools.partial(losses.huber_loss, delta=2.0))
    with pytest.raises(ValueError, match="huber_loss, at mapped index 0"):
        checked(kernel)(jnp.full((1, 2), jnp.nan), jnp.ones((1, 2)))


def test_an_unchecked_kernel_has_no_effect_that_slows_its_call():
    kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)
    traced = jax.make_jaxpr(kernel)(jnp.zeros((3, 4)), jnp.zeros(3, jnp.int32))
    assert not traced.effects
