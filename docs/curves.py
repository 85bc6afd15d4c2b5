"""Draws each loss, and its slope, against the argument that tells most about it.

`CURVES` says what is drawn and `WITHOUT_CURVE` why something is not; every public loss
is in one of the two. Sphinx calls `draw` while it builds the pages. The pictures are
SVG in the page itself, with text and axes in the colour of its text, so that they are
readable in a light and in a dark theme.
"""

import io
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss import losses

Function = Callable[[Array], Array]

INK = "#010203"  # stands for the colour of the text
COLOURS = ("#3d85c6", "#d9772b", "#3c9a5f")  # readable on white and on black
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))


class Curve(NamedTuple):
    """What the horizontal axis is, where it starts and ends, and a line by its name."""

    against: str
    start: float
    stop: float
    lines: dict[str, Function]
    value: str = "loss"


def of(loss: Callable[..., Array], *rest: float | Array, **options) -> Function:
    """The loss as a function of its first argument."""
    return lambda x: loss(x, *(jnp.asarray(value) for value in rest), **options)


def row(*values) -> Array:
    return jnp.stack([jnp.asarray(value, jnp.float32) for value in values])


def of_class(loss: Callable[..., Array], *rivals: float, **options) -> Function:
    """The loss as a function of the score of the true class, the first one."""
    return lambda x: loss(row(x, *rivals), 0, **options)


def of_target(loss: Callable[..., Array], *target: float, **options) -> Function:
    """The loss as a function of the score of the first class; all others have 0."""
    rest = [0.0] * (len(target) - 1)
    return lambda x: loss(row(x, *rest), jnp.array(target), **options)


def of_chance(loss: Callable[..., Array], second, prepare=jnp.asarray, **options):
    """The loss as a function of the probability of the first of two classes."""
    return lambda x: loss(prepare(row(x, 1 - x)), jnp.asarray(second), **options)


def direction(degrees) -> Array:
    angle = jnp.deg2rad(degrees)
    return row(jnp.cos(angle), jnp.sin(angle))


def of_angle(loss: Callable[..., Array], *rest: float, **options) -> Function:
    return lambda x: loss(direction(x), direction(0.0), *rest, **options)


def of_keys(loss: Callable[..., Array], **options) -> Function:
    """One positive key at the given angle, and a negative one at a right angle."""

    def at(degrees):
        keys = jnp.stack([direction(degrees), direction(-90.0)])
        first = jnp.array([True, False])
        return loss(direction(0.0), keys, first, ~first, **options)

    return at


def of_share(
    loss: Callable[..., Array], claims: float = 0.0, channels: bool = True, **options
) -> Function:
    """10 of 100 positions are inside, and found with probability x.

    Outside, the probability is such that `claims` times as many are falsely claimed.
    """
    inside = (jnp.arange(100) < 10).astype(jnp.float32)

    def at(x):
        prediction = jnp.where(inside > 0, x, claims / 9)
        image, truth = prediction, inside
        if channels:
            image, truth = prediction[:, None], inside[:, None]
        return loss(image, truth, **options)

    return at


def two_regions(variant: str) -> Function:
    """A rare class, found with probability x, in front of a background."""
    rare = (jnp.arange(100) < 10).astype(jnp.float32)
    truth = jnp.stack([1 - rare, rare], axis=1)

    def at(x):
        found = x * rare
        prediction = jnp.stack([1 - found, found], axis=1)
        return losses.multiclass_generalized_dice_loss(
            prediction, truth, variant=variant, apply_softmax=False
        )

    return at


def of_frames(*labels: int) -> Function:
    """Four frames of blank and two labels, the first of which scores x in each."""

    def at(x):
        logits = jnp.tile(row(0.0, x, 0.0), (4, 1))
        return losses.ctc_loss(logits, jnp.array(labels), 4, len(labels))

    return at


def of_pulse(**options) -> Function:
    """A pulse x steps too late, against one in the middle of a still series."""
    time = jnp.arange(-6.0, 7.0)

    def at(x):
        late, pulse = (jnp.exp(-((time - shift) ** 2))[:, None] for shift in (x, 0.0))
        return losses.soft_dtw(late, pulse, time.size, time.size, **options)

    return at


