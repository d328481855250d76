"""Fine-tuning a generator on a workspace's images: what is learned, kept and shown."""
