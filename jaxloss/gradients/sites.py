"""Sites: the equations where a parameter meets an example, in one canonical form.

For one example, the gradient of the parameter at a site is a stack of `G` matrices,

    M[g] = X[g]^T D[g],    X: (G, T, n),    D: (G, T, m),

where `X` comes from what the parameter meets and `D` from the cotangent of the output.
In a lookup each row of `X` is one-hot and is kept as an index.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxloss.gradients.chains import Chain

Axes = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Dot:
    """A `dot_general` with the parameter on one side."""

    param: int  # 0: the parameter is the left operand
    contracted: tuple[Axes, Axes]  # of the parameter, of the other; in pairs
    batch: tuple[Axes, Axes]  # likewise
    shape: Axes  # of the parameter
    other: Axes  # shape of the other

    primitive = "dot_general"

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """G, T, n, m."""
        free = _rest(len(self.other), self.contracted[1], self.batch[1])
        out = _rest(len(self.shape), self.contracted[0], self.batch[0])
        return (
            _size(self.shape, self.batch[0]),
            _size(self.other, free),
            _size(self.shape, self.contracted[0]),
            _size(self.shape, out),
        )

    def arrangement(self) -> Chain:
        """Brings the parameter to (G, n, m)."""
        free = _rest(len(self.shape), self.contracted[0], self.batch[0])
        order = (*sorted(self.batch[0]), *sorted(self.contracted[0]), *free)
        groups, _, n, m = self.sizes
        return ("transpose", order), ("reshape", (groups, n, m))

    def x(self, other: Array) -> Array:
        """(G, T, n)."""
        free = _rest(len(self.other), self.contracted[1], self.batch[1])
        order = (*_paired(self.batch), *free, *_paired(self.contracted))
        groups, steps, n, _ = self.sizes
        return other.transpose(order).reshape(groups, steps, n)

    def d(self, delta: Array) -> Array:
        """(G, T, m)."""
        batch = len(self.batch[0])
        order = [self.batch[0].index(a) for a in sorted(self.batch[0])]
        here = len(self.shape) - len(self.contracted[0]) - batch
        there = len(self.other) - len(self.contracted[0]) - batch
        first = here if self.param == 0 else there
        axes = tuple(range(batch, delta.ndim))
        left, right = axes[:first], axes[first:]
        free = (right, left) if self.param == 0 else (left, right)
        groups, steps, _, m = self.sizes
        return delta.transpose((*order, *free[0], *free[1])).reshape(groups, steps, m)

    def meets(self, values: list[Any]) -> Any:
        """The operand that the parameter meets."""
        return values[1 - self.param]


@dataclasses.dataclass(frozen=True)
class Conv:
    """A `conv_general_dilated` whose kernel is the parameter."""

    strides: Axes
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[Axes, Axes]  # of the input, of the kernel
    specs: tuple[Axes, Axes, Axes]  # as in ConvDimensionNumbers
    feature_groups: int
    shape: Axes  # of the kernel
    out: Axes  # shape of the output

    primitive = "conv_general_dilated"

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """G, T, n, m."""
        channel = self.specs[1][0]
        steps = math.prod(self.out) // self.shape[channel] if self.shape[channel] else 0
        n = _size(self.shape, self.specs[1][1:])
        return (
            self.feature_groups,
            steps,
            n,
            self.shape[channel] // self.feature_groups,
        )

    def arrangement(self) -> Chain:
        """Brings the kernel to (G, n, m)."""
        out, into, *space = self.specs[1]
        groups, _, n, m = self.sizes
        return (
            ("transpose", (*space, into, out)),
            ("reshape", (n, groups, m)),
            ("transpose", (1, 0, 2)),
        )

    def windows(self, image: Array) -> list[Array]:
        """What each position of the kernel meets, (T, channels of the input)."""
        batch, channel, *space = self.specs[0]
        zero = jnp.zeros((), image.dtype)
        image = image.transpose((batch, *space, channel))
        edges = [
            (low, high, gap - 1)
            for (low, high), gap in zip(self.padding, self.dilation[0], strict=True)
        ]
        image = lax.pad(image, zero, [(0, 0, 0), *edges, (0, 0, 0)])
        size = [self.out[axis] for axis in self.specs[2][2:]]
        kernel = [self.shape[axis] for axis in self.specs[1][2:]]
        channels = self.shape[self.specs[1][1]] * self.feature_groups
        found = []
        for offset in itertools.product(*map(range, kernel)):
            start = [o * gap for o, gap in zip(offset, self.dilation[1], strict=True)]
            limit = [
                s + (count - 1) * stride + 1
                for s, count, stride in zip(start, size, self.strides, strict=True)
            ]
            window = lax.slice(
                image,
                (0, *start, 0),
                (image.shape[0], *limit, image.shape[-1]),
                (1, *self.strides, 1),
            )
            found.append(window.reshape(self.sizes[1], channels))
        return found

    def x(self, image: Array) -> Array:
        """(G, T, n): the patches."""
        groups, steps, n, _ = self.sizes
        rows = jnp.stack(self.windows(image), axis=1)  # (T, kernel, channels)
        rows = rows.reshape(steps, rows.shape[1], groups, -1)
        return rows.transpose(2, 0, 1, 3).reshape(groups, steps, n)

    def block(self, image: Array, delta: Array) -> Array:
        """The matrices M, (G, n, m), one position of the kernel after the other.

        So the patches, many times as large as the image, are never there at once.
        """
        groups, steps, _, _ = self.sizes
        d = self.d(delta)
        parts = []
        for window in self.windows(image):
            rows = window.reshape(steps, groups, -1)
            parts.append(jnp.einsum("tgc,gtm->gcm", rows, d))
        return jnp.concatenate(parts, 1)

    def d(self, delta: Array) -> Array:
        """(G, T, m)."""
        batch, channel, *space = self.specs[2]
        groups, steps, _, m = self.sizes
        rows = delta.transpose((batch, *space, channel)).reshape(steps, groups, m)
        return rows.transpose(1, 0, 2)

    def meets(self, values: list[Any]) -> Any:
        """The operand that the kernel meets."""
        return values[0]

    def apply(self, image: Array, kernel: Array) -> Array:
        """The convolution itself, of images with this kernel."""
        return lax.conv_general_dilated(
            image,
            kernel,
            self.strides,
            self.padding,
            self.dilation[0],
            self.dilation[1],
            lax.ConvDimensionNumbers(*self.specs),
            self.feature_groups,
        )


@dataclasses.dataclass(frozen=True)
class Lookup:
    """A `gather` or `dynamic_slice` that takes rows of the parameter along one axis."""

    primitive: str
    axis: int
    shape: Axes  # of the parameter
    offsets: Axes  # axes of the output that come from the parameter
    out: Axes  # shape of the output
    drops: bool  # a row out of range gives no gradient; otherwise the nearest row

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """G, T, n, m."""
        rest = _rest(len(self.shape), (self.axis,))
        steps = _size(self.out, _rest(len(self.out), self.offsets))
        return 1, steps, self.shape[self.axis], _size(self.shape, rest)

    def arrangement(self) -> Chain:
        """Brings the parameter to (1, n, m)."""
        order = (self.axis, *_rest(len(self.shape), (self.axis,)))
        _, _, n, m = self.sizes
        return ("transpose", order), ("reshape", (1, n, m))

    def rows(self, index: Array) -> Array:
        """(T,): which row each step takes; -1 for none."""
        last = self.shape[self.axis] - 1
        index = index.reshape(self.sizes[1])
        if not self.drops:
            return jnp.clip(index, 0, last).astype(jnp.int32)
        return jnp.where((index < 0) | (index > last), -1, index).astype(jnp.int32)

    def d(self, delta: Array) -> Array:
        """(1, T, m)."""
        order = (*_rest(len(self.out), self.offsets), *self.offsets)
        _, steps, _, m = self.sizes
        return delta.transpose(order).reshape(1, steps, m)

    def meets(self, values: list[Any]) -> Any:
        """The index."""
        return values[1] if self.primitive == "gather" else values[1 + self.axis]


Rule = Dot | Conv | Lookup


@dataclasses.dataclass(frozen=True)
class Site:
    """A rule, the parameter it is for, and the scans around it, outermost first."""

    leaf: int
    chain: Chain
    rule: Rule
    scans: tuple[tuple[int, bool], ...]  # length; whether it has a slice for each step

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """G, T, n, m, with the scans."""
        groups, steps, n, m = self.rule.sizes
        for length, stacked in self.scans:
            groups, steps = (
                (groups * length, steps) if stacked else (groups, steps * length)
            )
        return groups, steps, n, m

    def whole_chain(self) -> Chain:
        """From the parameter to (..., G, n, m)."""
        return self.chain + self.rule.arrangement()

    def x(self, values: Array) -> Array:
        """(G, T, n)."""
        assert not isinstance(self.rule, Lookup)
        return self._canonical(self.rule.x, values, self.sizes[2])

    def d(self, delta: Array) -> Array:
        """(G, T, m); 0 where a lookup takes no row."""
        return self._canonical(self.rule.d, delta, self.sizes[3])

    def rows(self, index: Array) -> Array:
        """(G, T): the row that each step takes; -1 for none."""
        rule = self.rule
        assert isinstance(rule, Lookup)
        rows = self._canonical(lambda i: rule.rows(i)[None, :, None], index, 1)
        return rows[..., 0]

    def _canonical(self, form: Callable, values: Array, width: int) -> Array:
        """Gives stacked scans to G and the others to T."""
        count = len(self.scans)
        for _ in range(count):
            form = jax.vmap(form)
        stacked = [i for i in range(count) if self.scans[i][1]]
        shared = [i for i in range(count) if not self.scans[i][1]]
        groups, steps = self.sizes[:2]
        order = (*stacked, count, *shared, count + 1, count + 2)
        return form(values).transpose(order).reshape(groups, steps, width)


def match(eqn: Any, param: int) -> Rule | None:
    """The rule for the operand at position `param`, if there is one."""
    name, params = eqn.primitive.name, eqn.params
    shape, out = eqn.invars[param].aval.shape, eqn.outvars[0].aval.shape
    if name == "dot_general":
        other = eqn.invars[1 - param].aval.shape
        contracted, batch = params["dimension_numbers"]
        if param == 1:
            contracted, batch = contracted[::-1], batch[::-1]
        return Dot(param, _pairs(contracted), _pairs(batch), shape, other)
    if name == "conv_general_dilated":
        if param != 1 or params["batch_group_count"] != 1:
            return None
        numbers = params["dimension_numbers"]
        return Conv(
            tuple(params["window_strides"]),
            tuple((int(low), int(high)) for low, high in params["padding"]),
            (tuple(params["lhs_dilation"]), tuple(params["rhs_dilation"])),
            (tuple(numbers.lhs_spec), tuple(numbers.rhs_spec), tuple(numbers.out_spec)),
            params["feature_group_count"],
            shape,
            out,
        )
    if name == "gather":
        return _gather(params, shape, out) if param == 0 else None
    if name == "dynamic_slice":
        sizes = params["slice_sizes"]
        sliced = [a for a in range(len(shape)) if sizes[a] != shape[a]]
        if param != 0 or len(sliced) != 1 or sizes[sliced[0]] != 1:
            return None
        offsets = _rest(len(shape), sliced)
        return Lookup(name, sliced[0], shape, offsets, out, drops=False)
    return None


def _gather(params: Any, shape: Axes, out: Axes) -> Lookup | None:
    numbers = params["dimension_numbers"]
    indexed = tuple(numbers.start_index_map)
    if len(indexed) != 1 or tuple(numbers.collapsed_slice_dims) != indexed:
        return None
    if numbers.operand_batching_dims or numbers.start_indices_batching_dims:
        return None
    sizes = tuple(params["slice_sizes"])
    if any(sizes[a] != shape[a] for a in range(len(shape)) if a != indexed[0]):
        return None
    # Without a promise kept, JAX drops the gradient of a row that is out of range.
    drops = params["mode"] != lax.GatherScatterMode.CLIP
    offsets = tuple(numbers.offset_dims)
    return Lookup("gather", indexed[0], shape, offsets, out, drops)


def _pairs(axes: Any) -> tuple[Axes, Axes]:
    return tuple(map(int, axes[0])), tuple(map(int, axes[1]))


def _paired(pairs: tuple[Axes, Axes]) -> Axes:
    """Axes of the other operand, in the order of those of the parameter."""
    return tuple(there for _, there in sorted(zip(*pairs, strict=True)))


def _rest(ndim: int, *taken: Any) -> Axes:
    return tuple(a for a in range(ndim) if not any(a in axes for axes in taken))


def _size(shape: Axes, axes: Any) -> int:
    return math.prod(shape[a] for a in axes)