def of_tags(transition: float) -> Function:
    """Three steps of two tags, of which the true ones score x."""

    def at(x):
        emissions = jnp.zeros((3, 2)).at[:, 0].set(x)
        transitions, ends = transition * jnp.eye(2), jnp.zeros(2)
        return losses.crf_nll(emissions, jnp.zeros(3, int), transitions, ends, ends, 3)

    return at


def of_moves(*labels: int) -> Function:
    """Two frames of blank and two labels, the first of which scores x everywhere."""

    def at(x):
        logits = jnp.tile(row(0.0, x, 0.0), (2, len(labels) + 1, 1))
        return losses.rnnt_loss(logits, jnp.array(labels, int), 2, len(labels))

    return at


def triplet(**options) -> Function:
    """The positive is x away from the anchor, the negative 2."""
    zero, away = jnp.zeros(2), jnp.array([0.0, 2.0])
    return lambda x: losses.triplet_margin_loss(zero, row(x, 0.0), away, **options)


def distance(degree: float) -> Function:
    """Two embeddings that also differ by 1 along another axis."""
    return lambda x: losses.pairwise_distance(
        row(x, 1.0), jnp.zeros(2), norm_degree=degree
    )


ERROR = "prediction − target"
LOGIT = "logit"
TRUE_LOGIT = "logit of the true class, two others at 0"
TRUE_SCORE = "score of the true class, others at 0 and −1"
CHANCE = "probability of the true class"
ANGLE = "angle between the two, in degrees"
FOUND = "share of the region that is found"

