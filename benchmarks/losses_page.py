"""The page about the losses, from what was timed: what is claimed, and every case."""

import statistics
from collections.abc import Iterator, Sequence

from benchmarks import provenance
from benchmarks.ratios import (
    EVEN,
    KERAS,
    ODD,
    OPTAX,
    OURS,
    OURS_512,
    PEERS,
    READ,
    SHARES,
    all_over_ours,
    best_over_ours,
    dtype,
    geometric_mean,
    is_small,
    share_of_read,
)

LIBRARIES = (OURS, *PEERS, KERAS)
APART = 0.05


def table(results: dict) -> str:
    """The results as a page of Markdown, the cases lost marked."""
    wide = [c for c in results["cases"] if dtype(c) == "float32"]
    narrow = [c for c in results["cases"] if dtype(c) == "bfloat16"]
    memory = results.get("memory", [])
    lines = [
        "# Losses beside those of other libraries",
        "",
        "Milliseconds, median (minimum) of blocks in alternation in one process; one "
        "loss for each example of a batch. *Ratio*: the best peer's median over ours, "
        "above 1 where jaxloss is the faster one; below 1 in **bold**. The peers are "
        f"five: {'; '.join(PEERS)}. Keras, as one calls it, without a compiler, is not "
        "among them. An empty cell: the library does not have the loss, or not of "
        "these inputs. All who are timed agreed before a clock started.",
        "",
        *provenance.sentences(results["about"]),
        "",
        _samples(wide),
        "",
        "## What is claimed",
        "",
        *claims(wide, memory, {*results["about"].get("left_out", ())} <= {KERAS}),
    ]
    if results.get("by_batch"):
        lines += ["", "## Pictures", ""]
        lines += ["![Time against the size of the batch](losses_by_batch.svg)", ""]
        lines += ["![Each peer's time over ours](losses_by_peer.svg)", ""]
        lines += ["![Shares of a plain read](losses_roofline.svg)"]
    lines += ["", "## float32", "", *_rows(wide)]
    if memory:
        lines += ["", "## From memory", "", *_from_memory(memory)]
    if narrow:
        lines += [
            "",
            "## bfloat16",
            "",
            "One shape of each loss. Inputs and gradients are bfloat16; the losses of "
            "jaxloss are float32, those of the others what each of them makes of its "
            "inputs. They agree to 2**-6 of the number and 2**-6 of the mean, but for "
            "2 % of the elements of a gradient, where differences of near numbers or a "
            "kink lose more.",
            "",
            *(f"- {line}" for line in _summary(narrow)),
            "",
            *_rows(narrow),
        ]
    if long := results.get("long"):
        lines += [
            "",
            "## Long examples",
            "",
            "Images of 224 x 224 as vectors, and the logits of a vocabulary of 50257, "
            "in float32. XLA on the CPU takes longer for what does not fit into 128 "
            "KiB. Nothing is claimed of them, and they are in no other figure.",
            "",
            *(f"- {line}" for line in _summary(long)),
            "",
            *_rows(long),
        ]
    measured = [*results["cases"], *results.get("long", ())]
    failures = [
        f"- {who}, {case['loss']}, {dtype(case)}, {case['mode']}: {reason}."
        for case in measured
        for who, reason in case.get("left_out", {}).items()
    ]
    if failures:
        lines += ["", "## Left out", "", *failures]
    if any("first_ms" in case for case in results["cases"]):
        lines += ["", "## First calls", "", *_first_calls(results["cases"])]
    if results.get("by_batch"):
        lines += ["", "## Time against the batch", "", *_by_batch(results["by_batch"])]
    return "\n".join(lines) + "\n"


def _samples(cases: list[dict]) -> str:
    counts = sorted({len(case["ms"][OURS]) for case in cases})
    words = f"{counts[-1]} rounds"
    if len(counts) > 1:
        words += f", at shapes of 8 million elements and more {counts[0]}"
    return (
        "A sample is the mean of one block of calls; before it, calls that are not "
        "timed warm up each contestant for the same time. Every round has one block of "
        f"each, with the inputs elsewhere in memory; there are {words}. All samples "
        "are in `losses.json`, in the order in which they were taken: of `places` "
        "places in turn."
    )


