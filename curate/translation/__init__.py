"""Images of one modality brought into another: translated, segmented, measured, shown."""
