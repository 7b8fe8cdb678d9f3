"""English words for whole numbers, as `flowvox.numbers` needs them.

The spelling is that of the suites: "three hundred and eighteen", "nineteen eighty-seven".
"""

from __future__ import annotations

SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))
ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
LONGEST = 15  # digits of a number that still has a name; more are said one by one
LONGEST_PLAIN = 12  # the same where no commas group them


def cardinal(number: int) -> str:
    """0 ... 10^15 - 1."""
    if number < 20:
        return SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens - 2] + (f"-{SMALL[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{SMALL[hundreds]} hundred" + (f" and {cardinal(rest)}" if rest else "")
    parts = []
    for scale, name in SCALES:
        count, number = divmod(number, scale)
        if count:
            parts.append(f"{cardinal(count)} {name}")
    if number:
        parts.append(f"and {cardinal(number)}" if number < 100 else cardinal(number))
    return " ".join(parts)


def ordinal(number: int) -> str:
    """As "twenty-first", "two thousandth"."""
    words = cardinal(number)
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    last = words[cut:]
    last = ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return words[:cut] + last


def plural(words: str) -> str:
    """As "nineteen nineties", "sixes"."""
    if words.endswith("y"):
        return f"{words[:-1]}ies"
    return words + ("es" if words.endswith("x") else "s")


def digits(text: str) -> str:
    """One by one: "zero four two"."""
    return " ".join(SMALL[int(digit)] for digit in text)


def spelled(text: str, longest: int = LONGEST_PLAIN) -> str:
    """A run of digits; one by one where it is a code rather than a quantity."""
    if len(text) > longest or (text.startswith("0") and text != "0"):
        return digits(text)
    return cardinal(int(text))


def amount(text: str) -> str:
    """With commas and decimals: "18,000", "0.75", ".5", and versions, as "1.10.2"."""
    whole, *rest = text.split(".")
    plain = whole.replace(",", "")
    words = [spelled(plain, LONGEST if "," in whole else LONGEST_PLAIN)] if whole else []
    for part in rest:
        words += ["point", digits(part) if len(rest) == 1 else spelled(part)]
    return " ".join(words)


def minutes(number: int) -> str:
    """Two digits after others: "twenty", "oh five"."""
    return f"oh {SMALL[number]}" if number < 10 else cardinal(number)


def pairs(text: str) -> str:
    """Three or four digits as codes are read: "two oh eight", "twelve hundred"."""
    first, last = divmod(int(text), 100)
    if text.startswith("0"):
        return digits(text)
    if last == 0:
        return cardinal(100 * first) if first % 10 == 0 else f"{cardinal(first)} hundred"
    return f"{cardinal(first)} {minutes(last)}"


def year(text: str) -> str:
    """Four digits: "nineteen eighty-seven", "nineteen oh five", "two thousand and five"."""
    return cardinal(int(text)) if text.startswith("200") else pairs(text)


def fraction(above: int, below: int) -> str:
    """As "one half", "three quarters", "five eighths". below: from 2."""
    if below == 2:
        name, names = "half", "halves"
    else:
        name = "quarter" if below == 4 else ordinal(below)
        names = plural(name)
    return f"{cardinal(above)} {name if above == 1 else names}"