def claims(cases: list[dict], memory: list[dict], complete: bool = True) -> list[str]:
    """What should hold of float32, and whether it does."""
    best = "best of five peers" if complete else "best of the peers that took part"
    large = [case for case in cases if not is_small(case)]
    small = [case for case in cases if is_small(case)]
    lines = []
    for words, group, peers, floor, lowest in (
        (f"Medium and large shapes, {best}", large, PEERS, 1.1, 0.7),
        ("Medium and large shapes, optax jitted", large, [OPTAX], 1.8, None),
        ("Small shapes, optax jitted", small, [OPTAX], 0.9, 0.9),
    ):
        ratios = all_over_ours(group, peers)
        if not ratios:
            continue
        mean = geometric_mean(ratios)
        lines.append(
            f"- {words}, over ours: geometric mean {mean:.2f}, at least {floor}: "
            f"{_held(mean >= floor)}."
        )
        lost = sum(ratio < 1 for ratio in ratios)
        worst = f"{min(ratios):.2f} ({_where(group, peers, min(ratios))})"
        line = f"- {words}, over ours: lowest {worst}"
        if lowest is not None:
            line += f", at least {lowest}: {_held(min(ratios) >= lowest)}"
        lines.append(f"{line}; {lost} of {len(ratios)} cases lost.")
    if ratios := all_over_ours(large, [KERAS]):
        lines.append(
            f"- Medium and large shapes, Keras, over ours: geometric mean "
            f"{geometric_mean(ratios):.2f}, lowest {min(ratios):.2f}; nothing is "
            "claimed of it."
        )
    lines += _claims_of_memory(cases, memory)
    return lines + list(_claims_of_rounds(large, best))


def _claims_of_memory(cases: list[dict], memory: list[dict]) -> Iterator[str]:
    values = [c for c in cases if c["mode"] == "value" and READ in c["ms"]]
    for work, floor in SHARES.items():
        large, far = (
            [case for case in group if case.get("work") == work]
            for group in (values, memory)
        )
        claimed = far or large
        if not claimed:
            continue
        lowest = min(all_over_ours(claimed, [READ]))
        line = (
            f"- A plain read of the inputs over ours, {work}, values "
            f"{'from memory' if far else 'at large shapes'}: {_lowest_share(claimed)}, "
            f"at least {floor:.0%}: {_held(lowest >= floor)}."
        )
        if _has_512(far):
            line += f" With vectors of 512 bits {_lowest_share(far, OURS_512)}."
        if far and large:
            line += (
                " At large shapes, which a cache may hold and of which nothing is "
                f"claimed, {_lowest_share(large)}."
            )
        yield f"{line} Of {', '.join(dict.fromkeys(c['loss'] for c in claimed))}."


def _lowest_share(cases: list[dict], ours: str = OURS) -> str:
    lowest = min(all_over_ours(cases, [READ], ours=ours))
    return f"lowest {lowest:.0%} ({_where(cases, [READ], lowest, ours)})"


def _has_512(memory: list[dict]) -> bool:
    return any(OURS_512 in case["ms"] for case in memory)


def _claims_of_rounds(cases: list[dict], best: str) -> Iterator[str]:
    if not cases or min(len(case["ms"][OURS]) for case in cases) < 2:
        return
    for words, peers in ((f"the {best}", PEERS), ("optax", [OPTAX])):
        odd, even = (all_over_ours(cases, peers, part) for part in (ODD, EVEN))
        if odd:
            means = geometric_mean(odd), geometric_mean(even)
            apart = max(means) / min(means) - 1
            yield (
                f"- Geometric mean over {words}, from the odd rounds {means[0]:.3f} "
                f"and from the even rounds {means[1]:.3f}: {apart:.1%} apart, at most "
                f"{APART:.0%}: {_held(apart <= APART)}."
            )


