import io
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from curate.errors import CurateError
from curate.image_service.addresses import local_files, presigned_urls, signed_urls
from curate.workspace import Workspace
from db.errors import StoreError
from db.models import Campaign
from db.shown_files import open_shown_files
from tests.curate.image_service.png import chunk_names
from tests.curate.image_service.study import truths


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server on this machine; yields a place in a bucket."""
    moto = pytest.importorskip("moto.server", reason="the extra [test] is not installed")
    boto3 = pytest.importorskip("boto3", reason="the extra [test] is not installed")
    s3fs = pytest.importorskip("s3fs", reason="the extra [s3] is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
        }.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()  # one that another test opened knows its server
        boto3.client("s3").create_bucket(Bucket="study")
        yield "s3://study/shown"
    server.stop()


def test_an_address_names_the_assignment_and_nothing_of_the_image(
    workspace: Workspace, campaign: Campaign
) -> None:
    urls = signed_urls(workspace, campaign, base_url="https://images.example/")
    assert {key[0] for key in urls} == set(truths(workspace, campaign))
    assert len({url.partition("until=")[2].partition("&")[0] for url in urls.values()}) == 1
    for (assignment_id, _), url in urls.items():
        assert url.startswith(f"https://images.example/images/{assignment_id}/left?until=")


def test_local_files_have_opaque_names_one_length_and_one_moment(
    workspace: Workspace, campaign: Campaign, tmp_path: Path
) -> None:
    urls = local_files(workspace, campaign, document_root=tmp_path)
    folder = tmp_path / "images" / str(campaign.id)
    stats = [path.stat() for path in folder.iterdir()]
    assert len(stats) == len(urls) == 48
    assert len({found.st_size for found in stats}) == len({found.st_mtime for found in stats}) == 1
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for (assignment_id, side), url in urls.items():
        name = f"images/{campaign.id}/{assignment_id}-{side}.png"
        assert url == f"/data/local-files/?d={name}"
        assert chunk_names((tmp_path / name).read_bytes()) == {b"IHDR", b"IDAT", b"IEND"}


def test_what_is_written_already_is_not_written_again(
    workspace: Workspace, campaign: Campaign, tmp_path: Path
) -> None:
    first = local_files(workspace, campaign, document_root=tmp_path)
    files = sorted((tmp_path / "images").rglob("*.png"))
    files[0].unlink()
    kept = files[1].stat().st_ino
    assert local_files(workspace, campaign, document_root=tmp_path) == first
    assert files[0].exists() and files[1].stat().st_ino == kept


@pytest.mark.slow
def test_a_store_signs_addresses_that_anyone_may_read(
    workspace: Workspace, campaign: Campaign, s3: str
) -> None:
    urls = presigned_urls(workspace, campaign, place=s3, valid_days=1)
    with httpx.Client(timeout=60) as client:
        answers = [client.get(url) for url in urls.values()]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["content-type"] for answer in answers} == {"image/png"}
    assert len({len(answer.content) for answer in answers}) == 1
    assert all("X-Amz-Signature" in url or "Signature=" in url for url in urls.values())
    again = presigned_urls(workspace, campaign, place=s3, valid_days=1)
    assert again.keys() == urls.keys()


def test_a_store_that_cannot_sign_says_so(workspace: Workspace, campaign: Campaign) -> None:
    with pytest.raises(StoreError, match="cannot sign addresses"):
        presigned_urls(workspace, campaign, place="memory://shown")
    with pytest.raises(CurateError, match="signs for at most 7"):
        presigned_urls(workspace, campaign, place="memory://shown", valid_days=30)
    with pytest.raises(StoreError, match="Cannot open nowhere://x"):
        open_shown_files("nowhere://x")


def test_the_picture_is_the_image(workspace: Workspace, campaign: Campaign, tmp_path: Path) -> None:
    """Synthetic images have the study's size: what the rater sees is each of their pixels."""
    import numpy as np
    from PIL import Image

    from curate.samples.pixels import array_of
    from db import queries

    local_files(workspace, campaign, document_root=tmp_path)
    for shown in queries.campaigns.shown_images(workspace.session, campaign.id):
        if shown.origin == "synthetic":
            path = tmp_path / "images" / str(campaign.id) / f"{shown.assignment_id}-left.png"
            with Image.open(io.BytesIO(path.read_bytes())) as picture:
                stored = array_of(workspace.store.get(shown.file_sha256))
                assert np.array_equal(np.asarray(picture), stored)
