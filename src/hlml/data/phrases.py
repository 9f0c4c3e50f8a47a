"""English phrases and what they are in traditional Chinese: dates, money, countries, languages.

They are put together from CLDR, the Unicode consortium's tables of how the languages of the world
say such things, which come with the package Babel. No natural sentences, but each part of a
phrase answers to one part of the other, in another order: what attention is good at.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from hlml.data.pairs import PairData
from hlml.data.text_splits import check_count, split_texts
from hlml.data.vocabulary import Kind
from hlml.data.vocabulary_choice import VocabularyChoice
from hlml.errors import UserError

ENGLISH, CHINESE = "en_US", "zh_Hant_TW"
PHRASE_SEED = 0  # the phrases are the data set: another seed trains on the same ones
MOST = 50_000
FIRST, DAYS = datetime(1970, 1, 1), 36_525  # a hundred years, so that two digits tell which
STYLES = ("full", "long", "medium", "short")
DATES = ("MMMEd", "MMMd", "yMMMM", "yMMMd", "yMMMEd", "yQQQQ")
INTERVALS = ("MMMd", "MMMEd", "yMMM", "yMMMd", "yMMMEd", "Md", "yMd")
CURRENCIES = (
    *("TWD", "USD", "EUR", "JPY", "GBP", "CNY", "HKD", "KRW", "AUD", "CAD", "CHF", "SGD", "THB"),
    *("INR", "NZD", "SEK", "VND", "PHP", "MYR", "BRL", "MXN", "RUB", "TRY", "ZAR", "PLN", "DKK"),
)

Say = Callable[[Any], str]  # in which of Babel's locales -> the phrase


class Phrases(PairData):
    """`number` pairs with different English sides, `valid` and `test` of them held out; the same
    ones always, with the same version of Babel. `kind`, `pieces`, `joint`, `normalise`,
    `vocabulary` and `target_vocabulary` are as in Bitext."""

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        budget: int = 1000,
        reverse: bool = False,
        number: int = 12_000,
        valid: int = 500,
        test: int = 1000,
        kind: Kind = "subwords",
        pieces: int = 2000,
        joint: bool = True,
        normalise: bool = False,
        vocabulary: str | None = None,
        target_vocabulary: str | None = None,
    ) -> None:
        super().__init__(batch_size, seed, workers, budget, reverse)
        check_count("number", number, 10, MOST)
        english, chinese = make_phrases(number)
        choice = VocabularyChoice(kind, pieces, joint, normalise, vocabulary, target_vocabulary)
        self.target_language = "en" if reverse else "zh"
        self.fill_texts((english, chinese), split_texts(english, valid, test), choice)


def make_phrases(number: int) -> tuple[list[str], list[str]]:
    """English and Chinese. UserError: Babel is not installed."""
    try:
        from babel import Locale
    except ImportError as error:
        raise UserError("data=phrases: needs Babel; pip install 'hlml[text]'") from error
    english, chinese = Locale.parse(ENGLISH), Locale.parse(CHINESE)
    draw = Random(PHRASE_SEED)
    pairs: dict[str, str] = {}
    while len(pairs) < number:
        say = draw.choice(KINDS)(draw)
        # thin blanks and blanks that do not break become plain ones
        phrase = " ".join(say(english).split())
        if phrase not in pairs:
            pairs[phrase] = " ".join(say(chinese).split())
    return list(pairs), list(pairs.values())


def _moment(draw: Random) -> datetime:
    return FIRST + timedelta(days=draw.randrange(DAYS), seconds=draw.randrange(86_400))


def _date(draw: Random) -> Say:
    from babel.dates import format_date, format_skeleton

    day, style = _moment(draw), draw.choice(STYLES + DATES)
    if style in STYLES:
        return lambda locale: format_date(day, style, locale)
    return lambda locale: format_skeleton(style, day, locale=locale)


def _time(draw: Random) -> Say:
    from babel.dates import format_datetime, format_time

    moment, style = _moment(draw), draw.choice(("medium", "short"))
    if draw.random() < 0.3:
        return lambda locale: format_time(moment, style, locale=locale)
    return lambda locale: format_datetime(moment, style, locale=locale)


def _interval(draw: Random) -> Say:
    from babel.dates import format_interval

    start, skeleton = _moment(draw), draw.choice(INTERVALS)
    end = start + timedelta(days=int(draw.choice((5, 50, 500)) * draw.random()) + 1)
    return lambda locale: format_interval(start, end, skeleton, locale=locale)


def _duration(draw: Random) -> Say:
    from babel.dates import format_timedelta

    unit, most = draw.choice(
        (
            ("seconds", 60),
            ("minutes", 60),
            ("hours", 24),
            ("days", 7),
            ("weeks", 4),
            ("weeks", 5000),
        )
    )
    length = timedelta(**{unit: draw.choice((-1, 1)) * draw.randint(1, most)})
    return lambda locale: format_timedelta(length, add_direction=True, threshold=1, locale=locale)


def _money(draw: Random) -> Say:
    from babel.numbers import format_currency

    amount = round(10 ** (6 * draw.random()), draw.choice((0, 2)))
    currency, named = draw.choice(CURRENCIES), draw.random() < 0.5
    return lambda locale: format_currency(
        amount, currency, locale=locale, format_type="name" if named else "standard"
    )


def _names(draw: Random) -> Say:
    """One to three countries, languages or currencies, with "and" or "or"."""
    from babel.lists import format_list

    table = draw.choice(("territories", "territories", "languages", "currencies"))
    chances = [draw.random() for _ in range(draw.choice((1, 2, 2, 3)))]
    either = draw.random() < 0.3

    def say(locale: Any) -> str:
        names = getattr(locale, table)
        keys = _keys(table)
        chosen = [names[keys[int(chance * len(keys))]] for chance in chances]
        return format_list(chosen, "or" if either else "standard", locale=locale)

    return say


@cache
def _keys(table: str) -> list[str]:
    """What both languages have a name for."""
    from babel import Locale

    tables = [set(getattr(Locale.parse(name), table)) for name in (ENGLISH, CHINESE)]
    return sorted(tables[0] & tables[1])


KINDS = (_date, _time, _interval, _duration, _money, _money, _names, _names, _names)