def _summary(cases: list[dict]) -> Iterator[str]:
    for words, peers in (("Best peer", PEERS), ("Optax jitted", [OPTAX])):
        ratios = all_over_ours(cases, peers)
        if ratios:
            lost = sum(ratio < 1 for ratio in ratios)
            yield (
                f"{words}, over ours: geometric mean {geometric_mean(ratios):.2f}, "
                f"lowest {min(ratios):.2f}; {lost} of {len(ratios)} cases lost."
            )


def _where(
    cases: list[dict], peers: Sequence[str], ratio: float, ours: str = OURS
) -> str:
    case = next(c for c in cases if best_over_ours(c, peers, ours=ours) == ratio)
    return f"{case['loss']}, {_shape(case)}, {case['mode']}"


def _rows(cases: list[dict]) -> list[str]:
    shares = any(READ in case["ms"] for case in cases)
    heads = ["loss", "shape", "mode", *LIBRARIES, "ratio"]
    heads += ["plain read", "share"] if shares else []
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for case in cases:
        cells = [case["loss"], _shape(case), case["mode"]]
        cells += [_cell(case["ms"].get(who)) for who in LIBRARIES]
        cells.append(_ratio(best_over_ours(case)))
        if shares:
            cells += [_cell(case["ms"].get(READ)), _share(share_of_read(case))]
        lines.append(f"| {' | '.join(cells)} |")
    if shares:
        lines += [
            "",
            "*Plain read*: sums of the examples of the inputs that are as large as "
            "the batch, by JAX in one call; with a gradient also ones, as many as the "
            "first input has. *Share*: its time over ours. It is no peer.",
        ]
    return lines


def _from_memory(cases: list[dict]) -> list[str]:
    ours = [OURS, OURS_512] if _has_512(cases) else [OURS]
    lines = [
        "Values in float32 of inputs of 1 to 2 GiB, several times what the caches of a "
        "server hold, as the benchmark STREAM asks for; *share* is the time of a plain "
        f"read over ours. Once in memory, {len(cases[0]['ms'][OURS])} rounds.",
    ]
    if OURS_512 in ours:
        lines[-1] += (
            " By default XLA makes vectors of 256 bits, and of these are the claims; "
            "beside them the same program with vectors of 512 bits, by "
            '`jax.jit(..., compiler_options={"xla_cpu_prefer_vector_width": 512})`.'
        )
    heads = ["loss", "shape", *ours, READ, *(f"share, {who}" for who in ours)]
    lines += ["", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for case in cases:
        cells = [case["loss"], _shape(case)]
        cells += [_cell(case["ms"].get(who)) for who in (*ours, READ)]
        cells += [_share(share_of_read(case, who)) for who in ours]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _first_calls(cases: list[dict]) -> list[str]:
    lines = [
        "The first call of a case traces and compiles, and runs once; it is in no "
        "other figure. Milliseconds.",
        "",
        "| by | cases | median | longest |",
        "|---|---|---|---|",
    ]
    for who in LIBRARIES:
        ms = [case["first_ms"][who] for case in cases if who in case["first_ms"]]
        if ms:
            median, longest = statistics.median(ms), max(ms)
            lines.append(f"| {who} | {len(ms)} | {median:.3g} | {longest:.3g} |")
    return lines


def _by_batch(cases: list[dict]) -> list[str]:
    names = list(cases[0]["ms"])
    heads = ["loss", "shape", *names, "ratio"]
    lines = [
        "Milliseconds of values, median (minimum) of "
        f"{len(cases[0]['ms'][OURS])} rounds; *ratio* is that to the best of these.",
    ]
    if "torch.compile" not in names:
        lines[-1] += " Without torch.compile: to compile every batch takes too long."
    lines += [
        "",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
    ]
    for case in cases:
        cells = [case["loss"], _shape(case)]
        cells += [_cell(case["ms"].get(who)) for who in names]
        cells.append(_ratio(best_over_ours(case)))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:.2f}" if ratio >= 1 else f"**{ratio:.2f}**"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _shape(case: dict) -> str:
    return " x ".join(map(str, case["shape"]))


def _cell(ms: list[float] | None) -> str:
    return "" if ms is None else f"{statistics.median(ms):.3g} ({min(ms):.3g})"


def _held(holds: bool) -> str:
    return "holds" if holds else "**does not hold**"
