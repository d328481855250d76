import numpy as np
import torch

from curate.samples.features import features_of
from curate.samples.formats import encode
from curate.samples.renderings import slices
from curate.workspace import Workspace
from db import queries
from generators.sample import Sample
from rewards.backbones import load_backbone


def test_a_volumes_features_are_the_mean_of_its_slices(workspace: Workspace) -> None:
    backbone = load_backbone("features")
    array = np.random.default_rng(0).integers(-1000, 1000, (1, 3, 32, 32), np.int16)
    picture = Sample(array[:, 0].astype(np.uint8))
    volume = Sample(array, "HU")
    files = [encode(sample) for sample in (volume, picture)]
    shas = queries.files.add_files(
        workspace.session, workspace.store, [(file.content, file.media_type) for file in files]
    )
    found = features_of(workspace, backbone, shas)
    with torch.no_grad():
        by_slice = backbone.features(slices(volume))
    assert by_slice.shape[0] == 3
    assert torch.allclose(found[0], by_slice.mean(0), atol=1e-5)
    assert torch.equal(features_of(workspace, backbone, shas), found)  # from the cache
