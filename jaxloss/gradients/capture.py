"""Capture: evaluates a program once forward and once backward, keeping the factors.

Zeros are added to the output of every site; the gradient with respect to them is the
cotangent of that output. What the parameter meets there comes out beside the loss. The
parameters themselves are not differentiated, so no gradient of their size is formed,
except for those that the plan materialises.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Literal

from jaxloss import _devices
from jaxloss.gradients.plan import (
    CALLS,
    REMATS,
    Path,
    Plan,
    Program,
    nested,
    opened,
    scan_counts,
)

Values = list[Any]
BySite = dict[int, Any]


class Meters(NamedTuple):
    """Sites that are measured on the way back instead of kept.

    The cotangent of the scalar `total` becomes the sum of what `measure` says of each.
    """

    total: Array
    measure: dict[int, Callable[[Any, Array], Array]]


class Captured(NamedTuple):
    """What one pass leaves: for one example, or with a leading batch axis."""

    outputs: Values
    factors: tuple[tuple[Array, Array], ...]
    materialised: tuple[Array, ...]
    measured: Array


def capture(
    program: Program,
    plan: Plan,
    params: Sequence[Array],
    example: Sequence[Array],
    measure: dict[int, Callable[[Any, Array], Array]],
) -> Captured:
    """Runs one example forward and backward; the first output is the loss."""
    jaxpr = program.jaxpr
    kept = [i for i in range(len(plan.layout.sites)) if i not in measure]
    zeros = {i: z for i, z in perturbations(program, plan).items() if i not in measure}
    leftover = {k: params[k] for k in plan.layout.materialised}
    # The gradient of a zero that all devices share would be their sum.
    total = jnp.zeros((), plan.layout.dtype)
    total, zeros = _devices.varying_as((total, zeros), example)

    def loss(varied: tuple[dict[int, Array], BySite, Array]) -> tuple[Array, Any]:
        leaves, eps, z = varied
        inputs = [leaves.get(k, p) for k, p in enumerate(params)]
        meters = Meters(z, measure)
        outputs, met = run(
            plan, jaxpr, program.consts, [*inputs, *example], (), eps, meters
        )
        return outputs[0], (outputs, met)

    gradient, (outputs, met) = jax.grad(loss, has_aux=True)((leftover, zeros, total))
    leaves, deltas, measured = gradient
    return Captured(
        outputs,
        tuple((met[i], deltas[i]) for i in kept),
        tuple(leaves[k] for k in plan.layout.materialised),
        measured,
    )


def perturbations(program: Program, plan: Plan) -> BySite:
    """Zeros of the shape of every site's output, with an axis for each scan around."""
    zeros: BySite = {}
    for path, site in plan.at.items():
        jaxpr, lengths = program.jaxpr, []
        for i in path[:-1]:
            eqn = jaxpr.eqns[i]
            if eqn.primitive.name == "scan":
                lengths.append(eqn.params["length"])
            jaxpr, _ = opened(nested(eqn))
        aval = jaxpr.eqns[path[-1]].outvars[0].aval
        zeros[site] = jnp.zeros((*lengths, *aval.shape), aval.dtype)
    return zeros


def run(
    plan: Plan,
    jaxpr: Any,
    consts: Sequence[Any],
    inputs: Sequence[Any],
    path: Path,
    eps: BySite,
    meters: Meters,
) -> tuple[Values, BySite]:
    """Evaluates a program; returns its outputs and what each parameter met."""
    env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *inputs), strict=True))
    met: BySite = {}

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else env[atom]

    for i, eqn in enumerate(jaxpr.eqns):
        here = (*path, i)
        values = [read(atom) for atom in eqn.invars]
        with _context(eqn):
            if here in plan.at:
                outputs, x = _site(plan, plan.at[here], eqn, values, eps, meters)
                met.update(x)
            elif here in plan.inside:
                outputs, x = _nested(plan, eqn, values, here, eps, meters)
                met.update(x)
            else:
                outputs = bind(eqn, values)
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars], met


def bind(eqn: Any, values: Values) -> Values:
    """Evaluates one equation as it stands."""
    outputs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
    return outputs if eqn.primitive.multiple_results else [outputs]


def _site(
    plan: Plan, number: int, eqn: Any, values: Values, eps: BySite, meters: Meters
) -> tuple[Values, BySite]:
    (out,) = bind(eqn, values)
    x = plan.layout.sites[number].rule.meets(values)
    if number in meters.measure:
        return [_metered(meters.measure[number])(out, x, meters.total)], {}
    return [out + eps[number]], {number: x}


def _metered(measure: Callable[[Any, Array], Array]) -> Callable[..., Array]:
    @jax.custom_vjp
    def passed(out: Array, x: Any, total: Array) -> Array:
        del x, total
        return out

    def forward(out: Array, x: Any, total: Array) -> tuple[Array, Any]:
        return out, (x, total)

    def backward(kept: Any, delta: Array) -> tuple[Array, None, Array]:
        x, total = kept
        return delta, None, measure(x, delta).astype(total.dtype)

    passed.defvjp(forward, backward)
    return passed


def _nested(
    plan: Plan, eqn: Any, values: Values, path: Path, eps: BySite, meters: Meters
) -> tuple[Values, BySite]:
    """Rebuilds a nested program: the zeros join its inputs, what is met its outputs."""
    jaxpr, consts = opened(nested(eqn))
    own = {i: eps[i] for i in plan.inside[path] if i in eps}
    name, params = eqn.primitive.name, eqn.params
    if name in CALLS:
        return run(plan, jaxpr, consts, values, path, own, meters)
    if name in REMATS:

        def again(values: Values, own: BySite, total: Array) -> Any:
            inner = meters._replace(total=total)
            return run(plan, jaxpr, consts, values, path, own, inner)

        again = jax.checkpoint(
            again, prevent_cse=params["prevent_cse"], policy=params["policy"]
        )
        return again(values, own, meters.total)

    shared, carried = scan_counts(eqn)
    first, last = shared, shared + carried

    def body(carry: Values, step: tuple[Values, BySite]) -> Any:
        slices, own = step
        inputs = [*values[:first], *carry, *slices]
        outputs, met = run(plan, jaxpr, consts, inputs, path, own, meters)
        return outputs[:carried], (outputs[carried:], met)

    carry, (stacked, met) = lax.scan(
        body,
        values[first:last],
        (values[last:], own),
        length=params["length"],
        reverse=params["reverse"],
        unroll=params["unroll"],
    )
    return [*carry, *stacked], met


@contextlib.contextmanager
def _context(eqn: Any):
    """What the equation was traced under: compute type, metadata, name for profiles."""
    name = str(getattr(eqn.source_info, "name_stack", ""))
    with eqn.ctx.manager, jax.named_scope(name) if name else contextlib.nullcontext():
        yield
