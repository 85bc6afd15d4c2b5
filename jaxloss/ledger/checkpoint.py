"""A ledger on disk: saved so that an interruption costs nothing that was there."""

import os
from typing import Any

import jax
from jax.sharding import Sharding, SingleDeviceSharding

from jaxloss.ledger.records import Ledger, Moments, of_all


def save(directory: str | os.PathLike[str], ledger: Ledger) -> None:
    """Saves a ledger in place of the one that was saved in this directory before.

    Needs orbax (``pip install orbax-checkpoint``; Flax brings it). The ledger alone
    suffices to go on recording; to go on training in the midst of an epoch, save the
    parameters and the position in the data as well. A ledger is an ordinary pytree, and
    what must never part is best saved as one tree, with orbax itself.

    Args:
        directory: where to; made when it is not there. It should hold nothing else.
        ledger: what to save, on one device or sharded.

    Raises:
        ImportError: orbax is not installed.
        ValueError: the ledger has no examples: orbax does not save empty arrays.

    Guarantees:
        - When it returns, `restore` gives the same ledger, to the last bit.
        - When it is interrupted at any moment, even by ``kill -9``, `restore` gives
          the ledger saved before or the one that was being saved, whole; the next save
          clears away what was left over.
    """
    if ledger.seen.size == 0:
        raise ValueError("`ledger` must have examples to be saved, got one of none.")
    tree = {
        name: part._asdict() if isinstance(part, Moments) else part
        for name, part in ledger._asdict().items()
        if part is not None
    }
    ocp = _orbax()
    # Written under another name, renamed when it is whole, and only then is the one
    # before deleted.
    with _manager(directory, create=True, cleanup_tmp_directories=True) as manager:
        latest = manager.latest_step()
        step = 0 if latest is None else latest + 1
        manager.save(step, args=ocp.args.StandardSave(tree), force=True)


def restore(
    directory: str | os.PathLike[str], *, sharding: Sharding | None = None
) -> Ledger:
    """Returns the ledger that was saved last in a directory.

    Args:
        directory: what was given to `save`.
        sharding: how to lay the examples over devices, such as
            ``NamedSharding(mesh, PartitionSpec("examples"))``; None for the first
            device. It need not be that of the ledger that was saved.

    Raises:
        ImportError: orbax is not installed.
        FileNotFoundError: no ledger was saved there.
        ValueError: what was saved there is no ledger of this version.

    Guarantees:
        - It writes nothing.
    """
    if sharding is None:
        sharding = SingleDeviceSharding(jax.devices()[0])
    one = of_all(sharding)

    def wanted(saved: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(
            saved.shape, saved.dtype, sharding=sharding if saved.shape else one
        )

    missing = f"`directory` must hold a ledger, got none in {os.fspath(directory)}."
    if "://" not in os.fspath(directory) and not os.path.isdir(directory):
        raise FileNotFoundError(missing)
    ocp = _orbax()
    with _manager(directory, create=False) as manager:
        step = manager.latest_step()
        if step is None:
            raise FileNotFoundError(missing)
        saved = manager.item_metadata(step)
        tree = {} if saved is None else dict(saved.tree)
        parts = Ledger._fields
        if not {p for p in parts if p[:6] != "class_"} <= tree.keys() <= set(parts):
            raise ValueError(missing + f" What is there has {', '.join(tree)}.")
        target = jax.tree.map(wanted, tree)
        tree = manager.restore(step, args=ocp.args.StandardRestore(target))
    records: dict[str, Any] = {"class_count": None, "class_mean": None}
    for name, part in tree.items():
        records[name] = Moments(**part) if isinstance(part, dict) else part
    return Ledger(**records)


def _manager(directory: str | os.PathLike[str], **options: Any) -> Any:
    path = os.fspath(directory)
    ocp = _orbax()
    return ocp.CheckpointManager(
        path if "://" in path else os.path.abspath(path),
        options=ocp.CheckpointManagerOptions(
            max_to_keep=1, enable_async_checkpointing=False, **options
        ),
        item_handlers=ocp.StandardCheckpointHandler(),
    )


def _orbax() -> Any:
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        raise ImportError(
            "Saving and restoring a ledger needs orbax, which is not installed. "
            "Install it by `pip install orbax-checkpoint`."
        ) from error
    return ocp
