"""The 39 phoneme classes of the course's TIMIT, and where espeak-ng's American symbols belong.

TIMIT's 61 phones are folded to 39 as usual since Lee and Hon 1989, "Speaker-independent phone
recognition using hidden Markov models": zh is sh, ao is aa, ax is ah, and closures are sil.
"""

from __future__ import annotations

CLASSES = [
    *("iy", "ih", "eh", "ae", "ah", "uw", "uh", "aa", "ey", "ay", "oy", "aw", "ow", "l", "r"),
    *("y", "w", "er", "m", "n", "ng", "ch", "jh", "dh", "b", "d", "dx", "g", "p", "t", "k", "z"),
    *("v", "f", "th", "s", "sh", "hh", "sil"),
]
SILENCE = CLASSES.index("sil")

SYMBOLS = {
    **{"iy": "i: i", "ih": "I I2 I# i@", "eh": "E e@", "ae": "a aa", "ah": "a# V @ @2 @-"},
    **{"uw": "u: u", "uh": "U U@", "aa": "0 A: A@ O: O O2 o@ O@", "ey": "eI", "ay": "aI aI@ aI3"},
    **{"oy": "OI", "aw": "aU", "ow": "oU", "er": "3 3: i@3", "l": "l @L", "r": "r r-", "y": "j"},
    **{"w": "w", "m": "m", "n": "n n-", "ng": "N", "ch": "tS", "jh": "dZ", "dh": "D", "b": "b"},
    **{"d": "d", "dx": "t#", "g": "g", "p": "p", "t": "t t2", "k": "k x", "z": "z", "v": "v"},
    **{"f": "f", "th": "T", "s": "s", "sh": "S Z", "hh": "h", "sil": "? _ _: _!"},
}
NUMBER = {s: CLASSES.index(name) for name, symbols in SYMBOLS.items() for s in symbols.split()}
STRESS = "',%=|"  # marks before a vowel
SOFTENED = ";"  # a mark behind a consonant that has a symbol of its own: no sound


def fold(symbol: str) -> int | None:
    """The class of an espeak-ng symbol; None: it is no sound, and what came before goes on."""
    bare = symbol.strip(STRESS)
    if bare in (SOFTENED, ""):
        return None
    try:
        return NUMBER[bare]
    except KeyError as error:
        raise ValueError(
            f"no class for espeak-ng's symbol {symbol!r}: add it to SYMBOLS"
        ) from error
