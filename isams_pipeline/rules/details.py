"""What a person's details must look like to be written into iSAMS, and how they are tidied. Pure.

Each function takes a text that is not blank, gives the tidied one, and raises ValueError with what is wrong, in words
that do not repeat the text.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from isams_pipeline.rules.compare import is_joiner

_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_SPACES = re.compile(r"[^\S\n]+")
_UK_POSTCODE = re.compile(r"(GIR ?0AA|[A-Z]{1,2}\d[A-Z\d]?) ?(\d[A-Z]{2})")
_PHONE = re.compile(r"[0-9+(][0-9 ()./-]{3,}(?:(?:ext\.?|x) ?[0-9]{1,6})?", re.IGNORECASE)
_ANY_POSTCODE = re.compile(r"[A-Z0-9][A-Z0-9 -]{1,11}")
UK = {"united kingdom", "uk", "gb", "great britain", "england", "scotland", "wales", "northern ireland"}
"""What iSAMS's countries call it. An empty country may be any."""
GENDERS = {"m": "M", "male": "M", "f": "F", "female": "F"}
"""M and F are what the feeds show; a school's other codes are passed through."""
_OLDEST = 30


def line(text: str, *, longest: int) -> str:
    """A single line: composed characters, no others than printable ones and joiners, single spaces."""
    tidy = _SPACES.sub(" ", unicodedata.normalize("NFC", text)).strip()
    if any(unicodedata.category(one) in _UNPRINTABLE and not is_joiner(one) for one in tidy):
        raise ValueError("it holds characters that cannot be printed")
    if len(tidy) > longest:
        raise ValueError(f"it is longer than {longest} characters")
    return tidy


def lines(text: str, *, longest: int) -> str:
    """Several lines, each tidied."""
    kept = [line(part, longest=longest) for part in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    tidy = "\n".join(kept).strip()
    if len(tidy) > longest:
        raise ValueError(f"it is longer than {longest} characters")
    return tidy


def email(text: str) -> str:
    """One address, valid by its syntax, its domain in lower case."""
    try:
        return validate_email(line(text, longest=254), check_deliverability=False).normalized
    except EmailNotValidError:
        raise ValueError("it is no valid e-mail address") from None


def phone(text: str, region: str) -> str:
    """A possible telephone number: as at home for one of the region, otherwise with its country code.

    One without a country code that is no known number of the region stays as it came: it may be another country's.
    """
    tidy = line(text, longest=40)
    if _PHONE.fullmatch(tidy) is None:
        raise ValueError("it holds more than a telephone number")
    try:
        number = phonenumbers.parse(tidy, region)
    except phonenumbers.NumberParseException:
        raise ValueError("it is no telephone number") from None
    if not phonenumbers.is_possible_number(number):
        raise ValueError("it is too short or too long for a telephone number")
    if not (tidy.startswith("+") or phonenumbers.is_valid_number(number)):
        return tidy
    at_home = number.country_code == phonenumbers.country_code_for_region(region)
    style = phonenumbers.PhoneNumberFormat
    return phonenumbers.format_number(number, style.NATIONAL if at_home else style.INTERNATIONAL)


def postcode(text: str) -> str:
    """A postcode: a British one with its space, any other as it is, in capitals."""
    tidy = line(text, longest=12).upper()
    british = _UK_POSTCODE.fullmatch(tidy.replace(" ", ""))
    if british is not None:
        return f"{british[1]} {british[2]}"
    if _ANY_POSTCODE.fullmatch(tidy) is None:
        raise ValueError("it is no postcode")
    return tidy


def is_british_postcode(text: str) -> bool:
    """Whether a tidied postcode is one of the United Kingdom."""
    return _UK_POSTCODE.fullmatch(text) is not None


def born(text: str, today: date) -> str:
    """A pupil's date of birth, as an ISO date."""
    try:
        day = date.fromisoformat(line(text, longest=10))
    except ValueError:
        raise ValueError("it is no date; write 2012-03-31") from None
    if not today.replace(year=today.year - _OLDEST, day=min(today.day, 28)) < day < today:
        raise ValueError(f"nobody at school was born then: it must be in the last {_OLDEST} years")
    return day.isoformat()


def gender(text: str) -> str:
    """M or F, or what the school writes instead."""
    tidy = line(text, longest=20)
    return GENDERS.get(tidy.casefold(), tidy)
