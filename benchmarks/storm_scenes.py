"""What a storm blows over: the commands, what each begins from, and the Label Studio beside them.

Everything is as small as it can be: 16 px images by an untrained generator, so that a try costs
what the command itself costs.
"""

import copy
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.storm_compare import state_of
from benchmarks.storm_places import Ended, OnDisk, OnServers, Place
from tests.annotation.label_studio.fake import FakeLabelStudio
from tests.tiny import tiny_generator
from tests.yardstick.story import serving

PROMPTS = "text,modality,label\nnormal,OCT,normal\ndrusen,OCT,drusen\n"
RATERS = {"ann": 2, "ben": 3}  # and Label Studio's number of each
NUM_IMAGES = 24

Words = tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """One command, and the scene whose end it begins from."""

    name: str
    after: str | None
    words: Words
    setup: tuple[Words, ...] = ()  # undisturbed, before the command
    harm: str | None = None  # what is damaged before it: a function of HARMS
    asks_people: bool = False  # a Label Studio answers it


SMALL = ("--batch-size", "4", "--steps", "2")
TRAINING = (
    *("train-generator", "--base", "base", "--steps", "6", "--checkpoint-every", "2"),
    *("--batch-size", "2", "--validate-every", "6", "--samples", "0", "--lora-rank", "2"),
)
LOOP = (
    *("loop", "--name", "storm", "--images-per-prompt", "16", "--prompts", "prompts.csv"),
    *("--gate-images", "3", "--updates", "1"),
)
PUSH = (
    *("rate", "push", "--name", "people", "--images", "8", "--controls", "0"),
    *("--images-from", "http://images.example.org"),
)
SCENES = (
    Scene("import", None, ("import", "data.csv")),
    Scene(
        "generate",
        "import",
        ("generate", "--prompts", "prompts.csv", "--count", "16", *SMALL, "--base", "base"),
    ),
    Scene("simulate", "generate", ("rate", "simulate")),
    Scene("train-reward", "simulate", ("train-reward", "--min-ratings", "10")),
    Scene("score", "train-reward", ("score",)),
    Scene("export", "score", ("export", "release", "--top-share", "0.5")),
    Scene("report", "export", ("report", "--out", "report.html")),
    Scene("train-generator", "generate", TRAINING),
    Scene("prune", "train-generator", ("prune",), setup=(("archive", "version", "latest"),)),
    Scene("save", "generate", ("generators", "save", "latest", "saved")),
    Scene("repair", "score", ("doctor", "--repair"), harm="lost and strange files"),
    Scene("loop", "generate", LOOP),
    Scene(
        "push",
        "generate",
        PUSH,
        setup=tuple(
            ("rate", "raters", "invite", f"{name}@example.org", "--name", name) for name in RATERS
        ),
        asks_people=True,
    ),
    Scene("pull", "push", ("rate", "pull"), asks_people=True),
)
BY_NAME = {scene.name: scene for scene in SCENES}


@dataclass
class Setting:
    """A scene, made once: where its command begins, and what it leaves when nobody disturbs it."""

    scene: Scene
    before: Place
    after: Place
    expected: dict[str, Any]
    ended: Ended
    labels: FakeLabelStudio | None  # as the command finds it
    labels_after: FakeLabelStudio | None


@dataclass
class Stage:
    """Scenes on one backend, each made when it is first asked for."""

    root: Path
    backend: OnDisk
    made: dict[str, Setting] = field(default_factory=dict)
    controls: dict[str, Any] = field(default_factory=dict)  # of two commands, one after the other
    num_places: int = 0

    def setting(self, name: str) -> Setting:
        """Return a scene's setting; the first time its command runs undisturbed."""
        if name not in self.made:
            self.made[name] = self._make(BY_NAME[name])
        return self.made[name]

    def place_of(self, place: Place, what: str = "try") -> Place:
        """Return a copy of a place for one try."""
        self.num_places += 1
        return self.backend.copy(place, self.root / f"{what}{self.num_places}")

    def _make(self, scene: Scene) -> Setting:
        labels = None
        if scene.after is None:
            before = self.backend.first(self.root / f"{scene.name}-before")
            write_data(before.folder)
            _must(before, ("init", "ws", *self._init_options(before.folder)))
        else:
            earlier = self.setting(scene.after)
            before = self.backend.copy(earlier.after, self.root / f"{scene.name}-before")
            labels = copied(earlier.labels_after)
        with answering(scene, labels) as (labels, env):
            for words in scene.setup:
                _must(before, words, env)
            if scene.name == "pull" and labels is not None:
                answer_all(labels)
        if scene.harm is not None:
            HARMS[scene.harm](before)
        after = self.backend.copy(before, self.root / f"{scene.name}-after")
        found = copied(labels)
        with answering(scene, found) as (found, env):
            done = _must(after, scene.words, env)
        expected = state_of(after, self.root) | told(found)
        if "unseen" in expected:
            raise RuntimeError(f"{scene.name}: {expected['unseen']}")
        return Setting(scene, before, after, expected, done, labels, found)

    def _init_options(self, folder: Path) -> Words:
        return self.backend.options(folder) if isinstance(self.backend, OnServers) else ()


