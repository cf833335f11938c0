"""values.py: random values of every type, for tests that compare what servers make of them."""

INFINITY = float("inf")


def word(rng):
    """Texts that are short, long, integers, nearly integers, compressible, binary."""
    kind = rng.randrange(8)
    if kind == 0:
        return b"%d" % rng.randrange(-200, 200)
    if kind == 1:
        return b"%d" % (rng.randrange(-(1 << 63), 1 << 63) >> rng.randrange(64))
    if kind == 2:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(30)))
    if kind == 3:
        return (rng.choice([b"ab", b"x", b"hello world "]) * 60)[:rng.randrange(1, 400)]
    if kind == 4:
        return b"w%d" % rng.randrange(1000)
    if kind == 5:
        return bytes(rng.choice(b"abcd") for _ in range(rng.randrange(1, 100)))
    if kind == 6:
        return b"y" * rng.choice([1, 63, 64, 65, 253, 254, 255, 4095, 4096])
    return rng.choice([b"", b"007", b"-0", b"1.5", b"+1", b"9223372036854775807", b"2147483648", b"-2147483648"])


def words(rng, count):
    """Different ones, at most so many."""
    return list({word(rng): None for _ in range(count)})


def score(rng):
    return rng.choice([float(rng.randrange(-10, 10)), rng.random() * 1e9 - 5e8, INFINITY, -INFINITY, 0.1, 1e300, 3e-310, 1e17])


def integers(rng, count):
    bits = rng.choice([8, 15, 16, 31, 32, 40, 63])
    return list({b"%d" % rng.randrange(-(1 << bits), 1 << bits): None for _ in range(count)})


def size(rng):
    """Around the limits of the small encodings now and then, mostly small."""
    if rng.random() < 0.02:
        return 3000
    return rng.choice([1, 2, 3, 5, 9, 20, 40]) if rng.random() < 0.8 else rng.choice([127, 128, 129, 130, 511, 512, 513])


def commands(rng, key):
    """Commands that make the key a value of any type and encoding."""
    count = size(rng)
    kind = rng.choice(["string", "list", "set", "intset", "zset", "hash"])
    if kind == "string":
        made = [("SET", key, word(rng) * rng.choice([1, 1, 1, 500]))]
        return made + [("APPEND", key, word(rng))] if rng.random() < 0.2 else made
    if kind == "list":
        return [("RPUSH", key, *[word(rng) for _ in range(count)])]
    if kind == "set":
        return [("SADD", key, *words(rng, count))]
    if kind == "intset":
        return [("SADD", key, *integers(rng, count))]
    if kind == "zset":
        return [("ZADD", key, *[x for m in words(rng, count) for x in (b"%.17g" % score(rng), m)])]
    return [("HSET", key, *[x for f in words(rng, count) for x in (f, word(rng))])]
