"""Cross-entropy of logits whose classes are spread over devices."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss.kernels.linear_cross_entropy import head, statistics
from jaxloss.kernels.linear_cross_entropy.statistics import Options


def vocabulary_parallel_softmax_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    /,
    *,
    axis_name: str,
    label_smoothing: float | Array = 0.0,
    z_loss: float | Array = 0.0,
    soft_cap: float | None = None,
) -> Array:
    r"""Surprise, in nats, at the label of each token, its logits split by classes.

    `jaxloss.losses.softmax_cross_entropy_with_integer_labels` within `jax.shard_map`,
    where each device along a mesh axis has the logits of some of the classes, in order.
    No logits are sent; a few numbers for each token are.

    Args:
        logits: unnormalised log-probabilities of the classes of this device, shape
            ``(tokens, classes of this device)``, floating.
        labels: index of the true class among those of all devices, shape ``(tokens,)``,
            integer.
        axis_name: the mesh axis along which the classes are split.
        label_smoothing: share of the target spread evenly over the possible classes.
        z_loss: factor on the squared log-normaliser.
        soft_cap: logits first become ``soft_cap * tanh(logits / soft_cap)``; a number.

    Returns:
        The losses, shape ``(tokens,)``, float32 or wider, the same on all devices.

    Raises:
        ValueError: a shape is wrong, or an option is a number outside its range.
        TypeError: `logits` are not floating, or `labels` are not integers.

    Guarantees:
        - Values and gradients are those of one device with all classes.

    Examples:
        >>> import jax
        >>> mesh, split = jax.make_mesh((1,), ("model",)), jax.P(None, "model")
        >>> kernel = jax.shard_map(
        ...     lambda logits, labels: vocabulary_parallel_softmax_cross_entropy(
        ...         logits, labels, axis_name="model"
        ...     ),
        ...     mesh=mesh,
        ...     in_specs=(split, jax.P()),
        ...     out_specs=jax.P(),
        ... )
        >>> layout = jax.NamedSharding(mesh, split)
        >>> logits = jax.device_put(jnp.array([[1.0, 3.0]]), layout)
        >>> kernel(logits, jnp.array([1])).round(4)
        Array([0.1269], dtype=float32)

    References:
        Shoeybi et al., *Megatron-LM*, 2019, section 3.
    """
    options = Options.read(label_smoothing, z_loss, soft_cap)
    logits = head.matrix("logits", logits, "(tokens, classes of this device)")
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    tokens, classes = logits.shape
    labels, known = head.local_labels(labels, tokens, classes, axis_name)
    part = statistics.of_logits(
        logits, labels, options.soft_cap, options.wanted(entropy=False)
    )
    losses = statistics.losses(statistics.joined(part, axis_name), options)
    return jnp.where(known, losses, jnp.nan)
