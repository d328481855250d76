"""What diffusion families share: noise processes, generators that denoise."""
