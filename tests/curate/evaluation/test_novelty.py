import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis as reference

from curate.evaluation.novelty import far_share, mahalanobis
from rewards import frozen


def test_distances_are_scipys() -> None:
    chance = np.random.default_rng(0)
    train = chance.normal(size=(200, 5)) @ chance.normal(size=(5, 5))
    points = chance.normal(size=(7, 5))
    covariance = np.cov(train.T)
    covariance += 1e-3 * covariance.diagonal().mean() * np.eye(5)
    inverse, mean = np.linalg.inv(covariance), train.mean(axis=0)
    expected = [reference(point, mean, inverse) for point in points]
    found = mahalanobis(torch.tensor(points), torch.tensor(train))
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_training_images_are_near_and_noise_is_far() -> None:
    train = frozen.train_features().features
    noise = torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = frozen.load_features()(noise)
    assert far_share(train, train) == pytest.approx(0.01, abs=0.002)
    assert far_share(features, train) == 1
