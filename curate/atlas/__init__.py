"""The nearest vetted images to an image or to words: for research and teaching."""
