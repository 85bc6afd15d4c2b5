"""Trains in processes that are killed while they save, one after another.

Run as a program by `test_checkpoint.py`. Every process goes on from what the one before
left. What Python does to files is counted, and the process kills itself, as ``kill -9``
would, before it does so for the nth time in a save; another is killed by a clock, at
whatever moment that is.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint  # noqa: F401 (once, before the processes part)
from sklearn.datasets import load_digits

from jaxloss import ledger, losses, per_sample

STEPS, BATCH, EXAMPLES = 7, 64, 192  # three steps make an epoch
FILES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "open"}
EVENT, SECONDS = 50, 0.05


def train(
    directory: Path, every: int = 1, kill_before: int = 0, kill_after: float = 0.0
) -> None:
    data, target = load_digits(return_X_y=True)
    data, target = jnp.asarray(data[:EXAMPLES] / 16), jnp.asarray(target[:EXAMPLES])

    @jax.jit
    def step(params, records, index):
        def loss(params):
            kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)
            logits = data[index] @ params
            sample_losses = kernel(logits, target[index])
            return sample_losses.mean(), (sample_losses, logits)

        grads, (sample_losses, logits) = jax.grad(loss, has_aux=True)(params)
        records = ledger.update(
            records,
            index,
            losses=sample_losses,
            correct=logits.argmax(-1) == target[index],
        )
        return params - grads, records

    def save(records):
        if kill_after:
            threading.Timer(kill_after, die).start()
        counting.append(kill_before)
        ledger.save(directory, records)
        counting.pop()

    counting: list[int] = []
    seen = 0

    def watch(event: str, _: object) -> None:
        nonlocal seen
        if counting and counting[-1] and event in FILES:
            seen += 1
            if seen == counting[-1]:
                die()

    sys.addaudithook(watch)
    params, records, done = jnp.zeros((64, 10)), ledger.init(EXAMPLES), 0
    if directory.exists() and any(directory.iterdir()):
        try:
            records = ledger.restore(directory)
        except FileNotFoundError:
            assert not directory.with_suffix(".saved").exists(), "a ledger was lost"
        done = int(records.seen.sum()) // BATCH
        if done:
            params = jnp.asarray(np.load(f"{directory}.{done}.npy"))
    for number in range(done, STEPS):
        epoch, place = divmod(number * BATCH, EXAMPLES)
        order = np.random.default_rng(epoch).permutation(EXAMPLES)
        params, records = step(params, records, order[place : place + BATCH])
        if (number + 1) % every == 0:
            np.save(f"{directory}.{number + 1}.npy", params)
            save(records)
            directory.with_suffix(".saved").touch()
    assert int(records.seen.sum()) == STEPS * BATCH


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_process(*arguments, **keywords) -> int:
    """Forked before JAX has started anything, so that nothing is imported anew."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            train(*arguments, **keywords)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    # So that only the first process compiles.
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    assert in_a_process(folder / "whole", every=STEPS) == 0
    print(in_a_process(folder / "killed", kill_before=EVENT), "by the count")
    print(in_a_process(folder / "killed", kill_after=SECONDS), "by the clock")
    print(in_a_process(folder / "killed"), "not killed")
