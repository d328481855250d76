"""DICOM: secondary captures that say, in the standard's own words, that they are synthetic."""

import io
import uuid
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from curate.errors import CurateError
from curate.release.entries import IMAGES, Entry
from curate.release.formats.shards import ReadImage
from curate.samples.formats import EXTENSIONS, PNG
from curate.samples.pixels import array_of

NAMESPACE = uuid.UUID("8d0d9c5e-3f0b-5c0e-9a53-6f1c1f7f6f4e")  # of this project's identifiers
IMPLEMENTATION = "2.25.187425118240093526417803552178410219342"  # made of a UUID, like all of ours


def files(
    entries: Sequence[Entry], read: ReadImage, *, simulated_ratings: bool
) -> Iterator[tuple[str, bytes]]:
    """Yield one `dicom/....dcm` an image; nothing in it says when it was exported."""
    for number, entry in enumerate(entries, start=1):
        if entry.extension != EXTENSIONS[PNG]:
            raise CurateError(
                f"{entry.path} is a volume or in HU, and DICOM here holds pictures. Leave out "
                "--format dicom: the release has it as NIfTI."
            )
        dataset = Dataset()
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        meta.MediaStorageSOPInstanceUID = _uid("image", entry.file_sha256)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.ImplementationClassUID = UID(IMPLEMENTATION)
        dataset.file_meta = meta
        synthetic = entry.origin == "synthetic"
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
        dataset.StudyInstanceUID = _uid("study", entry.group, entry.text, entry.origin)
        dataset.SeriesInstanceUID = _uid("series", entry.group, entry.text, entry.origin)
        dataset.PatientName = "SYNTHETIC^IMAGE" if synthetic else "REMOVED^IDENTITY"
        dataset.PatientID = entry.group
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = (
            "no patient: generated image" if synthetic else "identifiers not exported"
        )
        dataset.InstanceNumber = str(number)
        dataset.SeriesNumber = "1"
        for empty in (
            "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
            "StudyID", "ReferringPhysicianName", "PatientOrientation", "Laterality",
        ):  # fmt: skip
            setattr(dataset, empty, "")
        _describe(dataset, entry, simulated_ratings)
        array = array_of(read(entry))
        if array.ndim == 3 and (array == array[..., :1]).all():
            array = array[..., 0]  # grey in three equal channels: a viewer windows one only
        _pixels(dataset, array)
        encoded = io.BytesIO()
        dataset.save_as(encoded, enforce_file_format=True)
        path = entry.path.removeprefix(f"{IMAGES}/").removesuffix(".png")
        yield f"dicom/{path}.dcm", encoded.getvalue()


def _describe(dataset: Dataset, entry: Entry, simulated_ratings: bool) -> None:
    synthetic = entry.origin == "synthetic"
    who = "simulated raters" if simulated_ratings else "raters"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.Modality = "OT"  # no scanner made it
    dataset.ConversionType = "SYN" if synthetic else "WSD"
    dataset.SyntheticData = "YES" if synthetic else "NO"
    dataset.ContentQualification = "RESEARCH"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.BurnedInAnnotation = "NO" if synthetic else "YES"  # unchecked: YES is the safe answer
    dataset.Manufacturer = "curate"
    dataset.SeriesDescription = f"{'Synthetic ' if synthetic else ''}{entry.modality}"[:64]
    dataset.StudyDescription = entry.text[:64]
    dataset.ImageComments = (
        f"SYNTHETIC, made by a generative model, not for clinical use. {entry.modality}: "
        f"{entry.text}. Score {entry.score:.4f}, learned from {who}."
        if synthetic
        else f"Real training image, not for clinical use. {entry.modality}: {entry.text}."
    )[:10240]


def _pixels(dataset: Dataset, array: NDArray[np.generic]) -> None:
    bits = 8 * array.dtype.itemsize
    dataset.SamplesPerPixel = 1 if array.ndim == 2 else array.shape[2]
    dataset.PhotometricInterpretation = "MONOCHROME2" if array.ndim == 2 else "RGB"
    if array.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = array.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    content = array.tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"


def _uid(*parts: str) -> UID:
    """Return an identifier made of what it names, under the UUID root of the standard (2.25)."""
    return UID(f"2.25.{uuid.uuid5(NAMESPACE, '/'.join(parts)).int}")
