"""The plan: which parameters can be kept in factors, found by walking the program.

Every value of the program is marked with the parameters it depends on and with whether
it depends on the example. Where a value that depends on parameters alone meets one that
depends on the example there must be a rule (`sites.match`), and the way from the
parameter to that place must only select and rearrange (`chains.extend`). Otherwise the
gradient of that parameter is materialised, and the plan says which equation is why.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from jaxloss.gradients import chains, sites
from jaxloss.gradients.chains import Chain
from jaxloss.gradients.layout import Layout, Leaf, cluster, renumbered
from jaxloss.gradients.sites import Lookup, Site

Path = tuple[int, ...]

# One name for each of the releases of JAX that are supported.
CALLS = {"jit", "pjit", "closed_call", "core_call", "eval_jaxpr"}
REMATS = {"remat2", "remat", "checkpoint"}


class Program(NamedTuple):
    """A function of the parameters and one example, as equations."""

    jaxpr: Any
    consts: Sequence[Any]
    params: int  # the first inputs are the leaves of the parameters
    mapped: tuple[bool, ...]  # whether each further input differs between examples


class Plan(NamedTuple):
    """The layout, and where in the program each of its sites is."""

    layout: Layout
    at: dict[Path, int]
    inside: dict[Path, tuple[int, ...]]  # the sites inside a nested program


class _Alias(NamedTuple):
    """A parameter at the end of a chain, which is sliced by these scans."""

    leaf: int
    chain: Chain
    scans: frozenset[Path]


class _Taint(NamedTuple):
    leaves: frozenset[int]
    example: bool
    alias: _Alias | None = None
    after: str = ""  # the equation that ended the alias

    @property
    def of_params_alone(self) -> bool:
        return bool(self.leaves) and not self.example


_CONSTANT = _Taint(frozenset(), False)


def make(program: Program, treedef: Any, names: Sequence[str]) -> Plan:
    """Plans how the gradient of each parameter is kept."""
    walk = _Walk()
    variables = program.jaxpr.invars
    avals = [variable.aval for variable in variables[: program.params]]
    floating = [_is_floating(aval) for aval in avals]
    taints = [
        _Taint(frozenset([k]), False, _Alias(k, (), frozenset())) if f else _CONSTANT
        for k, f in enumerate(floating)
    ]
    taints += [_Taint(frozenset(), mapped) for mapped in program.mapped]
    loss = walk.program(program.jaxpr, taints, (), ())[0]
    if loss.of_params_alone:
        walk.blame(loss.leaves, "reaches the loss without meeting the example")

    found = list(walk.sites.values())
    leaves = []
    for k, (aval, name) in enumerate(zip(avals, names, strict=True)):
        own = {i: site for i, site in enumerate(found) if site.leaf == k}
        reason = walk.reasons.get(k)
        joined = None if reason else cluster(own, aval.shape)
        if joined is None and reason is None:
            reason = "two uses share some of its elements, but not all"
        leaves.append(
            Leaf(name, aval.shape, aval.dtype, floating[k], joined or (), reason)
        )
    leaves, kept, new = renumbered(leaves, found)
    at = {path: new[i] for i, path in enumerate(walk.sites) if i in new}
    inside: dict[Path, tuple[int, ...]] = {}
    for path, site in at.items():
        for depth in range(1, len(path)):
            inside[path[:depth]] = (*inside.get(path[:depth], ()), site)
    return Plan(Layout(treedef, leaves, kept), at, inside)


def opened(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """A program and its constants, whether they are held together or apart."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def nested(eqn: Any) -> Any:
    """The program inside a call, whichever name the equation has for it."""
    return eqn.params["jaxpr"] if "jaxpr" in eqn.params else eqn.params["call_jaxpr"]


def scan_counts(eqn: Any) -> tuple[int, int]:
    """How many inputs of a scan are constants, and how many are carried.

    Told by their ranks, since releases of JAX differ in how they write it down: what
    is scanned has one axis more outside than inside.
    """
    jaxpr, _ = opened(eqn.params["jaxpr"])
    same_in = [_same(o, i) for o, i in zip(eqn.invars, jaxpr.invars, strict=True)]
    same_out = [_same(o, i) for o, i in zip(eqn.outvars, jaxpr.outvars, strict=True)]
    carried = sum(same_out)
    return sum(same_in) - carried, carried


def _same(outside: Any, inside: Any) -> bool:
    return len(outside.aval.shape) == len(inside.aval.shape)