CURVES = {
    "squared_error": Curve(ERROR, -3, 3, {"": of(losses.squared_error, 0.0)}),
    "l2_loss": Curve(ERROR, -3, 3, {"": of(losses.l2_loss, 0.0)}),
    "absolute_error": Curve(ERROR, -3, 3, {"": of(losses.absolute_error, 0.0)}),
    "huber_loss": Curve(
        ERROR,
        -3,
        3,
        {f"delta={d}": of(losses.huber_loss, 0.0, delta=d) for d in (0.5, 1.0, 2.0)},
    ),
    "smooth_l1_loss": Curve(
        ERROR,
        -3,
        3,
        {f"beta={b}": of(losses.smooth_l1_loss, 0.0, beta=b) for b in (0.0, 1.0, 2.0)},
    ),
    "log_cosh": Curve(ERROR, -3, 3, {"": of(losses.log_cosh, 0.0)}),
    "absolute_percentage_error": Curve(
        "prediction",
        0,
        6,
        {
            f"target {t}": of(losses.absolute_percentage_error, t)
            for t in (1.0, 2.0, 4.0)
        },
    ),
    "squared_logarithmic_error": Curve(
        "prediction",
        0,
        6,
        {
            f"target {t}": of(losses.squared_logarithmic_error, t)
            for t in (1.0, 2.0, 4.0)
        },
    ),
    "mean_pairwise_squared_error": Curve(
        "error of the first of two elements",
        -3,
        3,
        {
            f"error of the second {e}": lambda x, e=e: (
                losses.mean_pairwise_squared_error(row(x, e), jnp.zeros(2))
            )
            for e in (0.0, 1.0)
        },
    ),
    "cosine_similarity": Curve(
        ANGLE, -180, 180, {"": of_angle(losses.cosine_similarity)}, "similarity"
    ),
    "cosine_distance": Curve(ANGLE, -180, 180, {"": of_angle(losses.cosine_distance)}),
    "poisson_nll_loss": Curve(
        "logarithm of the rate",
        -2,
        2,
        {f"count {n}": of(losses.poisson_nll_loss, n) for n in (0, 1, 3)},
    ),
    "gaussian_nll_loss": Curve(
        "variance",
        0.5,
        5,
        {
            f"error {e}": lambda x, e=e: losses.gaussian_nll_loss(
                jnp.asarray(e), 0.0, x
            )
            for e in (0.0, 1.0, 2.0)
        },
    ),
    "gaussian_nll_loss_with_log_variance": Curve(
        "logarithm of the variance",
        -2,
        4,
        {
            f"error {e}": lambda x, e=e: losses.gaussian_nll_loss_with_log_variance(
                jnp.asarray(e), 0.0, x
            )
            for e in (0.0, 1.0, 2.0)
        },
    ),
    "kl_divergence": Curve(
        "predicted probability of the first of two classes",
        0.05,
        0.95,
        {
            f"target ({p}, {q})": of_chance(losses.kl_divergence, (p, q), jnp.log)
            for p, q in ((0.5, 0.5), (0.8, 0.2), (1.0, 0.0))
        },
    ),
    "kl_divergence_with_log_targets": Curve(
        "predicted log-probability of the first of two classes",
        -4,
        -0.05,
        {
            f"target log ({p}, {q})": lambda x, p=p, q=q: (
                losses.kl_divergence_with_log_targets(
                    row(x, jnp.log1p(-jnp.exp(x))), jnp.log(row(p, q))
                )
            )
            for p, q in ((0.5, 0.5), (0.8, 0.2), (1.0, 0.0))
        },
    ),
    "generalized_kl_divergence": Curve(
        "predicted measure of one class",
        0.1,
        4,
        {
            f"target {t}": lambda x, t=t: losses.generalized_kl_divergence(
                jnp.log(row(x)), row(t)
            )
            for t in (0.0, 1.0, 2.0)
        },
    ),
    "sigmoid_binary_cross_entropy": Curve(
        LOGIT,
        -5,
        5,
        {
            "target 1": of(losses.sigmoid_binary_cross_entropy, 1),
            "target 0": of(losses.sigmoid_binary_cross_entropy, 0),
            "target 1, label_smoothing=0.2": of(
                losses.sigmoid_binary_cross_entropy, 1, label_smoothing=0.2
            ),
        },
    ),
    "weighted_sigmoid_cross_entropy": Curve(
        LOGIT,
        -5,
        5,
        {
            f"target {y}, pos_weight=3.0": of(
                losses.weighted_sigmoid_cross_entropy, y, pos_weight=3.0
            )
            for y in (1, 0)
        },
    ),
    "binary_cross_entropy": Curve(
        "probability of yes",
        0.05,
        0.95,
        {
            "target 1": of(losses.binary_cross_entropy, 1),
            "target 0": of(losses.binary_cross_entropy, 0),
            "target 1, clip=0.1": of(losses.binary_cross_entropy, 1, clip=0.1),
        },
    ),
    "soft_margin_loss": Curve(
        "score",
        -5,
        5,
        {f"target {y}": of(losses.soft_margin_loss, y) for y in (1, -1)},
    ),
    "softmax_cross_entropy_with_integer_labels": Curve(
        TRUE_LOGIT,
        -5,
        8,
        {
            "no options": of_class(
                losses.softmax_cross_entropy_with_integer_labels, 0, 0
            ),
            "label_smoothing=0.2": of_class(
                losses.softmax_cross_entropy_with_integer_labels,
                0,
                0,
                label_smoothing=0.2,
            ),
            "z_loss=0.02": of_class(
                losses.softmax_cross_entropy_with_integer_labels, 0, 0, z_loss=0.02
            ),
        },
    ),
    "softmax_cross_entropy": Curve(
        "logit of the first of two classes, the other at 0",
        -5,
        5,
        {
            f"target {target}": of_target(losses.softmax_cross_entropy, *target)
            for target in ((1.0, 0.0), (0.8, 0.2), (0.5, 0.5))
        },
    ),
    "categorical_cross_entropy": Curve(
        "probability of the first of two classes",
        0.05,
        0.95,
        {
            f"target {target}": of_chance(losses.categorical_cross_entropy, target)
            for target in ((1.0, 0.0), (0.8, 0.2), (0.5, 0.5))
        },
    ),
    "sparse_categorical_cross_entropy": Curve(
        CHANCE,
        0.05,
        0.95,
        {
            "no options": of_chance(losses.sparse_categorical_cross_entropy, 0),
            "clip=0.1": of_chance(losses.sparse_categorical_cross_entropy, 0, clip=0.1),
        },
    ),
    "sigmoid_focal_loss": Curve(
        "logit, target 1",
        -5,
        5,
        {
            f"gamma={g}": of(losses.sigmoid_focal_loss, 1, gamma=g)
            for g in (0.0, 2.0, 5.0)
        },
    ),
    "softmax_focal_loss_with_integer_labels": Curve(
        TRUE_LOGIT,
        -5,
        5,
        {
            f"gamma={g}": of_class(
                losses.softmax_focal_loss_with_integer_labels, 0, 0, gamma=g
            )
            for g in (0.0, 2.0, 5.0)
        },
    ),
    "softmax_focal_loss": Curve(
        "logit of the first of two classes, the other at 0",
        -5,
        5,
        {
            f"target {target}": of_target(losses.softmax_focal_loss, *target)
            for target in ((1.0, 0.0), (0.8, 0.2), (0.5, 0.5))
        },
    ),
    "poly_loss_cross_entropy": Curve(
        TRUE_LOGIT,
        -5,
        5,
        {
            f"epsilon={e}": of_target(
                losses.poly_loss_cross_entropy, 1.0, 0.0, 0.0, epsilon=e
            )
            for e in (-1.0, 0.0, 2.0)
        },
    ),
    "generalized_cross_entropy": Curve(
        TRUE_LOGIT,
        -5,
        5,
        {
            f"q={q}": of_class(losses.generalized_cross_entropy, 0, 0, q=q)
            for q in (0.0, 0.7, 1.0)
        },
    ),
    "categorical_generalized_cross_entropy": Curve(
        CHANCE,
        0.05,
        0.95,
        {
            f"q={q}": of_chance(losses.categorical_generalized_cross_entropy, 0, q=q)
            for q in (0.0, 0.5, 1.0)
        },
    ),
    "hinge_loss": Curve(
        "score, target 1",
        -3,
        3,
        {f"margin={m}": of(losses.hinge_loss, 1, margin=m) for m in (1.0, 2.0)},
    ),
    "squared_hinge_loss": Curve(
        "score, target 1",
        -3,
        3,
        {f"margin={m}": of(losses.squared_hinge_loss, 1, margin=m) for m in (1.0, 2.0)},
    ),
    "perceptron_loss": Curve(
        "score",
        -3,
        3,
        {f"target {y}": of(losses.perceptron_loss, y) for y in (1, -1)},
    ),
    "multiclass_hinge_loss": Curve(
        TRUE_SCORE,
        -3,
        3,
        {
            f"margin={m}": of_class(losses.multiclass_hinge_loss, 0, -1, margin=m)
            for m in (1.0, 2.0)
        },
    ),
    "multiclass_perceptron_loss": Curve(
        TRUE_SCORE, -3, 3, {"": of_class(losses.multiclass_perceptron_loss, 0, -1)}
    ),
    "multi_margin_loss": Curve(
        TRUE_SCORE,
        -3,
        3,
        {f"p={p}": of_class(losses.multi_margin_loss, 0, -1, p=p) for p in (1, 2)},
    ),
    "categorical_hinge_loss": Curve(
        "score of the true class",
        -4,
        4,
        {
            f"its one rival at {r}": lambda x, r=r: losses.categorical_hinge_loss(
                row(x, r), row(1, 0)
            )
            for r in (-2.0, 1.0)
        },
    ),
    "multilabel_margin_loss": Curve(
        "score of the one class present, others at 0 and −1",
        -3,
        3,
        {"": lambda x: losses.multilabel_margin_loss(row(x, 0, -1), row(1, 0, 0))},
    ),
    "sparsemax_loss": Curve(
        LOGIT,
        -3,
        3,
        {f"target {y}": of(losses.sparsemax_loss, y) for y in (1, 0, 0.5)},
    ),
    "multiclass_sparsemax_loss": Curve(
        TRUE_LOGIT, -3, 3, {"": of_class(losses.multiclass_sparsemax_loss, 0, 0)}
    ),
    "cosine_embedding_loss": Curve(
        ANGLE,
        -180,
        180,
        {
            "target 1": of_angle(losses.cosine_embedding_loss, 1),
            "target -1": of_angle(losses.cosine_embedding_loss, -1),
            "target -1, margin=0.5": of_angle(
                losses.cosine_embedding_loss, -1, margin=0.5
            ),
        },
    ),
    "hinge_embedding_loss": Curve(
        "distance",
        0,
        3,
        {
            "target 1": of(losses.hinge_embedding_loss, 1),
            "target -1": of(losses.hinge_embedding_loss, -1),
            "target -1, margin=2.0": of(losses.hinge_embedding_loss, -1, margin=2.0),
        },
    ),
    "margin_ranking_loss": Curve(
        "first − second, target 1",
        -3,
        3,
        {
            f"margin={m}": of(losses.margin_ranking_loss, 0.0, 1, margin=m)
            for m in (0.0, 1.0)
        },
    ),
    "pairwise_distance": Curve(
        "difference along one axis, 1 along the other",
        -3,
        3,
        {f"norm_degree={k}": distance(k) for k in (1.0, 2.0, math.inf)},
        "distance",
    ),
    "triplet_margin_loss": Curve(
        "distance of the positive, the negative at 2",
        0.01,
        4,
        {"margin=1.0": triplet(), "margin=1.0, smooth=True": triplet(smooth=True)},
    ),
    "ntxent": Curve(
        "angle of the positive in degrees, the negative at a right angle",
        0,
        180,
        {
            f"temperature={t}": of_keys(losses.ntxent, temperature=t)
            for t in (0.2, 0.5, 1.0)
        },
    ),
    "circle_loss": Curve(
        "angle of the positive in degrees, the negative at a right angle",
        0,
        180,
        {f"gamma={g}": of_keys(losses.circle_loss, gamma=g) for g in (5.0, 10.0, 20.0)},
    ),
    "ranking_softmax_loss": Curve(
        "score of the first of three items, others at 0",
        -5,
        5,
        {
            f"relevance {target}": of_target(losses.ranking_softmax_loss, *target)
            for target in ((1, 0, 0), (1, 1, 0), (2, 0, 0))
        },
    ),
    "dice_loss": Curve(
        FOUND + ", half as much falsely claimed",
        0,
        1,
        {
            f"alpha={a}, beta={b}": of_share(
                losses.dice_loss, 0.5, alpha=a, beta=b, apply_softmax=False
            )
            for a, b in ((0.5, 0.5), (0.2, 0.8), (1.0, 1.0))
        },
    ),
    "binary_dice_loss": Curve(
        FOUND,
        0,
        1,
        {
            f"falsely claimed {c}": of_share(
                losses.binary_dice_loss, c, channels=False, apply_sigmoid=False
            )
            for c in (0.0, 0.5, 1.0)
        },
    ),
    "tversky_loss": Curve(
        FOUND + ", half as much falsely claimed",
        0,
        1,
        {
            f"alpha={a}, beta={b}": of_share(
                losses.tversky_loss, 0.5, alpha=a, beta=b, apply_softmax=False
            )
            for a, b in ((0.5, 0.5), (0.1, 0.9), (1.0, 1.0))
        },
    ),
    "multiclass_generalized_dice_loss": Curve(
        "share of the rare class that is found",
        0,
        1,
        {f"variant={v!r}": two_regions(v) for v in ("optax", "sudre")},
    ),
    "ctc_loss": Curve(
        "logit of label 1 in each of four frames, others at 0",
        -4,
        6,
        {
            f"labels {list(labels)}": of_frames(*labels)
            for labels in ((1,), (1, 1), (1, 2))
        },
    ),
    "soft_dtw": Curve(
        "steps by which a pulse of height 1 is late",
        -4,
        4,
        {f"gamma={g}": of_pulse(gamma=g) for g in (0.01, 0.1)}
        | {"gamma=0.01, bandwidth=1": of_pulse(gamma=0.01, bandwidth=1)},
    ),
    "crf_nll": Curve(
        "score of the true tag in each of three steps, the other at 0",
        -4,
        4,
        {f"a tag that stays scores {a} more": of_tags(a) for a in (-2.0, 0.0, 2.0)},
    ),
    "rnnt_loss": Curve(
        "logit of label 1 at each of two frames, others at 0",
        -4,
        6,
        {f"labels {list(labels)}": of_moves(*labels) for labels in ((), (1,), (1, 2))},
    ),
    "margin": Curve(
        "logit of the given class, two others at 0",
        -5,
        5,
        {
            "no options": of_class(losses.margin, 0, 0),
            "temperature=1.0": of_class(losses.margin, 0, 0, temperature=1.0),
        },
        "margin",
    ),
    "error_norm": Curve(
        "logit of the given class, two others at 0",
        -5,
        5,
        {"": of_class(losses.error_norm, 0, 0)},
        "norm",
    ),
}

