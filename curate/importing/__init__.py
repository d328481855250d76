"""Real images in: tables, pictures, DICOM and NIfTI to rows and files, every bad row named."""
