"""Numbers in words, as a person would read them aloud, and which models want them so."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowvox.config import ModelConfig
from flowvox.errors import ConfigError, PromptError
from flowvox.eval.suite import load_suite
from flowvox.number_words import cardinal
from flowvox.numbers import in_words
from flowvox.prompt import spoken_text
from tests.conftest import micro_params

READINGS = {
    "cardinals": [
        ("0", "zero"), ("14", "fourteen"), ("318", "three hundred and eighteen"),
        ("2,460", "two thousand four hundred and sixty"), ("18,000", "eighteen thousand"),
        ("1,005", "one thousand and five"), ("1000000", "one million"),
        ("2,000,318", "two million three hundred and eighteen"),
        ("999,999,999,999", " ".join(f"nine hundred and ninety-nine {name}".strip()
                                     for name in ("billion", "million", "thousand", ""))),
        ("1,000,000,000,000", "one trillion"), ("1,2,3", "one, two, three")],
    "decimals": [
        ("3.5", "three point five"), ("0.75", "zero point seven five"), (".5", "point five"),
        ("1,000.25", "one thousand point two five"), ("1.10.2", "one point ten point two"),
        ("It is 5.", "It is five.")],
    "signs": [
        ("-5", "minus five"), ("−3.5", "minus three point five"), ("+2", "plus two"),
        ("±1", "plus or minus one"), ("-$5", "minus five dollars"), ("2+2=4", "two plus two equals four"),
        ("COVID-19", "COVID-nineteen"), ("a 5-year-old", "a five-year-old")],
    "ordinals": [
        ("1st", "first"), ("2nd", "second"), ("3rd", "third"), ("5th", "fifth"), ("8th", "eighth"),
        ("12th", "twelfth"), ("20th", "twentieth"), ("22nd", "twenty-second"),
        ("111th", "one hundred and eleventh"), ("1,000th", "one thousandth")],
    "years": [
        ("1987", "nineteen eighty-seven"), ("1100", "eleven hundred"), ("1905", "nineteen oh five"),
        ("2000", "two thousand"), ("2005", "two thousand and five"), ("2024", "twenty twenty-four"),
        ("2099", "twenty ninety-nine"), ("2100", "two thousand one hundred"),
        ("1990s", "nineteen nineties"), ("the '90s", "the nineties"), ("1900s", "nineteen hundreds"),
        ("1914-1918", "nineteen fourteen to nineteen eighteen")],
    "times": [
        ("7:20", "seven twenty"), ("07:20", "seven twenty"), ("10:05", "ten oh five"),
        ("9:00", "nine o'clock"), ("15:00", "fifteen hundred"), ("00:00", "midnight"),
        ("1:02:03", "one oh two oh three"), ("7:20-8:00", "seven twenty to eight o'clock"),
        ("5pm", "five p m"), ("9:00 AM", "nine A M"), ("3.30pm", "three thirty p m")],
    "money": [
        ("$9", "nine dollars"), ("$1", "one dollar"), ("$12.50", "twelve dollars and fifty cents"),
        ("$1.00", "one dollar"), ("$0.01", "one cent"), ("$0.00", "zero dollars"),
        ("£1.01", "one pound and one penny"), ("£3.20", "three pounds and twenty pence"),
        ("€20", "twenty euros"), ("20 €", "twenty euros"), ("$1500", "one thousand five hundred dollars"),
        ("$3.5 million", "three point five million dollars"), ("£2bn", "two billion pounds"),
        ("$1.5", "one point five dollars"), ("$5-$7", "five dollars to seven dollars")],
    "units": [
        ("72%", "seventy-two percent"), ("1500 %", "one thousand five hundred percent"),
        ("20°C", "twenty degrees Celsius"), ("5kg", "five kg")],
    "fractions": [
        ("1/2", "one half"), ("3/2", "three halves"), ("3/4", "three quarters"), ("2/3", "two thirds"),
        ("1/10th", "one tenth"), ("1 1/2", "one and one half"), ("24/7", "twenty-four seven"),
        ("5/6/2024", "five slash six slash twenty twenty-four"), ("4/1", "four slash one")],
    "ranges": [
        ("5-7", "five to seven"), ("20–30%", "twenty to thirty percent"), ("3:2", "three to two"),
        ("1st-3rd", "first to third"), ("1/4-1/2", "one quarter to one half")],
    "dates": [
        ("March 3, 1987", "March third, nineteen eighty-seven"), ("May 5th", "May fifth"),
        ("Jan. 31", "January thirty-first"), ("June 3-5", "June third to fifth"),
        ("March 2024", "March twenty twenty-four"), ("3 March", "the third of March"),
        ("the 3 March", "the third of March"), ("3-5 June", "the third to the fifth of June"),
        ("2024-03-05", "March fifth, twenty twenty-four")],
    "codes": [
        ("007", "zero zero seven"), ("1234567890123", "one two three four five six seven eight nine zero "
                                     "one two three"),
        ("555-0199", "five five five, zero one nine nine"),
        ("(212) 555-0199", "two one two, five five five, zero one nine nine"),
        ("1-800-555-0199", "one, eight zero zero, five five five, zero one nine nine"),
        ("Flight 208", "Flight two oh eight"), ("room 100", "room one hundred"), ("#5", "number five"),
        ("B2", "B two"), ("MP3", "MP three"), ("H2O", "H two O"), ("A380s", "A three eighties"),
        ("5%5", "five percent five")],
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), [case for cases in READINGS.values() for case in cases])
def test_readings(text: str, words: str) -> None:
    assert in_words(text) == words
    assert in_words(f"({text})") == f"({words})"
    assert in_words(f"So {text}, then") == f"So {words}, then"


def test_the_stop_of_pm_ends_a_sentence_or_goes() -> None:
    assert in_words("At 8 p.m. on Monday.") == "At eight p m on Monday."
    assert in_words("At 8 p.m., we left.") == "At eight p m, we left."
    assert in_words("At 8 p.m. We left.") == "At eight p m. We left."
    assert in_words("We left at 8 p.m.") == "We left at eight p m."


def test_the_suite_with_figures_has_the_words_of_the_others() -> None:
    figures = {s.id: in_words(s.text) for s in load_suite("figures").sentences}
    standard = {s.id: s.text for s in load_suite("standard").sentences}
    smoke = [s.text for s in load_suite("smoke").sentences]
    for same in ("02", "03", "05", "06", "07"):
        assert figures[f"figures-{same}"] == standard[f"numbers-{same}"]
    assert figures["figures-11"] in smoke
    assert figures["figures-04"] == (
        "Call five five five, zero one four two any evening after eight p m."
    )


def test_text_without_numbers_is_left_alone() -> None:
    for name in ("smoke", "standard"):
        for sentence in load_suite(name).sentences:
            assert in_words(sentence.text) == sentence.text


@given(st.text(st.characters(exclude_characters="0123456789")))
def test_text_without_digits_comes_back(text: str) -> None:
    assert in_words(text) == text


PIECES = st.sampled_from(
    [
        *"0123456789$£€%°#.,:;-–/+*=' \nampsthxé½٣",
        "March ",
        "Jan. ",
        " p.m.",
        "1990s",
        "555-",
        "the ",
    ]
)


@given(st.text() | st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=500)
def test_any_text_ends_up_in_words(text: str) -> None:
    """Lone surrogates included; a second time changes nothing, and no gap opens that was not there."""
    words = in_words(text)
    assert not re.search("[0-9]", words)
    assert in_words(words) == words
    if "  " not in text:
        assert "  " not in words


@given(st.integers(0, 10**12 - 1))
def test_cardinals_say_what_they_count(number: int) -> None:
    assert counted(cardinal(number)) == number
    assert in_words(f"{number:,}") == cardinal(number)


def counted(words: str) -> int:
    """The number back from its words."""
    small = {cardinal(n): n for n in range(100)}
    total = part = 0
    for word in words.replace(" and ", " ").split():
        if word == "hundred":
            part *= 100
        elif word in small:
            part += small[word]
        else:
            total += part * {"thousand": 10**3, "million": 10**6, "billion": 10**9}[word]
            part = 0
    return total + part


@pytest.mark.parametrize(
    "unit", ["1", "1-", "1.", "1,", "1,111", "1:", "1/", "$", "1 ", "(111) ", "1a"]
)
def test_time_grows_with_the_length_and_not_faster(unit: str) -> None:
    """The most that is taken, in a second; quadratic, it would be a minute."""
    started = time.process_time()
    in_words(unit * (100_000 // len(unit)) + "x")
    assert time.process_time() - started < 10


def test_a_model_says_in_its_params_how_it_wants_numbers_and_titles() -> None:
    published, words = (
        ModelConfig.from_dict(micro_params() | key) for key in ({}, {"numbers": "words"})
    )
    assert spoken_text("Dr. Who, bus 14", published) == "Dr. Who, bus 14"
    assert spoken_text("Dr. Who, bus 14", words) == "Doctor Who, bus fourteen"
    with pytest.raises(PromptError, match="empty"):
        spoken_text(" \n", words)


@pytest.mark.parametrize("value", ["digits", "", None, True, 1, ["words"], {}])
def test_another_wish_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"'numbers' is .*'words'") as caught:
        ModelConfig.from_dict(micro_params() | {"numbers": value}, "params.json")
    assert "\n" not in str(caught.value)
