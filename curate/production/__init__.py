"""Mass production's parts: items to pixels, pixels to files and rows, the watch over both."""
