"""The small text-to-image model that ships with curate; recipes/embedded_model made it."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"  # a diffusers folder
ATTRIBUTION = Path(__file__).parent / "ATTRIBUTION.md"  # whose images it learned from
PROMPTS = (
    Path(__file__).parent / "prompts.csv"
)  # modality, text, label: what it was trained to show
