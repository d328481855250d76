"""What ratings are worth: how far raters agree, with each other, with themselves, with the truth.

Shapes: I images, R raters, V values of the scale, S resamples of the images. A figure takes weights
[S, I], how often each resample drew each image, and gives [S] values, NaN where it is undefined;
the first row of `resampled_images` is the images as they are, so entry 0 is the figure itself.
"""