class _Walk:
    """Collects sites and reasons; the marks themselves are only passed along."""

    def __init__(self) -> None:
        self.sites: dict[Path, Site] = {}
        self.reasons: dict[int, str] = {}
        self.recording = True

    def blame(self, leaves: frozenset[int], reason: str) -> None:
        if self.recording:
            for leaf in leaves:
                self.reasons.setdefault(leaf, reason)

    def program(
        self,
        jaxpr: Any,
        taints: list[_Taint],
        path: Path,
        scans: tuple[tuple[Path, int], ...],
    ) -> list[_Taint]:
        env = dict(zip(jaxpr.invars, taints, strict=True))

        def read(atom: Any) -> _Taint:
            # What is not found is a constant of the program.
            return _CONSTANT if isinstance(atom, Literal) else env.get(atom, _CONSTANT)

        for i, eqn in enumerate(jaxpr.eqns):
            inputs = [read(atom) for atom in eqn.invars]
            outputs = self._equation(eqn, inputs, (*path, i), scans)
            for variable, taint in zip(eqn.outvars, outputs, strict=True):
                if not _is_floating(variable.aval):  # no gradient passes
                    taint = _Taint(frozenset(), taint.example)
                env[variable] = taint
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(
        self,
        eqn: Any,
        inputs: list[_Taint],
        path: Path,
        scans: tuple[tuple[Path, int], ...],
    ) -> list[_Taint]:
        name, count = eqn.primitive.name, len(eqn.outvars)
        leaves = frozenset().union(*(taint.leaves for taint in inputs))
        example = any(taint.example for taint in inputs)
        mixed = [_Taint(leaves, example)] * count
        if name in CALLS or name in REMATS:
            return self.program(opened(nested(eqn))[0], inputs, path, scans)
        if name == "scan":
            return self._scan(eqn, inputs, path, scans)
        if name == "stop_gradient":
            return [_Taint(frozenset(), example)] * count
        params = [i for i, taint in enumerate(inputs) if taint.of_params_alone]
        if not params:
            return mixed
        alias = inputs[params[0]].alias if len(params) == 1 else None
        if alias and len(inputs) == 1 and not example:
            ops = chains.extend(eqn)
            if ops is not None:
                longer = [alias.chain + (() if op is None else (op,)) for op in ops]
                moved = [alias._replace(chain=chain) for chain in longer]
                return [_Taint(leaves, False, a) for a in moved]
        # With a constant in place of the example it is a site too: the zeros that an
        # unrolled recurrent network starts from.
        rule = sites.match(eqn, params[0]) if alias else None
        if alias and rule:
            around = tuple((length, p in alias.scans) for p, length in scans)
            site = Site(alias.leaf, alias.chain, rule, around)
            if example or not _takes_all(site):
                if self.recording:
                    self.sites[path] = site
                return [_Taint(leaves, True)] * count
        if example:
            for i in params:
                self.blame(inputs[i].leaves, _why(eqn, inputs[i]))
            return mixed
        after = next((t.after for t in inputs if t.after), name)
        return [_Taint(leaves, False, None, after)] * count

    def _scan(
        self,
        eqn: Any,
        inputs: list[_Taint],
        path: Path,
        scans: tuple[tuple[Path, int], ...],
    ) -> list[_Taint]:
        jaxpr, _ = opened(eqn.params["jaxpr"])
        length = eqn.params["length"]
        consts, carried = scan_counts(eqn)
        first, last = consts, consts + carried
        slices = [
            taint._replace(
                alias=_Alias(
                    taint.alias.leaf,
                    (*taint.alias.chain, ("scan", length)),
                    taint.alias.scans | {path},
                )
            )
            if taint.alias
            else taint
            for taint in inputs[last:]
        ]
        scans = (*scans, (path, length))
        carry = [taint._replace(alias=None) for taint in inputs[first:last]]
        recording, self.recording = self.recording, False
        while True:
            given = [*inputs[:first], *carry, *slices]
            outputs = self.program(jaxpr, given, path, scans)
            joined = [
                _Taint(a.leaves | b.leaves, a.example or b.example)
                for a, b in zip(carry, outputs[:carried], strict=True)
            ]
            if joined == carry:
                break
            carry = joined
        self.recording = recording
        outputs = self.program(jaxpr, given, path, scans)
        for start, end, through in zip(
            inputs[first:last], outputs[:carried], carry, strict=True
        ):
            for taint in (start, end):
                if through.example and taint.of_params_alone:
                    self.blame(taint.leaves, "scan: enters what is carried")
        return [*carry, *(taint._replace(alias=None) for taint in outputs[carried:])]


def _takes_all(site: Site) -> bool:
    """Whether a lookup at constant places is no smaller than the parameter."""
    _, steps, n, _ = site.sizes
    return isinstance(site.rule, Lookup) and steps >= n


def _is_floating(aval: Any) -> bool:
    dtype = getattr(aval, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating)


def _why(eqn: Any, taint: _Taint) -> str:
    name = eqn.primitive.name
    called = eqn.params.get("name") or getattr(eqn.params.get("call_jaxpr"), "name", "")
    where = f"{name} ({called})" if isinstance(called, str) and called else name
    return f"{where}, after {taint.after}" if taint.after else where


def nothing(program: Program, treedef: Any, names: Sequence[str], reason: str) -> Plan:
    """The plan that factors nothing."""
    leaves = []
    variables = program.jaxpr.invars[: len(names)]
    for variable, name in zip(variables, names, strict=True):
        aval = variable.aval
        floating = _is_floating(aval)
        leaves.append(Leaf(name, aval.shape, aval.dtype, floating, (), reason))
    return Plan(Layout(treedef, tuple(leaves), ()), {}, {})


def trace(function: Any, params: Any, example: Any, mapped: tuple[bool, ...]) -> Any:
    """The program of a function of the parameters and one example; its output tree."""
    closed, out = jax.make_jaxpr(function, return_shape=True)(params, *example)
    jaxpr, consts = opened(closed)
    count = len(jax.tree.leaves(params))
    return Program(jaxpr, consts, count, mapped), out
