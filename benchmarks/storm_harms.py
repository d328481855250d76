"""Damage and forgery before a command: what must be refused, mended or told, and is it."""

import datetime as dt
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.storm_compare import differences, state_of
from benchmarks.storm_places import Ended, Place
from benchmarks.storm_scenes import SMALL, Stage

MORE = ("generate", "--prompts", "prompts.csv", "--count", "2", "--seed", "500", *SMALL)
Plants = Sequence[str]


def not_one_line(done: Ended, *, says: Sequence[str] = ()) -> list[str]:
    """Return what is wrong with a command that had to be refused."""
    found = []
    if done.hangs:
        found.append("hangs")
    if done.has_traceback:
        found.append(f"traceback: {done.said.strip().splitlines()[-1]}")
    if done.status == 0:
        found.append("ends with status 0")
    return found + [f"does not say {word!r}" for word in says if word not in done.said]


def weights_altered(stage: Stage, plants: Plants) -> list[str]:
    """Images are the same whatever became of the weights in the cache."""
    setting = stage.setting("generate")
    places = [stage.place_of(setting.after), stage.place_of(setting.after)]
    for path in (places[1].workspace / "cache" / "versions").rglob("unet/*.safetensors"):
        content = bytearray(path.read_bytes())
        for place in range(len(content) // 2, len(content) // 2 + 2000):
            content[place] ^= 1
        path.write_bytes(content)
    ends = [places[0].run(MORE), places[1].run(MORE, plants=plants)]
    lines = [f"status {done.status}" for done in ends if done.status != 0]
    states = [state_of(place, stage.root) for place in places]
    for place in places:
        stage.backend.drop(place)
    return lines + differences(states[1], states[0])


def real_files_lost(stage: Stage, plants: Plants) -> list[str]:
    """The same import restores a lost file, and one with other bytes of the same length."""
    from curate.workspace import open_workspace
    from db import queries

    setting = stage.setting("import")
    place = stage.place_of(setting.after)
    with open_workspace(place.workspace) as ws:
        hashes = sorted(image.file_sha256 for image, _ in queries.images.images(ws.session))
        length = len(ws.store.get(hashes[1]))
        if (place.workspace / "files").is_dir():
            ws.store.local_path(hashes[1]).write_bytes(bytes(length))
        ws.store.delete(hashes[0])
    done = place.run(setting.scene.words, plants=plants)
    lines = [] if done.status == 0 else [f"status {done.status}: {done.said[-200:]}"]
    lines += differences(state_of(place, stage.root), setting.expected)
    stage.backend.drop(place)
    return lines


def database_gone(stage: Stage, plants: Plants) -> list[str]:
    """No command takes a database that is gone or empty for a new one."""
    setting = stage.setting("generate")
    lines = []
    for words in (("status",), setting.scene.words, ("doctor", "--repair"), ("import", "data.csv")):
        for is_empty in (False, True):
            place = stage.place_of(setting.after)
            for path in place.workspace.glob("curate.db*"):
                path.unlink()
            database = place.workspace / "curate.db"
            if is_empty:
                database.touch()
            done = place.run(words, plants=plants)
            lines += [f"{words[0]}: {line}" for line in not_one_line(done)]
            if database.is_file() and database.stat().st_size:
                lines.append(f"{words[0]}: makes a new database")
            stage.backend.drop(place)
    return lines


def manifest_leads_out(stage: Stage, plants: Plants) -> list[str]:
    """A manifest that names places outside its folder writes none of them."""
    setting = stage.setting("export")
    place = stage.place_of(setting.after)
    path = place.folder / "release" / "manifest.json"
    manifest = json.loads(path.read_text())
    outside = [place.folder / "ESCAPED.png", stage.root / "ESCAPED.png"]
    for image, name in zip(manifest["images"], ("../ESCAPED.png", str(outside[1])), strict=False):
        image["path"] = name
    path.write_text(json.dumps(manifest))
    done = place.run(("generate", "--from-manifest", "release", "--out", "again"), plants=plants)
    lines = not_one_line(done) + [f"writes {p.name} outside" for p in outside if p.exists()]
    outside[1].unlink(missing_ok=True)
    stage.backend.drop(place)
    return lines


def release_damaged(stage: Stage, plants: Plants) -> list[str]:
    """`export --verify` lists what is gone and altered, and sees a forged key."""
    setting = stage.setting("export")
    verify = ("export", "--verify", "release")
    place = stage.place_of(setting.after)
    names = sorted((place.folder / "release").rglob("*.png"))
    names[0].unlink()
    content = bytearray(names[1].read_bytes())
    content[len(content) // 2] ^= 1
    names[1].write_bytes(content)
    done = place.run(verify, plants=plants)
    lines = not_one_line(done, says=("missing", "altered", names[0].name, names[1].name))
    stage.backend.drop(place)
    place = stage.place_of(setting.after)
    path = place.folder / "release" / "manifest.json"
    manifest = json.loads(path.read_text())
    for image in manifest["images"]:
        image["item_key"] = image["item_key"][:-1] + ("0" if image["item_key"][-1] != "0" else "1")
        image["score"] = 0.99
    path.write_text(json.dumps(manifest))
    done = place.run(verify, plants=plants)
    lines += [f"forged: {line}" for line in not_one_line(done, says=("item",))]
    stage.backend.drop(place)
    return lines


def clock_set_back(stage: Stage, plants: Plants) -> list[str]:
    """The reward model that was fitted last scores, whatever the clock said before."""
    from curate.workspace import open_workspace
    from db import queries

    setting = stage.setting("score")
    states = []
    for days in (0, 30):
        place = stage.place_of(setting.after)
        with open_workspace(place.workspace) as ws:
            for row in queries.reward_models.reward_models(ws.session):
                row.created_at += dt.timedelta(days=days)
                ws.session.add(row)
        for words in (("train-reward", "--min-ratings", "10", "--seed", "1"), ("score",)):
            place.run(words, plants=plants)
        states.append(state_of(place, stage.root))
        stage.backend.drop(place)
    return differences(states[1], states[0])


HARMS: dict[str, Callable[[Stage, Plants], list[str]]] = {
    "weights in the cache altered": weights_altered,
    "a real image's file lost, another altered": real_files_lost,
    "the database gone": database_gone,
    "a manifest that leads out": manifest_leads_out,
    "a release with an image gone and one altered": release_damaged,
    "the clock set back": clock_set_back,
}
OF_SQLITE = ("the database gone",)  # a server's databases are not files


def small_disk(stage: Stage, folder: Path, num_bytes: int, place: Place) -> Place:
    """Return a copy of a place on a disk of its own, of so many bytes. Needs root."""
    import subprocess

    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder)], check=True
    )
    copied = stage.backend.copy(place, folder / "place")
    return Place(copied.folder, stage.root, copied.env)
