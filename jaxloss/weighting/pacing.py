"""How much each example counts by how hard it is, and how that changes with time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _devices, _inputs, _numerics


def curriculum(
    init_value: float, end_value: float, transition_steps: int, power: float = 1.0
) -> Callable[[ArrayLike], Array]:
    r"""A schedule of the share of examples to train on, in the form of optax.

    .. math:: s(t) = \bigl(s_0^{\,p} + (s_1^{\,p} - s_0^{\,p})\,
        \min(t / T, 1)\bigr)^{1 / p}

    With ``keep_small(losses, schedule(step))``, from the easy examples to all of them;
    with a share that falls from 1 to 1 less the rate of wrong labels, the schedule of
    co-teaching. Power 1 is linear; power 2 gives new examples less time the more there
    are (competence-based). A curriculum helps where training is short or labels are
    wrong, and little elsewhere.

    Args:
        init_value: share at step 0, in [0, 1].
        end_value: share from step `transition_steps` on, in [0, 1].
        transition_steps: steps from the one to the other; with 0 the end is at once.
        power: form of the way there, above 0.

    Returns:
        The schedule; ``schedule(step)`` is the share, shape ``()``, float32. It goes
        where an optax schedule goes, as in `optax.join_schedules`.

    Raises:
        ValueError: a share outside [0, 1], `transition_steps` not a whole number, or
            `power` not above 0.

    Guarantees:
        - The share is `init_value` at step 0, `end_value` from `transition_steps` on,
          and monotone between.

    Examples:
        >>> schedule = curriculum(0.2, 1.0, transition_steps=100)
        >>> schedule(0), schedule(50), schedule(1000)
        (Array(0.2, dtype=float32), Array(0.6, dtype=float32), Array(1., dtype=float32))

    References:
        Bengio et al., *Curriculum Learning*, 2009.
        Platanios et al., *Competence-based Curriculum Learning for Neural Machine
        Translation*, 2019 (the form with a power).
    """
    _inputs.share("init_value", init_value)
    _inputs.share("end_value", end_value)
    _inputs.whole("transition_steps", transition_steps)
    _inputs.positive("power", power)

    def schedule(step: ArrayLike) -> Array:
        step = jnp.asarray(step).astype(jnp.float32)
        done = jnp.where(step >= transition_steps, 1, step / max(transition_steps, 1))
        first, last = init_value**power, end_value**power
        way = (first + (last - first) * jnp.maximum(done, 0)) ** (1 / power)
        # The ends exactly, which the power would round.
        way = jnp.where(done <= 0, init_value, jnp.where(done >= 1, end_value, way))
        return way.astype(jnp.float32)

    return schedule


def self_paced(
    losses: ArrayLike, threshold: float | Array, *, where: ArrayLike | None = None
) -> Array:
    r"""Weight 1 for the examples whose loss is below a threshold, else 0.

    .. math:: w_i = [\,\ell_i < \lambda\,]

    These weights minimise :math:`\sum_i w_i \ell_i - \lambda \sum_i w_i`. The threshold
    grows during the training, so that what is hard comes in last.

    Args:
        losses: shape ``(batch,)``, floating.
        threshold: the loss from which on an example is too hard. May be traced.
        where: False for padding, shape ``(batch,)``, boolean.

    Returns:
        Weights, shape ``(batch,)``, in the dtype of `losses`, float32 or wider; no
        gradient flows through them.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `losses` is not floating, or `where` not boolean.

    Guarantees:
        - Padding, and a loss of nan or inf, has weight 0.

    Examples:
        >>> self_paced(jnp.array([0.1, 2.0, 1.0, jnp.nan]), 1.0)
        Array([1., 0., 0., 0.], dtype=float32)

    References:
        Kumar et al., *Self-Paced Learning for Latent Variable Models*, 2010.
    """
    losses, counts = _inputs.batch("losses", losses, where)
    threshold = jax.lax.stop_gradient(jnp.asarray(threshold, losses.dtype))
    return (counts & (losses < threshold)).astype(losses.dtype)


def superloss(
    losses: ArrayLike,
    tau: float | Array,
    lam: float | Array = 1.0,
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Weights above 1 for easy examples, falling smoothly to 0 for hard ones.

    .. math:: \sigma_i = \exp\Bigl(-W\Bigl(\tfrac12 \max\bigl(-\tfrac2e,\,
        \tfrac{\ell_i - \tau}{\lambda}\bigr)\Bigr)\Bigr),

    with :math:`W` the Lambert function: the confidence that minimises
    :math:`(\ell_i - \tau)\,\sigma + \lambda \log^2 \sigma`. The gradient of that
    minimum, which is the SuperLoss, is :math:`\sigma_i` times the gradient of the loss:
    what a weighted sum with these weights gives.

    Args:
        losses: shape ``(batch,)``, floating.
        tau: the loss of weight 1, between easy and hard: ``log(classes)`` for a
            cross-entropy, or a running mean of the losses. May be traced.
        lam: how slowly the weight falls, above 0. May be traced.
        where: False for padding, shape ``(batch,)``, boolean.

    Returns:
        Weights, shape ``(batch,)``, in the dtype of `losses`, float32 or wider; no
        gradient flows through them.

    Raises:
        ValueError: a shape is wrong, or `lam` is a number not above 0.
        TypeError: `losses` is not floating, or `where` not boolean.

    Guarantees:
        - In [0, e]: e from ``tau - 2 lam / e`` down, 1 at `tau`, and a larger loss has
          no larger weight.
        - Finite for losses of any size.
        - Padding, and a loss of nan or inf, has weight 0.

    Examples:
        >>> superloss(jnp.array([0.0, 1.0, 10.0, jnp.nan]), tau=1.0)
        Array([2.7183, 1.    , 0.2816, 0.    ], dtype=float32)

    References:
        Castells et al., *SuperLoss: A Generic Loss for Robust Curriculum Learning*,
        2020.
    """
    _inputs.positive("lam", lam)
    losses, counts = _inputs.batch("losses", losses, where)
    tau, lam = jnp.asarray(tau, losses.dtype), jnp.asarray(lam, losses.dtype)

    def confidence_of(losses: Array, tau: Array, lam: Array) -> Array:
        return jnp.exp(-_numerics.lambert_w((losses - tau) / lam / 2))

    confidence = _devices.automatic(confidence_of, True, losses)(losses, tau, lam)
    return jax.lax.stop_gradient(jnp.where(counts, confidence, 0))
