"""Devices to compile for that are not there: slices of TPUs, and GPUs."""

import importlib.util
import os

# libtpu would otherwise ask a cloud host of what slice it is.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")

import jax  # noqa: E402 (libtpu reads the environment when it is loaded)
import numpy as np  # noqa: E402 (as above)
from jax.experimental import topologies  # noqa: E402 (as above)

TPUS = {
    "v5e": "v5e:2x2",
    "v5p": "v5p:2x2x1",
    "v6e": "v6e:2x2",
    "256 v5e": "v5e:16x16",
}
# Compute capability; cores, units of a core, shared memory of a core and of a block in
# KiB, second cache in MiB, memory in GiB, its GB/s, clock in GHz.
GPUS = {
    "A100": ((8, 0), 108, 64, 164, 163, 40, 80, 2039, 1.41),
    "H100": ((9, 0), 132, 128, 228, 227, 50, 80, 3352, 1.98),
}
GPUS_OF_A_HOST = 8


def available() -> list[str]:
    """The targets for which a compiler is installed."""
    tpus = list(TPUS) if importlib.util.find_spec("libtpu") else []
    return tpus + (list(GPUS) if importlib.util.find_spec("jax_cuda13_plugin") else [])


def mesh(target: str) -> jax.sharding.Mesh:
    """All devices of a target, in one row named ``data``."""
    if target in TPUS:
        topology = topologies.get_topology_desc(TPUS[target], "tpu")
    else:
        topology = topologies.get_topology_desc(
            "",
            "cuda",
            target_config=_gpu(target),
            topology=f"1x1x{GPUS_OF_A_HOST}",
        )
    return jax.sharding.Mesh(np.array(topology.devices), ("data",))


def _gpu(name: str) -> str:
    """What XLA calls a GpuTargetConfigProto, as text."""
    (major, minor), cores, units, shared, of_block, cache, memory, rate, clock = GPUS[
        name
    ]
    fields = {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "threads_per_core_limit": 2048,
        "core_count": cores,
        "fpus_per_core": units,
        "clock_rate_ghz": clock,
        "shared_memory_per_block": 48 << 10,
        "shared_memory_per_core": shared << 10,
        "shared_memory_per_block_optin": of_block << 10,
        "registers_per_core_limit": 65536,
        "registers_per_block_limit": 65536,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 65535,
        "block_dim_limit_z": 65535,
        "thread_dim_limit_x": 1024,
        "thread_dim_limit_y": 1024,
        "thread_dim_limit_z": 64,
        "l2_cache_size": cache << 20,
        "device_memory_size": memory << 30,
        "memory_bandwidth": rate * 10**9,
    }
    device = " ".join(f"{field}: {value}" for field, value in fields.items())
    return (
        f"gpu_device_info {{ {device}"
        f" cuda_compute_capability {{ major: {major} minor: {minor} }}"
        ' runtime_version: "13.0.0" driver_version: "13.0.0" dnn_version: "9.12.0" }'
        ' platform_name: "CUDA" dnn_version_info { major: 9 minor: 12 }'
        f' device_description_str: "{name}"'
    )
