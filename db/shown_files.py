"""Pictures for raters in an object store that signs addresses itself (S3, GCS, Azure by fsspec).

They lie apart from the workspace's own files, whose names are hashes and whose bytes are as made.
"""

from typing import Any

from db.errors import StoreError

WEEK_S = 7 * 86_400  # what S3 and Google sign for at most


class ShownFiles:
    """Files under opaque names at an fsspec URL. Raises StoreError."""

    longest_s = WEEK_S

    def __init__(self, files: Any, root: str, url: str) -> None:
        self._files = files
        self._root = root
        self._url = url

    def names(self, folder: str) -> set[str]:
        """Return the names of the files in a folder; none when there is no such folder."""
        try:
            found = self._files.find(f"{self._root}/{folder}")
        except FileNotFoundError:
            return set()
        except Exception as error:  # remote file systems raise classes of their own
            raise self._unusable(error) from error
        return {path.rpartition("/")[2] for path in found}

    def put(self, name: str, picture: bytes) -> None:
        """Write a PNG in one request."""
        is_s3 = "s3" in self._files.protocol
        headers = {"ContentType": "image/png"} if is_s3 else {}
        try:
            self._files.pipe_file(f"{self._root}/{name}", picture, **headers)
        except Exception as error:
            raise self._unusable(error) from error

    def signed_url(self, name: str, valid_s: int) -> str:
        """Return an address that anyone may read for so many seconds."""
        try:
            url: str = self._files.sign(f"{self._root}/{name}", expiration=valid_s)
        except NotImplementedError as error:
            raise StoreError(
                f"{self._url} cannot sign addresses. Give an S3, GCS or Azure URL, or let curate "
                "serve the images with `curate rate images`."
            ) from error
        except Exception as error:
            raise self._unusable(error) from error
        return url

    def _unusable(self, error: Exception) -> StoreError:
        return StoreError(
            f"{self._url} cannot be used for raters' images: {error or type(error).__name__}. "
            "Check the place, its permissions and credentials."
        )


def open_shown_files(url: str) -> ShownFiles:
    """Open the place; credentials come from the environment, as its file system reads them."""
    import fsspec  # here: slow to load

    try:
        files, root = fsspec.core.url_to_fs(url.rstrip("/"), use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise StoreError(
            f"Cannot open {url}: {error}. For S3, install `pip install 'curate-images[s3]'`."
        ) from error
    return ShownFiles(files, root, url)
