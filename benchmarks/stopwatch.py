"""One stopwatch for all contestants: blocks in alternation, each sample kept."""

import time
from collections.abc import Callable, Mapping

ROUNDS = 9
BLOCK_SECONDS = 0.004
WARM_UP_SECONDS = 0.02


def race(
    *fields: Mapping[str, Callable[[], object]], rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """Milliseconds of one call, a sample for each round and contestant.

    Of several fields, all with the same contestants, each round takes the next.

    Each call must end when its work is done. In every round each contestant runs one
    block of calls, so that what slows the machine down slows all of them; a block has
    as many calls as last a few milliseconds. What is compiled is compiled before.
    Calls before each block are not timed: they pay for what another library left
    behind, in the caches and with the threads. They last as long for each contestant,
    for one call is not enough: after another's, loops over 32 MB become faster for
    about 20 ms, and what takes long would be timed colder than what is soon done.
    """
    calls = {name: _calls_of_a_block(run) for name, run in fields[0].items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds):
        for name, run in fields[i % len(fields)].items():
            _warm_up(run)
            start = time.perf_counter()
            for _ in range(calls[name]):
                run()
            elapsed = time.perf_counter() - start
            samples[name].append(1e3 * elapsed / calls[name])
    return samples


def _warm_up(run: Callable[[], object]) -> None:
    start = time.perf_counter()
    run()
    while time.perf_counter() - start < WARM_UP_SECONDS:
        run()


def _calls_of_a_block(run: Callable[[], object]) -> int:
    run()
    start = time.perf_counter()
    run()
    once = time.perf_counter() - start
    return max(1, round(BLOCK_SECONDS / max(once, 1e-7)))
