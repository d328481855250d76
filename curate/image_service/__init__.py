"""Images to raters' browsers: one pixel size a study, no metadata, opaque addresses that expire."""
