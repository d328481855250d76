"""What Label Studio's own Python runs: scripts, which import nothing of curate's."""
