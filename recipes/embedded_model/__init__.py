"""How the embedded text-to-image model was trained."""
