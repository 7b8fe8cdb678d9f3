"""Numbers in digits -> numbers in words, in English, for models that were trained on words only.

One pattern finds whatever is written with digits, its signs and units included; the name of the
alternative that matched says how it is read. Each alternative that can fail late is bounded in
length, so that any text takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from flowvox.number_words import (
    LONGEST,
    amount,
    cardinal,
    digits,
    fraction,
    minutes,
    ordinal,
    pairs,
    plural,
    spelled,
    year,
)

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
MONTH_OF = {month[:3]: month for month in MONTHS}
SIGNS = {"-": "minus", "−": "minus", "+": "plus", "±": "plus or minus", "#": "number"}
LINKS = {
    **dict.fromkeys("-–—:", "to"), "/": "slash", "+": "plus", "=": "equals", "×": "times",
    "*": "times", ".": "point", ",": ",",
}  # fmt: skip
COINS = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
}
SCALES = {"k": "thousand", "m": "million", "b": "billion", "bn": "billion"}
UNITS = {"%": "percent", "°": "degrees", "°C": "degrees Celsius", "°F": "degrees Fahrenheit"}
IDIOMS = {"24/7": "twenty-four seven", "9/11": "nine eleven"}
# What stands before a number that is a code.
PLACES = ("flight", "gate", "highway", "interstate", "room", "route", "suite")

DAY = r"(?:3[01]|[12][0-9]|0?[1-9])"
ALONE = r"(?![\w%°]|[.,:/][0-9])"  # what follows is not part of the number
MONTH = "|".join([*MONTHS, r"(?:Sept|" + "|".join(MONTH_OF) + r")\b\.?"])
NOON = r"\ ?(?P<{}>[AaPp])(?P<{}>\.\ ?[Mm]\.|[Mm](?!\w))"
NUMBER = r"(?>[0-9]{1,3}(?:,[0-9]{3}){1,6}(?![0-9])|[0-9]+)(?>(?:\.[0-9]+)*)"

PATTERN = re.compile(
    rf"""
    (?P<iso>(?<![\w.-]) (?P<iso_year>[0-9]{{4}}) - (?P<iso_month>0[1-9]|1[0-2])
        - (?P<iso_day>{DAY}) (?![\w-]))
  | (?P<groups>(?:\([0-9]{{3}}\)\ ?)? [0-9]+ (?:-[0-9]+){{2,}}
      | \([0-9]{{3}}\)\ ? [0-9]{{3}} [-\ ] [0-9]{{4}} (?![0-9])
      | [0-9]{{3}} (?P<gap>[\ .]) [0-9]{{3}} (?P=gap) [0-9]{{4}} (?![0-9])
      | (?:[0-9]{{3}}|[0-9]{{5}}) - [0-9]{{4}} (?![0-9]))
  | (?P<clock>(?P<hour>[0-9]{{1,2}}) : (?P<minute>[0-5][0-9]) (?: :(?P<second>[0-5][0-9]))?
        (?![0-9]|:[0-9]) (?:{NOON.format("half", "dots")})?)
  | (?P<noon>(?P<noon_hour>[0-9]{{1,2}}) (?: [.](?P<noon_minute>[0-5][0-9]))?
        {NOON.format("noon_half", "noon_dots")})
  | (?P<date>(?<!\w) (?P<month>{MONTH})\ (?P<day>{DAY}) (?: [–-] (?P<last_day>{DAY}))?
        (?:st|nd|rd|th)? {ALONE})
  | (?P<day_first>(?<![\w.,:/$£€\#-]) (?P<first_day>{DAY}) (?: [–-] (?P<to_day>{DAY}))?
        \ (?P<its_month>{MONTH}) (?!\w))
  | (?P<ratio>(?<![\w.,/]) (?: (?P<wholes>[0-9]{{1,3}})\ )? (?P<above>[0-9]{{1,3}})
        / (?P<below>[0-9]{{1,4}}) (?:nd|rd|th)? {ALONE})
  | (?P<code>(?<!\w) (?P<place>(?i:{"|".join(PLACES)}))\ (?P<code_digits>[0-9]{{3,4}}) {ALONE})
  | (?P<quantity>
        (?P<sign>(?<![\w)%.+-]) [-+] (?=[$£€.]?[0-9]) | [−±] (?=[$£€.]?[0-9])
          | (?<!\w)\# (?=[0-9]) | (?<!\w)['’] (?=[0-9]0s(?!\w)))?
        (?: (?P<coin>[$£€])\ ? (?P<money>{NUMBER}|\.[0-9]+)
            (?: \ (?P<scale>(?:thous|m|b|tr)(?:and|illion))\b | (?P<short>[KkMmBb]|[Bb]n)(?!\w))?
          | (?P<value>(?<![\w.])\.[0-9]+ | {NUMBER})
            (?: (?P<tail>st|nd|rd|th|ST|ND|RD|TH|s)(?!\w)
              | \ ? (?P<unit>%|°[CF](?!\w)|°)
              | \ ? (?P<coin_after>[$£€])(?!\ ?[0-9]))?))
  | (?P<link>[-–—:/+=×*.,] (?=[$£€\#]?[0-9]))
    """,
    re.VERBOSE,
)
Match = re.Match[str]


def in_words(text: str) -> str:
    """`text` with every number spelled out; text without digits comes back as it is.

    "Bus 14 leaves at 7:20" -> "Bus fourteen leaves at seven twenty". Digits of other scripts stay.
    """
    pieces: list[str] = []
    end = 0
    for match in PATTERN.finditer(text):
        start, follows = match.start(), bool(pieces) and match.start() == end
        kind = str(match.lastgroup)
        if kind == "link":
            if not follows:
                continue  # a hyphen or a stop after a word
            words = LINKS[match[0]]
        else:
            words = READERS[kind](match)
        between = text[end:start]
        if words != "," and (between[-1:].isalnum() or (follows and pieces[-1] != " ")):
            between += " "
        end = match.end()
        pieces += [between, words, " " if text[end : end + 1].isalpha() else ""]
    return "".join([*pieces, text[end:]])


def _iso(match: Match) -> str:
    month = MONTHS[int(match["iso_month"]) - 1]
    return f"{month} {ordinal(int(match['iso_day']))}, {_alone(match['iso_year'])}"


def _groups(match: Match) -> str:
    return ", ".join(digits(group) for group in re.findall("[0-9]+", match[0]))


def _clock(match: Match) -> str:
    hour, minute = int(match["hour"]), int(match["minute"])
    if match["second"]:
        said = f"{cardinal(hour)} {minutes(minute)} {minutes(int(match['second']))}"
    elif minute:
        said = f"{cardinal(hour)} {minutes(minute)}"
    elif match["half"]:
        said = cardinal(hour)
    elif hour == 0:
        return "midnight"
    elif hour > 24:
        said = f"{cardinal(hour)} oh oh"
    else:
        said = cardinal(hour) + (" hundred" if hour > 12 else " o'clock")
    return said + (_half(match, match["half"], match["dots"]) if match["half"] else "")


def _noon(match: Match) -> str:
    minute = match["noon_minute"]
    said = cardinal(int(match["noon_hour"]))
    if minute not in (None, "00"):
        said += f" {minutes(int(minute))}"
    return said + _half(match, match["noon_half"], match["noon_dots"])


def _half(match: Match, half: str, dots: str) -> str:
    """The letters apart, as " p m"; the last stop stays where it ends a sentence, too."""
    after = match.string[match.end() : match.end() + 2].lstrip()
    ends = "." in dots and (not after or not (after[0].islower() or after[0] in ".,;:!?-–—"))
    return f" {half} {'M' if 'M' in dots else 'm'}{'.' if ends else ''}"


def _date(match: Match) -> str:
    days = [ordinal(int(match[name])) for name in ("day", "last_day") if match[name]]
    return f"{MONTH_OF[match['month'][:3]]} {' to '.join(days)}"


def _day_first(match: Match) -> str:
    days = [ordinal(int(match[name])) for name in ("first_day", "to_day") if match[name]]
    article = "" if match.string.endswith(("the ", "The "), 0, match.start()) else "the "
    return f"{article}{' to the '.join(days)} of {MONTH_OF[match['its_month'][:3]]}"


def _ratio(match: Match) -> str:
    above, below = int(match["above"]), int(match["below"])
    wholes = f"{cardinal(int(match['wholes']))} " if match["wholes"] else ""
    said = f"{match['above']}/{match['below']}"
    if said in IDIOMS:
        return wholes + IDIOMS[said]
    if above and below > 1 and (above < below or (above < 20 and below <= 10)):
        return wholes + ("and " if wholes else "") + fraction(above, below)
    return f"{wholes}{spelled(match['above'])} slash {spelled(match['below'])}"


def _code(match: Match) -> str:
    return f"{match['place']} {pairs(match['code_digits'])}"


def _quantity(match: Match) -> str:
    sign = SIGNS.get(match["sign"] or "", "")
    coin = match["coin"] or match["coin_after"]
    said = _money(match, coin) if coin else _plain(match)
    return f"{sign} {said}" if sign else said


def _money(match: Match, coin: str) -> str:
    text = match["money"] or match["value"]
    scale = match["scale"] or SCALES.get((match["short"] or "").lower(), "")
    one, many, cent, cents = COINS[coin]
    whole, _, part = text.partition(".")
    if scale:
        return f"{amount(text)} {scale} {many}"
    if len(part) != 2:
        return f"{amount(text)} {one if text == '1' else many}"
    said = [f"{amount(whole)} {one if whole == '1' else many}"] if whole.strip("0") else []
    if int(part):
        said.append(f"{spelled(part.lstrip('0'))} {cent if part == '01' else cents}")
    return " and ".join(said) or f"zero {many}"


def _plain(match: Match) -> str:
    text, tail, unit = match["value"], match["tail"], match["unit"]
    plain = text.replace(",", "")
    if unit:
        return f"{amount(text)} {UNITS[unit]}"
    if not plain.isdecimal():
        return f"{amount(text)} {tail}" if tail else amount(text)
    if tail and tail != "s":
        return ordinal(int(plain)) if len(plain) <= LONGEST else f"{digits(plain)} {tail}"
    alone = text == plain and not match["sign"]
    after_letter = match.string[match.start() - 1 : match.start()].isalpha()
    before_letter = match.string[match.end() : match.end() + 1].isalpha()
    if alone and after_letter and len(text) in (3, 4):
        said = pairs(text)
    elif alone and not after_letter and not before_letter:
        said = _alone(text)
    else:
        said = amount(text)
    return plural(said) if tail else said


def _alone(text: str) -> str:
    """A number that stands alone: of four digits, it may be a year."""
    return year(text) if len(text) == 4 and "1100" <= text <= "2099" else spelled(text)


READERS: dict[str, Callable[[Match], str]] = {
    "iso": _iso, "groups": _groups, "clock": _clock, "noon": _noon, "date": _date,
    "day_first": _day_first, "ratio": _ratio, "code": _code, "quantity": _quantity,
}  # fmt: skip
