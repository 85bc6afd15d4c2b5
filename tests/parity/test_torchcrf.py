"""`crf_nll` beside the CRF of pytorch-crf, by every kind of score."""

import pytest
import torch
import torchcrf

from jaxloss import losses, per_sample
from tests.parity.rows import BATCH, Row, assert_parity, fixed, labels, reals
from tests.parity.test_torch import of_torch

STEPS, TAGS = 6, 5
KERNEL = per_sample(losses.crf_nll, in_axes=(0, 0, None, None, None, 0))


def crf(emissions, tags, transitions, start, end, length):
    module = torchcrf.CRF(TAGS, batch_first=True)
    for name, scores in [
        ("transitions", transitions),
        ("start_transitions", start),
        ("end_transitions", end),
    ]:
        delattr(module, name)  # a parameter, which would cut off the gradient
        setattr(module, name, scores)
    mask = torch.arange(STEPS) < length[:, None]
    return -module(emissions, tags, mask, reduction="none")


def moved_first(position):
    """The row in which the scores at this position are what is differentiated."""

    def back(loss):
        def reordered(first, *rest):
            return loss(*rest[:position], first, *rest[position:])

        return reordered

    data = (
        reals(BATCH, STEPS, TAGS),
        labels(BATCH, STEPS, classes=TAGS),
        reals(TAGS, TAGS),
        reals(TAGS),
        reals(TAGS),
        fixed(6, 1, 4, 5),
    )
    data = (data[position], *data[:position], *data[position + 1 :])
    return Row(f"CRF-{position}", back(crf), back(KERNEL), data)


@pytest.mark.parametrize("position", [0, 2, 3, 4])
def test_value_and_gradient_are_those_of_pytorch_crf(position):
    assert_parity(moved_first(position), of_torch)
