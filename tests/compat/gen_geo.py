"""gen_geo.py: geo sets.

Positions are drawn with many digits, and each special one belongs to one member, so that no two members are equally far from a center: the order of those is
not defined. COUNT with ANY may find other members than the reference, so its results are counted only, and never stored.
"""

import grammar

GROUP = "geo"
WEIGHT = 2

OPTIONS = "{ASC|DESC|COUNT geocount|WITHDIST|WITHHASH|WITHCOORD}*"
COMMANDS = [
    "8 GEOADD geokey {lon lat geomember}+",
    "8 GEOADD geokey {{lon lat geomember}+}+",
    "4 GEOADD geokey {near nearlat geomember}+",
    "4 GEOADD geokey {NX|XX|CH}* {lon lat geomember}+",
    "2 GEOADD biggeo {{{{lon lat bigmember}+}+}+}+",
    "1 GEOADD edgegeo 180 85.05112878 ne",
    "1 GEOADD edgegeo -180 -85.05112878 sw",
    "1 GEOADD edgegeo 180 -85.05112878 se",
    "1 GEOADD edgegeo -180 85.05112878 nw",
    "1 GEOADD edgegeo 0 0 zero",
    "2 GEOADD polegeo 179.9999 0.5 east -179.9998 0.4 west 0.25 85.05 north 0.3 -85.04 south 100.5 85.0511 ne -90.4 -85.0511 sw -100.3 85.051 nw",
    "2 GEOADD key {lon lat geomember}+",
    "1 GEOADD key {lonlat lonlat geomember}+",
    "1 GEOADD geokey {NX|XX|CH|junk}* lon lat",
    "1 GEOADD geokey {NX|XX}* {lon lat geomember}+ junk",
    "5 GEODIST geokey geomember geomember [geounit]",
    "2 GEODIST edgegeo edgemember edgemember [geounit]",
    "3 GEOHASH {geokey|edgegeo} {geomember|edgemember}+",
    "5 GEOPOS {geokey|edgegeo} {geomember|edgemember}+",
    f"6 GEOSEARCH geokey FROMLONLAT lon lat BYRADIUS georadius geounit {OPTIONS}",
    f"6 GEOSEARCH geokey FROMMEMBER geomember BYRADIUS georadius geounit {OPTIONS}",
    f"6 GEOSEARCH geokey FROMLONLAT lon lat BYBOX georadius georadius geounit {OPTIONS}",
    f"6 GEOSEARCH geokey FROMMEMBER geomember BYBOX georadius georadius geounit {OPTIONS}",
    f"4 GEOSEARCH geokey FROMLONLAT near nearlat BYRADIUS nearradius {{m|ft}} {OPTIONS}",
    f"4 GEOSEARCH geokey FROMLONLAT near nearlat BYBOX nearradius nearradius {{m|ft}} {OPTIONS}",
    f"5 GEOSEARCH biggeo FROMLONLAT lon lat BYRADIUS georadius geounit {OPTIONS}",
    f"5 GEOSEARCH biggeo FROMMEMBER bigmember BYBOX georadius georadius geounit {OPTIONS}",
    "2 GEOSEARCH biggeo FROMLONLAT lon lat BYRADIUS georadius km COUNT geocount ANY",
    f"4 GEOSEARCH polegeo FROMMEMBER edgemember BYRADIUS edgeradius km {OPTIONS}",
    f"2 GEOSEARCH geokey {{FROMMEMBER geomember|FROMLONLAT lon lat|BYRADIUS georadius geounit|BYBOX georadius georadius geounit|ASC|COUNT geocount|WITHDIST}}+",
    "1 SET geostring value",
    f"1 GEOSEARCH geostring FROMLONLAT lon lat BYRADIUS georadius geounit {OPTIONS}",
    "1 GEORADIUS geostring lon lat georadius geounit STORE anygeo",
    "5 GEOSEARCHSTORE anygeo geokey FROMLONLAT lon lat BYRADIUS georadius geounit {ASC|DESC|COUNT geocount}*",
    "5 GEOSEARCHSTORE anygeo geokey FROMMEMBER geomember BYBOX georadius georadius geounit {ASC|DESC|COUNT geocount}*",
    "2 GEOSEARCHSTORE key biggeo FROMLONLAT lon lat BYRADIUS georadius geounit {ASC|COUNT geocount|WITHDIST}*",
    "5 GEOSEARCHSTORE distkey geokey FROMMEMBER geomember BYRADIUS georadius geounit {ASC|DESC|COUNT geocount|STOREDIST}* STOREDIST",
    "1 ZRANGE distkey 0 -1 WITHSCORES",
    f"5 GEORADIUS geokey lon lat georadius geounit {OPTIONS}",
    f"5 GEORADIUS_RO geokey lon lat georadius geounit {OPTIONS}",
    f"5 GEORADIUSBYMEMBER geokey geomember georadius geounit {OPTIONS}",
    f"4 GEORADIUSBYMEMBER_RO geokey geomember georadius geounit {OPTIONS}",
    "5 GEORADIUS geokey lon lat georadius geounit {ASC|DESC|COUNT geocount}* {STORE anygeo|STOREDIST distkey}",
    "5 GEORADIUSBYMEMBER geokey geomember georadius geounit {STORE anygeo|STOREDIST distkey} {ASC|DESC|COUNT geocount}*",
    "3 GEORADIUS geokey lon lat georadius geounit {STORE anygeo|STOREDIST distkey|COUNT geocount|WITHDIST}*",
    "2 GEORADIUSBYMEMBER geokey geomember georadius geounit {STORE key|STOREDIST distkey|COUNT geocount|WITHDIST}*",
    "2 ZADD geokey {geoscore geomember}+",
    "2 ZADD oddgeo {oddscore geomember}+",
    "2 GEOPOS oddgeo {geomember}+",
    "2 GEOHASH oddgeo {geomember}+",
    "2 GEODIST oddgeo geomember geomember",
    "2 ZREM geokey geomember+",
    "2 ZSCORE geokey geomember",
    "2 ZRANGE geokey 0 -1 WITHSCORES",
    "0.5 DEL {geokey|edgegeo}",
    "0.2 DEL biggeo",
    "1 COPY geokey anygeo REPLACE",
]


