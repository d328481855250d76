"""What is measured of images: judged quality, likeness to real images, variety, memorisation."""
