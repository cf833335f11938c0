"""shrink.py: makes a failing case short, by leaving out what is not needed for it to fail in the same way."""

import time

SHRINK_SECONDS_MAX = 60


def flat(batches):
    return [(connection, argv) for connection, commands in batches for argv in commands]


def one_by_one(items):
    """One command per batch: a failure that needs no pipeline is easier to read."""
    return [(connection, [argv]) for connection, argv in items]


def in_pipelines(items):
    """Neighbours on the same connection share a batch."""
    batches = []
    for connection, argv in items:
        if batches and batches[-1][0] == connection and len(batches[-1][1]) < 64:
            batches[-1][1].append(argv)
        else:
            batches.append((connection, [argv]))
    return batches


def shrink(batches, fails):
    """`fails` plays batches and returns the difference if it is the same one, else None. Returns (batches, difference) or None if
    the case does not fail a second time."""
    deadline = time.monotonic() + SHRINK_SECONDS_MAX
    found = fails(batches)
    if found is None:
        return None
    items = flat(batches)
    for shape in (one_by_one, in_pipelines):
        again = fails(shape(items))
        if again is not None:
            found = again
            break
    else:
        return batches, found
    size = max(1, len(items) // 2)
    while size >= 1 and time.monotonic() < deadline:
        at, removed = 0, False
        while at < len(items) and time.monotonic() < deadline:
            fewer = items[:at] + items[at + size:]
            again = fails(shape(fewer)) if fewer else None
            if again is not None:
                items, found, removed = fewer, again, True
            else:
                at += size
        if size == 1 and not removed:
            break
        size = max(1, size // 2) if not removed or size > 1 else 1
    return shape(items), found
