"""Records and masks to images: texts of records, the network, its text encoder."""
