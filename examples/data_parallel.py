"""Trains on one device, on eight, and in two processes: the same losses, one ledger.

It starts itself three times: with one device, with eight virtual devices of the CPU,
and as two processes of four devices that talk over the loopback (gloo). The digits of
scikit-learn come in parts. A device deals the samples of its own parts and keeps their
records, so that nothing of a sample travels: the gradient does, and a few sums.
"""

import functools
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

from jaxloss import ledger, losses, per_sample, reduction, weighting

SAMPLES, PARTS, EPOCHS, DEALT = 1797, 8, 4, 15
SETTINGS = {"1 device": (1, 1), "8 devices": (1, 8), "2 processes": (2, 4)}


class Classifier(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(64)(x)))


def train(out):
    """What every process runs. There is nothing in it about how many there are."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    split, whole = (NamedSharding(mesh, spec) for spec in (P("data"), P()))
    data = np.load(out.parent / "digits.npz")
    images, labels = data["images"], data["labels"]
    each = -(-SAMPLES // PARTS)  # in a part; the last one is padded
    records = ledger.init(PARTS * each, sharding=split)
    specs = jax.tree.map(lambda array: array.sharding.spec, records)

    model, optimizer = Classifier(), optax.adam(3e-3)
    new = jax.jit(model.init, out_shardings=whole)
    params = new(jax.random.key(0), images[:1])
    state = jax.jit(optimizer.init, out_shardings=whole)(params)
    of_class = weighting.class_balanced(np.bincount(labels), 0.99)

    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(specs, P("data"), P("data")),
        out_specs=specs,
    )
    def write(records, index, columns):
        first = jax.lax.axis_index("data") * records.seen.size  # of those of the device
        return ledger.update(records, index - first, **columns)

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params, state, records, index, where, x, y):
        def batch_loss(params):
            logits = jnp.asarray(model.apply(params, x))
            kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)
            sample_losses = kernel(logits, y)
            loss = reduction.weighted_mean(sample_losses, of_class[y] * where)
            correct = logits.argmax(-1) == y
            return loss, {"losses": sample_losses, "correct": correct, "where": where}

        gradient_of = jax.value_and_grad(batch_loss, has_aux=True)
        (loss, columns), gradient = gradient_of(params)
        records = write(records, index, columns)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, records, loss

    parts = np.split(np.arange(PARTS), jax.process_count())[jax.process_index()]
    history = []
    for epoch in range(EPOCHS):
        deal = [
            part * each + np.random.default_rng((epoch, part)).permutation(each)
            for part in parts
        ]
        for dealt in range(0, each, DEALT):
            index = np.concatenate([part[dealt : dealt + DEALT] for part in deal])
            where, row = index < SAMPLES, np.minimum(index, SAMPLES - 1)
            batch = index, where, images[row], labels[row]
            batch = [jax.make_array_from_process_local_data(split, x) for x in batch]
            params, state, records, loss = step(params, state, records, *batch)
            history.append(float(loss))
    ledger.save(out / "ledger", records)
    if jax.process_index() == 0:
        np.save(out / "losses.npy", history)


def start(out, processes, devices):
    """Starts the processes of one setting."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    cpu = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    arguments = [sys.executable, __file__, "train", str(out), address, str(processes)]
    return [
        subprocess.Popen([*arguments, str(number)], env=os.environ | cpu)
        for number in range(processes)
    ]


def main():
    from sklearn.datasets import load_digits  # slow, and only one process needs it

    with tempfile.TemporaryDirectory() as folder:
        images, labels = load_digits(return_X_y=True)
        images = (images / 16).astype(np.float32)
        np.savez(Path(folder) / "digits.npz", images=images, labels=labels)
        out = {name: Path(folder) / name for name in SETTINGS}
        for path in out.values():
            path.mkdir()
        running = [start(out[name], *SETTINGS[name]) for name in SETTINGS]
        assert not any([process.wait(600) for two in running for process in two])
        history = {name: np.load(path / "losses.npy") for name, path in out.items()}
        records = {name: ledger.restore(path / "ledger") for name, path in out.items()}

    print("setting      first loss  last loss  learnt  mean loss of a sample")
    for name in SETTINGS:
        first, *_, last = history[name]
        learnt = int(records[name].learnt.sum())
        mean = jnp.nanmean(ledger.loss_mean(records[name]))
        print(f"{name:11}  {first:10.6f}  {last:9.6f}  {learnt:6}  {mean:21.6f}")

    def same(one, other):
        if np.issubdtype(one.dtype, np.floating):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        else:
            np.testing.assert_array_equal(one, other)

    for name in SETTINGS:
        jax.tree.map(same, history[name], history["1 device"])
        jax.tree.map(same, records[name], records["1 device"])
    assert int(records["1 device"].seen.sum()) == EPOCHS * SAMPLES
    assert history["1 device"][-1] < history["1 device"][0] / 2


if __name__ == "__main__":
    if sys.argv[1:2] != ["train"]:
        main()
    else:
        folder, address, processes, number = sys.argv[2:]
        if int(processes) > 1:
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
            jax.distributed.initialize(address, int(processes), int(number))
        train(Path(folder))
