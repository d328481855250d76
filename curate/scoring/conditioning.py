"""What prompts give beside their words, as reward models take it: condition images, records."""

from collections.abc import Collection, Sequence

from torch import Tensor

from curate.production.images import condition_image
from curate.samples.features import features_of_renderings
from curate.samples.formats import read_sample
from curate.samples.renderings import for_backbones
from curate.samples.stored import Render
from curate.workspace import Workspace
from db import queries
from generators.base import Prompt
from rewards.backbones import Backbone
from rewards.conditioning import CHANGED_ROLES, Conditioning, ConditioningFeatures, looked_at
from rewards.model import RewardModel


def conditioning_of(prompt: Prompt, render: Render = for_backbones) -> Conditioning:
    """Return what a prompt gives beside its words, its condition images rendered."""
    images = {role: render(sample) for role, sample in prompt.images.items()}
    return Conditioning(images, prompt.record)


def conditioning_features(
    ws: Workspace,
    backbone: Backbone,
    shown: Sequence[tuple[str, str]],
    roles: Collection[str] | None = None,
) -> list[ConditioningFeatures]:
    """Return a stored image's each, given (hash of the image, prompt); none if nothing was given.

    `roles` are those that a reward model knows; others are not looked at. Features are kept like
    those of images, by names that say what was looked at.
    """
    ids = sorted({prompt_id for _, prompt_id in shown})
    prompts = queries.prompts.prompts_by_id(ws.session, ids)
    conditions = queries.prompts.conditions_of(ws.session, ids)
    if not conditions and not any(prompt.record for prompt in prompts.values()):
        return []
    looks: dict[str, tuple[str, str, str]] = {}
    of_image: list[dict[str, str]] = []
    for image_sha256, prompt_id in shown:
        own = {}
        for role, sha256 in conditions.get(prompt_id, {}).items():
            if roles is None or role in roles:
                of = image_sha256 if role in CHANGED_ROLES else ""
                own[role] = f"{sha256} {role} {of}".strip()
                looks[own[role]] = (role, sha256, of)
        of_image.append(own)

    def rendering(name: str) -> Tensor:
        role, sha256, of = looks[name]
        condition = for_backbones(condition_image(ws.store.get(sha256), role))
        if not of:
            return condition
        return looked_at(role, condition, for_backbones(read_sample(ws.store, of)))

    names = list(looks)
    features_ND = features_of_renderings(ws, backbone, names, rendering)
    features = dict(zip(names, features_ND, strict=True))
    return [
        ConditioningFeatures(
            {role: features[name] for role, name in own.items()}, prompts[prompt_id].record
        )
        for own, (_, prompt_id) in zip(of_image, shown, strict=True)
    ]


def conditioning_for(
    ws: Workspace, model: RewardModel, shown: Sequence[tuple[str, str]]
) -> list[ConditioningFeatures]:
    """Return what this reward model knows of conditioning of stored images; often nothing."""
    if model.code_ is None:
        return []
    return conditioning_features(ws, model.backbone, shown, model.code_.roles)
