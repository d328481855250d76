"""What is asked for: modalities, prompt sheets, plans."""
