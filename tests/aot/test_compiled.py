"""What the compiler for TPUs makes of the library: counts and bytes, not times.

It runs in an environment of its own: `make aot`. Nothing is executed, and no TPU is
needed; the figures are exact for one version of the compiler, which is why that
version is pinned.
"""

import functools

import pytest

from benchmarks import aot, aot_cases, aot_targets

OWNED = "training step, each device its own samples"
PLAIN = "training step, mean loss alone"
ANYWHERE = "training step, any device any sample"
KERNELS, ON_THE_MESH = aot_cases.kernels(), aot_cases.on_the_mesh()
GRADIENT = aot_cases.size(aot_cases.parameters())
ROWS = 4 * aot_cases.BATCH  # bytes of one number for each example of the batch
MIB = 2**20


@functools.cache
def mesh(target):
    return aot_targets.mesh(target)


@functools.cache
def on_256_devices(name):
    return aot.examine(ON_THE_MESH[name], mesh("256 v5e"))


def moved(found):
    """Bytes of all kinds of transfer together."""
    return sum(total for _, total in found["collectives"].values())


def test_a_step_moves_the_gradient_and_scalars_and_nothing_else():
    found = on_256_devices(OWNED)
    assert found["devices"] == 256
    assert found["collectives"].keys() == {"all-reduce"}
    assert found["collectives"]["all-reduce"][0] <= 4
    assert GRADIENT < moved(found) <= GRADIENT + 64


def test_losses_weights_and_ledger_cost_a_step_little():
    found, plain = on_256_devices(OWNED), on_256_devices(PLAIN)
    assert moved(found) - moved(plain) <= 64
    assert found["temporaries"] <= 1.1 * plain["temporaries"]
    assert found["modelled"] <= 1.05 * plain["modelled"]


def test_a_ledger_that_any_device_writes_moves_rows_of_the_batch_and_no_records():
    found = on_256_devices(ANYWHERE)
    assert GRADIENT + ROWS < moved(found) <= GRADIENT + 24 * ROWS
    assert 24 * ROWS < 4 * aot_cases.EXAMPLES


def test_clipped_gradients_are_summed_once():
    found = on_256_devices("sum of clipped gradients")
    assert found["collectives"] == {"all-reduce": (1, GRADIENT)}


ELEMENTWISE = ["squared_error", "sigmoid_binary_cross_entropy", "huber_loss"]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_elementwise_loss_has_no_temporaries(name):
    value = aot.examine(KERNELS[name], mesh("v5e"))
    assert value["temporaries"] == 0 and not value["collectives"]
    assert value["modelled"] <= 1.01 * (value["arguments"] + value["results"])
    gradient = aot.examine(KERNELS[f"{name}, gradient"], mesh("v5e"))
    assert gradient["temporaries"] == 0
    assert gradient["modelled"] <= 3.01 * (gradient["arguments"] + gradient["results"])


def test_cross_entropy_holds_no_second_copy_of_the_logits():
    name = "softmax_cross_entropy_with_integer_labels, gradient"
    found = aot.examine(KERNELS[name], mesh("v5e"))
    assert found["temporaries"] <= MIB
    assert found["modelled"] <= 2.1 * (found["arguments"] + found["results"])


def test_a_vocabulary_on_the_mesh_moves_a_few_numbers_for_each_token():
    found = on_256_devices("softmax_cross_entropy, vocabulary on the mesh")
    assert found["collectives"].keys() == {"all-reduce"}
    assert moved(found) <= 4 * ROWS  # of 8192 tokens, too


def test_a_layer_on_the_mesh_moves_the_gradient_of_its_input_and_no_logits():
    name = "linear_softmax_cross_entropy, vocabulary on the mesh"
    hidden = ON_THE_MESH[name].arguments[1]
    of_hidden = 2 * aot_cases.size(hidden)  # it is summed in float32
    assert moved(on_256_devices(name)) <= of_hidden + 4 * ROWS


@pytest.mark.parametrize(
    "name", ["linear_softmax_cross_entropy", "weighted_linear_softmax_cross_entropy"]
)
def test_a_large_vocabulary_needs_a_part_of_its_logits(name):
    found = aot.examine(KERNELS[f"{name}, gradient"], mesh("v5e"))
    assert found["temporaries"] <= 8192 * 32768 * 4 / 4
