"""Translation between modalities: what of a source image a network is shown, and how it is used."""
