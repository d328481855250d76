"""Images in portions: one file too many is slow, one file too large does not fit in memory."""

from collections.abc import Callable, Iterator, Sequence

from curate.release.entries import Entry

ReadImage = Callable[[Entry], bytes]  # the PNG


def shards_of(entries: Sequence[Entry], size: int) -> Iterator[tuple[str, int, int, list[Entry]]]:
    """Yield (split, number, how many, entries) with at most `size` images a shard."""
    for split in dict.fromkeys(entry.split for entry in entries):
        own = [entry for entry in entries if entry.split == split]
        num_shards = -(-len(own) // size)
        for number in range(num_shards):
            yield split, number, num_shards, own[number * size : (number + 1) * size]