WITHOUT_CURVE = {
    "Candidates": "a tuple",
    "adaptive_log_softmax_loss": "two cross-entropies, added",
    "convex_kl_divergence": "another name of generalized_kl_divergence",
    "ctc_loss_with_forward_probs": "ctc_loss",
    "log_uniform_candidates": "draws classes",
    "make_fenchel_young_loss": "makes losses",
    "multilabel_margin_loss_with_integer_labels": "multilabel_margin_loss",
    "multilabel_soft_margin_loss": "sigmoid_binary_cross_entropy",
    "nce_loss": "sigmoid_binary_cross_entropy of several classes, added",
    "nll_loss": "a straight line",
    "safe_softmax_cross_entropy": "softmax_cross_entropy",
    "sampled_softmax_cross_entropy": "cross-entropy over fewer classes",
    "smooth_labels": "a straight line",
    "triplet_margin_with_distance_loss": "triplet_margin_loss",
}


def draw(name: str) -> str:
    """Draws the loss on the left and its slope on the right, as SVG."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    curve = CURVES[name]
    x = jnp.linspace(curve.start, curve.stop, 301)
    each = [jax.vmap(jax.value_and_grad(line)) for line in curve.lines.values()]
    results = jax.jit(lambda x: [line(x) for line in each])(x)  # compiled together
    style: Any = {
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": name,
        "font.family": "sans-serif",
        "font.size": 9,
        "lines.linewidth": 1.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.frameon": False,
    }
    with plt.rc_context(style):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.7))
        several = len(curve.lines) > 1
        top = 0.82 if several else 0.9
        figure.subplots_adjust(0.07, 0.18, 0.98, top, wspace=0.18)
        for i, (label, (values, slopes)) in enumerate(
            zip(curve.lines, results, strict=True)
        ):
            if not (jnp.isfinite(values).all() and jnp.isfinite(slopes).all()):
                raise ValueError(f"{name}, {label}: not finite")
            form = dict(label=label, color=COLOURS[i], linestyle=DASHES[i])
            left.plot(x, values, **form)
            right.plot(x, slopes, **form)
        left.set_title(curve.value, fontsize=9)
        right.set_title("slope", fontsize=9)
        for axes in (left, right):
            axes.grid(color=INK, alpha=0.15, linewidth=0.5)
            axes.margins(x=0)
        figure.supxlabel(curve.against, fontsize=9, y=0.01)
        if several:
            figure.legend(
                *left.get_legend_handles_labels(),
                loc="upper center",
                ncols=len(curve.lines),
            )
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    return _inline(text.getvalue(), name, curve)


def _inline(svg: str, name: str, curve: Curve) -> str:
    """Makes the file a part of a page: its own ids, the page's colour, and words."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)  # a hundredth of a point is enough
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    lines = "; ".join(label for label in curve.lines if label)
    words = f"The {curve.value} {name} and its slope, against the {curve.against}"
    words += f". Lines: {lines}." if lines else "."
    return svg.replace("<svg ", f'<svg role="img" aria-label="{words}" ', 1)