def _must(place: Place, words: Sequence[str], env: Mapping[str, str] | None = None) -> Ended:
    done = place.run(words, env=env)
    if done.status != 0:
        raise RuntimeError(f"undisturbed, `curate {' '.join(words)}` ends with {done}")
    return done


def write_data(folder: Path) -> None:
    """Write real images, their table, a prompt sheet and a generator."""
    y, x = np.mgrid[0:16, 0:16]
    rows = ["path,Text,modality,label,patient,split"]
    for number in range(NUM_IMAGES):
        random = np.random.default_rng(number)
        label = ("normal", "drusen")[number % 2]
        centre, radius = random.uniform(5, 11, 2), random.uniform(2, 5)
        disc = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
        light = 90 + 120 * disc + random.normal(0, 8, disc.shape)
        Image.fromarray(light.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        split = "val" if number >= NUM_IMAGES - 4 else "train"
        rows.append(f"{number}.png,{label},OCT,{label},p{number},{split}")
    (folder / "data.csv").write_text("\n".join(rows) + "\n")
    (folder / "prompts.csv").write_text(PROMPTS)
    tiny_generator(seed=0).save(folder / "base")


def lost_and_strange_files(place: Place) -> None:
    """Lose a synthetic image's file, damage another, leave foreign and unfinished ones."""
    from curate.workspace import open_workspace
    from db import queries

    with open_workspace(place.workspace) as ws:
        made = [i for i, _ in queries.images.images(ws.session) if i.origin == "synthetic"]
        made.sort(key=lambda image: image.item_key or "")
        ws.store.delete(made[0].file_sha256)
        ws.store.put_many([b"a file that no row knows"])
        if (folder := place.workspace / "files").is_dir():
            damaged = ws.store.local_path(made[1].file_sha256)
            damaged.write_bytes(bytes(damaged.stat().st_size))
            (folder / "notes.txt").write_text("somebody's")


HARMS = {"lost and strange files": lost_and_strange_files}


def copied(labels: FakeLabelStudio | None) -> FakeLabelStudio | None:
    """Return a Label Studio of its own that holds the same."""
    if labels is None:
        return None
    made = FakeLabelStudio()
    for name in ("now", "users", "projects", "tasks", "hooks", "last_id"):
        setattr(made, name, copy.deepcopy(getattr(labels, name)))
    return made


@contextmanager
def answering(
    scene: Scene, labels: FakeLabelStudio | None
) -> Iterator[tuple[FakeLabelStudio | None, dict[str, str]]]:
    """Let a scene's commands reach its Label Studio; yield it with their environment."""
    if not scene.asks_people:
        yield labels, {}
        return
    if labels is None:
        labels = FakeLabelStudio()
        labels.users |= {number: f"{name}@example.org" for name, number in RATERS.items()}
    with ExitStack() as stack:
        url = stack.enter_context(serving(labels))
        yield labels, {"CURATE_LABEL_STUDIO_URL": url, "CURATE_LABEL_STUDIO_TOKEN": "none"}


def answer_all(labels: FakeLabelStudio) -> None:
    """Let raters answer every task; the answer follows from the task."""
    labels.tick()
    for task in list(labels.tasks.values()):
        uid = task["data"]["uid"]
        project = labels.projects[task["project"]]
        questions = re.findall(
            r'<Choices name="verdict-([^"]+)".*?</Choices>', project["label_config"], re.S
        )
        chosen = {
            question: str(1 + hashlib.sha256(f"{uid} {question}".encode()).digest()[0] % 3)
            for question in questions
        }
        labels.annotate(uid, chosen, completed_by=RATERS["ann"])
    labels.tick()


def told(labels: FakeLabelStudio | None) -> dict[str, Any]:
    """Return what a Label Studio holds, without its own numbers and moments."""
    if labels is None:
        return {}
    tasks = sorted(task["data"]["uid"] for task in labels.tasks.values())
    return {
        "labels": {"projects": len(labels.projects), "tasks": len(tasks), "uids": len(set(tasks))}
    }
