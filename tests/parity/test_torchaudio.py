"""The transducer loss of torchaudio beside ours.

Its packages on PyPI are linked with CUDA, also where there is no GPU. An environment
with PyTorch for the CPU cannot load them, and the extra `parity` leaves them out; the
example of its documentation is in `tests/losses/test_transducer.py`, with its answer.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxloss import losses, per_sample

try:
    from torchaudio.functional import rnnt_loss
except (ImportError, OSError) as error:
    pytest.skip(f"torchaudio cannot be loaded: {error}", allow_module_level=True)

BATCH, FRAMES, LABELS, CLASSES = 4, 6, 3, 5
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (BATCH, FRAMES, LABELS + 1, CLASSES)).astype(np.float32)
REST = (
    RNG.integers(1, CLASSES - 1, (BATCH, LABELS)).astype(np.int32),
    np.array([6, 5, 1, 3], np.int32),
    np.array([3, 2, 1, 0], np.int32),
)


def of_torchaudio(**options):
    logits = torch.tensor(LOGITS, requires_grad=True)
    rest = map(torch.tensor, REST)
    value = rnnt_loss(logits, *rest, reduction="none", **options)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    return value.detach().numpy(), gradient.numpy()


def ours(blank_id):
    kernel = per_sample(losses.rnnt_loss, blank_id=blank_id)
    gradient = jax.grad(lambda z: kernel(z, *REST).sum())(LOGITS)
    return kernel(LOGITS, *REST), gradient


@pytest.mark.parametrize(
    ("blank", "blank_id"), [(0, 0), (-1, CLASSES - 1), (4, CLASSES - 1)]
)
def test_value_and_gradient_are_those_of_torchaudio(blank, blank_id):
    for got, want in zip(ours(blank_id), of_torchaudio(blank=blank), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_clamp_clips_the_gradient_by_the_logits():
    _, gradient = ours(CLASSES - 1)
    _, clamped = of_torchaudio(clamp=0.25)
    assert np.abs(gradient).max() > 0.5
    np.testing.assert_allclose(jnp.clip(gradient, -0.25, 0.25), clamped, atol=1e-6)


def test_log_probabilities_are_logits_too():
    value, _ = of_torchaudio()
    kernel = per_sample(losses.rnnt_loss, blank_id=CLASSES - 1)
    np.testing.assert_allclose(
        kernel(jax.nn.log_softmax(LOGITS), *REST), value, rtol=1e-5
    )
