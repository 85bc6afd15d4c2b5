"""Weights that follow the groups on which the model does worst."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _devices, _inputs, reduction


class GroupState(NamedTuple):
    """How much each group counts: a pytree, kept from step to step.

    Attributes:
        log_share: logarithms of shares that sum to 1, shape ``(groups,)``, float32.
    """

    log_share: Array


def init_groups(num_groups: int) -> GroupState:
    """Returns the state in which all groups count alike.

    Args:
        num_groups: how many groups there are, at least 1.

    Raises:
        ValueError: `num_groups` is not a whole number from 1 on.

    Examples:
        >>> jnp.exp(init_groups(4).log_share)
        Array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    _inputs.whole("num_groups", num_groups)
    _inputs.positive("num_groups", num_groups)
    return GroupState(jnp.full(num_groups, -jnp.log(float(num_groups)), jnp.float32))


def group_weights(
    losses: ArrayLike,
    groups: ArrayLike,
    state: GroupState,
    *,
    step_size: float | Array = 0.01,
    where: ArrayLike | None = None,
) -> tuple[Array, GroupState]:
    r"""One step of Group DRO: groups of larger loss count more from now on.

    .. math:: q_g \leftarrow \frac{q_g\, e^{\eta \bar\ell_g}}
        {\sum_h q_h\, e^{\eta \bar\ell_h}}, \qquad w_i = \frac{q_{g_i}}{n_{g_i}},

    with :math:`\bar\ell_g` the mean and :math:`n_g` the number of the losses of group g
    in this batch; the share of a group that is not in it is not multiplied. Use it with
    ``weighted_sum``, which gives :math:`\sum_g q_g \bar\ell_g`. Without strong
    regularisation a model that fits every example leaves nothing to weight.

    Args:
        losses: shape ``(batch,)``, floating.
        groups: which group each is of, shape ``(batch,)``, integer.
        state: from `init_groups` or the step before.
        step_size: how fast the shares follow the losses, not negative. May be traced.
        where: False for padding, shape ``(batch,)``, boolean.

    Returns:
        Weights, shape ``(batch,)``, in the dtype of `losses`, float32 or wider, and the
        next state; no gradient flows through them.

    Raises:
        ValueError: a shape is wrong, or `step_size` is a number below 0.
        TypeError: `losses` is not floating, `groups` not integer, or `where` not
            boolean.

    Guarantees:
        - The shares sum to 1, and so do the weights when every group is in the batch.
        - Padding, a loss of nan or inf, and a group outside ``[0, groups)`` has weight
          0 and changes no share.
        - No overflow, however large the losses; a share that has become very small
          still comes back.

    Examples:
        >>> losses, groups = jnp.array([1.0, 3.0, 5.0]), jnp.array([0, 0, 1])
        >>> state = init_groups(2)
        >>> weights, state = group_weights(losses, groups, state, step_size=0.1)
        >>> weights.round(4), jnp.exp(state.log_share).round(4)
        (Array([0.2128, 0.2128, 0.5744], dtype=float32),
         Array([0.4256, 0.5744], dtype=float32))

    References:
        Sagawa et al., *Distributionally Robust Neural Networks for Group Shifts*, 2020.
    """
    _inputs.not_negative("step_size", step_size)
    losses, counts = _inputs.batch("losses", losses, where)
    num_groups = state.log_share.size
    row = _inputs.segments("groups", groups, losses.shape, num_groups)
    total = reduction.group_totals(losses, groups, num_groups, weights=counts)
    largest = jnp.finfo(jnp.float32).max
    push = jnp.asarray(step_size, losses.dtype) * total.mean()
    push = jnp.clip(push, -largest / 8, largest / 8).astype(jnp.float32)
    log_share = jax.nn.log_softmax(state.log_share + push)
    log_share = jnp.maximum(log_share, -largest / 2)
    share = jnp.exp(log_share).astype(losses.dtype) / jnp.maximum(total.weight, 1)

    def of_group(share: Array, row: Array) -> Array:
        return share.at[row].get(mode="fill", fill_value=0)

    of_each = _devices.automatic(of_group, True, losses)(share, row)
    weights = jnp.where(counts, of_each, 0)
    return jax.lax.stop_gradient((weights, GroupState(log_share)))
