"""One stopwatch for all contestants: blocks in alternation, each sample kept."""

import time
from collections.abc import Callable, Mapping

ROUNDS = 9
BLOCK_SECONDS = 0.004
WARM_UP_SECONDS = 0.02


def race(
    *fields: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    block: float = BLOCK_SECONDS,
    warm_up: float = WARM_UP_SECONDS,
) -> dict[str, list[float]]:
    """Milliseconds of one call, a sample for each round and contestant.

    Of several fields, all with the same contestants, each round takes the next.

    Each call must end when its work is done. In every round each contestant runs one
    block of calls, so that what slows the machine down slows all of them; a block has
    as many calls as last `block` seconds, or one. What is compiled is compiled before.
    Calls before each block are not timed: they pay for what another library left
    behind, in the caches and with the threads. They last as long for each contestant,
    for one call is not enough: after another's, loops over 32 MB become faster for
    about 20 ms, and what takes long would be timed colder than what is soon done. Of
    a few megabytes 5 ms are enough. Of a call that lasts 20 times as long a twentieth
    at most is cold: it has no other before it.
    """
    seconds = {name: _seconds_of_a_call(run, block) for name, run in fields[0].items()}
    calls = {name: max(1, round(block / took)) for name, took in seconds.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds):
        for name, run in fields[i % len(fields)].items():
            if seconds[name] < 20 * warm_up:
                _warm_up(run, warm_up)
            start = time.perf_counter()
            for _ in range(calls[name]):
                run()
            elapsed = time.perf_counter() - start
            samples[name].append(1e3 * elapsed / calls[name])
    return samples


def _warm_up(run: Callable[[], object], seconds: float) -> None:
    start = time.perf_counter()
    run()
    while time.perf_counter() - start < seconds:
        run()


def _seconds_of_a_call(run: Callable[[], object], block: float) -> float:
    """Of the second, unless the first lasts ten blocks."""
    for _ in range(2):
        start = time.perf_counter()
        run()
        took = max(time.perf_counter() - start, 1e-7)
        if took > 10 * block:
            break
    return took
