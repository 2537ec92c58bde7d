"""Tests of the Gaussian-process output layer: uncertainty and pairs seen."""

from __future__ import annotations

import torch
from torch import Tensor

from ppi_train.models.ensemble import GaussianOutput


def layer(features: int = 256) -> GaussianOutput:
    torch.manual_seed(0)
    made = GaussianOutput(3, features=features, length_scale=1.0)
    with torch.no_grad():
        made.weight.normal_()
    return made


def learned(made: GaussianOutput, inputs: Tensor) -> None:
    features = made.features(inputs)
    made.observe(features, made.mean(features))


def points(count: int, seed: int) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) * 0.3


def test_products_of_random_features_are_the_kernel() -> None:
    made, x = layer(20_000), points(30, 0)
    kernel = torch.exp(-torch.cdist(x, x).square() / 2)
    torch.testing.assert_close(made.features(x) @ made.features(x).t(), kernel, atol=0.03, rtol=0)


@torch.no_grad()
def test_the_deviation_is_that_of_the_laplace_posterior() -> None:
    made, seen, asked = layer(), points(50, 0), points(20, 1)
    for part in seen.split(7):
        learned(made, part)
    f, p = made.features(seen).double(), torch.sigmoid(made.mean(made.features(seen))).double()
    covariance = torch.linalg.inv(torch.eye(256) + (f * (p * (1 - p))[:, None]).t() @ f)
    g = made.features(asked).double()
    torch.testing.assert_close(made.deviation(g.float()), (g @ covariance * g).sum(dim=1).sqrt().float())


@torch.no_grad()
def test_it_is_less_sure_far_from_what_it_was_taught() -> None:
    made = layer()
    for _ in range(20):
        learned(made, points(50, 0))
    near, far = (made.deviation(made.features(x)) for x in (points(20, 1), points(20, 1) + 5))
    assert near.max() < 0.7 * far.min()


@torch.no_grad()
def test_each_epoch_begins_anew_also_in_another_process() -> None:
    made = layer()
    learned(made, points(5, 0))
    halfway = {key: tensor.clone() for key, tensor in made.state_dict().items()}
    learned(made, points(5, 1))
    first_epoch = made.precision.clone()
    made.eval()
    ended = {key: tensor.clone() for key, tensor in made.state_dict().items()}
    learned(made.train(), points(5, 2))
    second_epoch = made.precision.clone()
    for state, inputs, expected in ((halfway, 1, first_epoch), (ended, 2, second_epoch)):
        other = layer()
        other.load_state_dict(state)
        learned(other.train(), points(5, inputs))
        assert torch.equal(other.precision, expected)
    assert not torch.equal(first_epoch, second_epoch)