def longitude(rng):
    roll = rng.random()
    if roll < 0.9:
        return repr(rng.uniform(-180, 180)).encode()
    if roll < 0.97:
        return repr(rng.choice((-180, 180)) + rng.uniform(-1, 1)).encode()
    return rng.choice((b"x", b"", b"181", b"-180.0001", b"inf", b"nan", b"1e3", b" 1"))


def latitude(rng):
    roll = rng.random()
    if roll < 0.9:
        return repr(rng.uniform(-85, 85)).encode()
    if roll < 0.97:
        return repr(rng.choice((-85.05112878, 85.05112878)) + rng.uniform(-0.5, 0.5)).encode()
    return rng.choice((b"x", b"", b"86", b"-85.06", b"-inf", b"nan", b"1e2"))


def radius(rng):
    roll = rng.random()
    if roll < 0.9:
        return b"%.*f" % (rng.randrange(5), 10 ** rng.uniform(-1, 5))
    return rng.choice((b"0", b"1e6", b"1e9", b"100000000", b"-1", b"x", b"", b"inf", b"1e300", b"nan", b"-0"))


FIXED = (b"ne", b"sw", b"se", b"nw", b"zero", b"east", b"west", b"north", b"south", b"km", b"m", b"ft")
ARGUMENTS = {
    **{word.decode(): grammar.choose(word) for word in FIXED},
    "geokey": lambda rng: b"geo%d" % rng.randrange(4),
    "anygeo": lambda rng: rng.choice((b"geo%d" % rng.randrange(4), b"geo%d" % rng.randrange(4), b"found%d" % rng.randrange(3), b"{t}1", b"store")),
    "distkey": lambda rng: rng.choice((b"dist0", b"dist1", b"{t}dist", b"storedist")),
    "biggeo": lambda rng: b"biggeo%d" % rng.randrange(2),
    "edgegeo": lambda _: b"edgegeo",
    "polegeo": lambda _: b"polegeo",
    "geomember": lambda rng: b"m%d" % rng.randrange(40) if rng.random() < 0.9 else rng.choice((b"1", b"-7", b"", b"x" * 65, b"none", b"store")),
    "bigmember": lambda rng: b"b%d" % rng.randrange(400),
    "edgemember": lambda rng: rng.choice((b"ne", b"sw", b"se", b"nw", b"zero", b"east", b"west", b"north", b"south")),
    "lon": longitude,
    "lat": latitude,
    "near": lambda rng: repr(13.4 + rng.uniform(-0.01, 0.01)).encode(),
    "nearlat": lambda rng: repr(52.5 + rng.uniform(-0.01, 0.01)).encode(),
    "nearradius": lambda rng: b"%.2f" % (10 ** rng.uniform(0, 4)),
    "lonlat": lambda rng: grammar.ARGUMENTS["float"](rng),
    "geounit": lambda rng: rng.choice((b"m", b"km", b"km", b"km", b"mi", b"ft", b"KM")) if rng.random() < 0.97 else rng.choice((b"", b"x", b"cm")),
    "georadius": radius,
    "edgeradius": lambda rng: b"%.3f" % (10 ** rng.uniform(-1, 4)),
    "geocount": lambda rng: b"%d" % rng.choice((1, 1, 2, 3, 5, 10, 100)) if rng.random() < 0.93 else rng.choice((b"0", b"-1", b"x", b"9223372036854775808")),
    "oddgeo": grammar.choose(b"oddgeo"),
    "oddscore": lambda rng: grammar.ARGUMENTS["score"](rng) if rng.random() < 0.5 else rng.choice((b"-5", b"1.5", b"1e300", b"inf", b"-inf", b"1e19")),
    "geostring": grammar.choose(b"geostring"),
    "geoscore": lambda rng: b"%d" % rng.randrange(2**52),
}


def is_unsafe(argv):
    name, words = argv[0].upper(), [a.upper() for a in argv[1:]]
    if not name.startswith(b"GEO"):
        return b"edgegeo" in argv
    if b"STOREDIST" in words and not any(a.endswith(b"dist") or a.startswith(b"dist") for a in argv[1:] if a.islower()):
        return True
    if b"edgegeo" in argv and (b"SEARCH" in name or b"RADIUS" in name):
        return True
    if (b"SEARCH" in name or b"RADIUS" in name) and not any(a.startswith((b"geo", b"biggeo", b"polegeo")) for a in argv[1:3]):
        return True  # scores that no point has
    return name == b"GEOADD" or (b"ANY" in words and (b"STORE" in name or b"STORE" in words or b"STOREDIST" in words))


PRELUDE = []
READERS = {}
