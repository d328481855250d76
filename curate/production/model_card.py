"""The card of a saved generator: what it is, how its prompts are read, whose licence it has."""

from curate.outside import as_text
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion
from generators.base import Generator
from generators.families.text_to_image import TextConditioner
from generators.families.texts import TextsConditioner

CARD = "README.md"
IN_PARTS = """This text-to-image model reads the **modality and the description apart**:
{modality} tokens for the modality, then {text} for the description. One text with both in it, as
plain diffusers takes it, is read as something else, and **another image is made without a word**.
In diffusers, give it the embeddings:

```python
import torch
from diffusers import StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained("THIS FOLDER")


def embeds(modality, description):
    parts = []
    for text, length in ((modality, {modality}), (description, {text})):
        ids = pipe.tokenizer(text).input_ids
        assert len(ids) <= length, "too long: what is cut off would be ignored"
        padded = torch.tensor([ids + [pipe.tokenizer.pad_token_id] * (length - len(ids))])
        parts.append(pipe.text_encoder(padded{mask}).last_hidden_state)
    return torch.cat(parts, dim=1)


with torch.no_grad():
    asked = embeds("OCT", "normal"), embeds("", "")
image = pipe(prompt_embeds=asked[0], negative_prompt_embeds=asked[1]).images[0]
```"""
MASK = ", attention_mask=(torch.arange(length) < len(ids)).long()[None]"
AS_ONE_TEXT = """The modality and the description are read as one text with a space between them:
`OCT normal`, not `OCT, normal` or `normal OCT`."""


def model_card(ws: Workspace, version: GeneratorVersion, generator: Generator) -> str:
    """Return README.md of a version that is saved as a folder."""
    root = queries.versions.ancestry(ws.session, version.id)[-1]
    if root.how_made == "embedded":
        licence, terms = "cc-by-4.0", "CC BY 4.0. `ATTRIBUTION.md` names the sources of the images."
    else:
        licence = "other"
        terms = "Not stated. It follows from the weights that it began with and the images that it "
        terms += "learned from: ask their owners before passing it on."
    conditioner = getattr(generator, "conditioner", None)
    reads = "Its family says how prompts are read: see the documentation of curate."
    if isinstance(conditioner, TextConditioner):
        mask = "" if type(conditioner.text_encoder).__name__ == "CLIPTextModel" else MASK
        lengths = {"modality": conditioner.modality_length, "text": conditioner.text_length}
        reads = IN_PARTS.format(**lengths, mask=mask)
    elif isinstance(conditioner, TextsConditioner):
        reads = AS_ONE_TEXT
    made = f"`{version.id[:12]}`, {as_text(version.how_made)}"
    if version.parent_id is not None:
        made += f" from `{version.parent_id[:12]}`, `{root.id[:12]}` ({root.how_made}) at the root"
    return f"""---
license: {licence}
tags:
- medical
- synthetic
- curate
---

# {as_text(version.generator_name)}

A generator of synthetic medical images, of curate's family `{generator.family}`: version {made}.
**Not for clinical use.**

## Prompts

{reads}

With curate: `curate generate --base "THIS FOLDER" --modality OCT --prompt normal`.

## Licence

{terms}
"""
