"""Fine-tuning, written once for every diffusion family: draws, weights, steps, exact resume."""
