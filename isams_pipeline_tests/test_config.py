"""schools.yaml: what is right, and what its errors say."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from isams_pipeline.config import _UniqueKeyLoader, load_settings, values
from isams_pipeline.errors import ConfigurationError

EXAMPLE = Path(__file__).parent.parent / "schools.example.yaml"


def test_what_the_docs_begin_another_source_with_is_right(tmp_path: Path):
    text = (EXAMPLE.parent / "docs/schoolbooking.md").read_text()
    file = tmp_path / "schools.yaml"
    file.write_text(text.split("```yaml")[1].split("```")[0])
    assert load_settings(file).school("st-ada").sources == ("assembly", "xporter")


def test_the_example_is_right_and_complete():
    settings = load_settings(EXAMPLE)
    school: Any = settings.school("riverside")
    assert school.isams.key_for("terms") == "school"
    assert school.isams.key_for("estates") == "bookings" and school.isams.key_for("nothing") is None
    assert 10 in school.campuses["Campus 1"] and 11 not in school.campuses["Campus 1"]
    documented = EXAMPLE.read_text()
    for model in (
        type(settings),
        type(school),
        type(school.isams),
        type(school.isams.keys["staff"]),
        type(school.partners.root["schoolsbuddy"]),
        type(school.partners.root["room_booking"]),
        type(school.partners.root["my_school_portal"]),
        type(school.partners.root["schoolbooking"]),
        type(school.connections["assembly"]),
        type(school.connections["xporter"]),
        type(school.partners.root["schoolsbuddy"].attendance),
        type(school.isams.rest["portal"]),
        type(settings.alerts),
        type(settings.alerts.to[0]),
    ):
        for name in set(model.model_fields) - {"file", "connections"}:
            assert f"{name}:" in documented, f"{name} is not in schools.example.yaml"


@pytest.mark.parametrize(
    ("place", "key", "hint"),
    [
        ("c", "school", "did you mean schools?"),
        ("s", "time_zone", "did you mean timezone?"),
        ("s", "assemblly", "did you mean assembly?"),
        ("s['partners']", "schoolbuddy", "did you mean schoolsbuddy?"),
        ("s['partners']['schoolsbuddy']", "contact_type", "did you mean contact_types?"),
        ("s['partners']['schoolsbuddy']['attendance']", "pm_hour", "schools.example.yaml"),
        ("s['isams']['keys']['staff']", "feed", "did you mean feeds?"),
        ("s['isams']['rest']['portal']", "paralel", "did you mean parallel?"),
        ("s['assembly']", "client", "did you mean client_id?"),
        ("s", "colour_of_the_gate", "schools.example.yaml"),
    ],
)
def test_a_misspelt_key_is_told_the_one_that_was_meant(tmp_path: Path, place: str, key: str, hint: str):
    said = broken(tmp_path, f"{place}[{key!r}] = 'x'")
    (line,) = [line for line in said.splitlines() if f"{key}:" in line]
    assert "unknown key" in line and hint in line


def broken(tmp_path: Path, change: str) -> str:
    """What loading says after some Python has changed the example."""
    config = yaml.safe_load(EXAMPLE.read_text())
    exec(change, {"c": config, "s": config["schools"]["riverside"]})  # the tests' own words
    file = tmp_path / "schools.yaml"
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file)
    assert str(file) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "path", "remedy"),
    [
        ("s['timezone'] = 'Europe/Londn'", "schools.riverside.timezone", "did you mean Europe/London?"),
        ("s['isams']['rest']['Portal'] = s['isams']['rest']['portal']", "isams.rest", "lower-case letters"),
        ("s['partners']['my_school_portal']['client'] = 'x'", "schools.riverside", "there is no REST client 'x'"),
        ("del s['partners']['my_school_portal']['client']", "schools.riverside", "the REST client must be named"),
        (
            "s['partners']['my_school_portal']['writeback'] = True",
            "my_school_portal.writeback",
            "write enabled or disabled",
        ),
        ("s['partners']['schoolsbuddy']['attendance'].update(am=[], pm=[])", "attendance", "names no register"),
        ("s['partners']['schoolsbuddy']['attendance']['am_at'] = '25:00'", "attendance.am_at", "write 11:00"),
        (
            "s['partners']['my_school_portal']['phone_region'] = 'uk'",
            "my_school_portal.phone_region",
            "schools.example",
        ),
        ("del s['name']", "schools.riverside.name", "missing; add it"),
        ("s['nmae'] = 1", "schools.riverside.nmae", "check its spelling"),
        ("s['isams']['url'] = 'http://riverside.isams.cloud'", "schools.riverside.isams.url", "write https://"),
        ("s['isams']['url'] = 'riverside'", "schools.riverside.isams.url", "write https://yourschool"),
        ("s['isams']['url'] = 'https://u:p@h'", "schools.riverside.isams.url", "leave log-in"),
        ("s['isams']['keys']['staff']['feeds'] = ['staf']", "isams.keys.staff.feeds", "did you mean staff?"),
        (
            "s['isams']['keys']['staff']['feeds'] = ['staff', 'pupils']",
            "schools.riverside.isams.keys",
            "leave it to one of them",
        ),
        ("s['isams']['keys']['medical']['feeds'] = ['medical', 'tutors']", "isams.keys.medical", "a key of its own"),
        (
            "s['isams']['keys']['staff']['secret'] = '6F0C2C54-0D5A-4A35-9D2B'",
            "isams.keys.staff.secret",
            "put the secret itself into a variable",
        ),
        ("del s['isams']['keys']['contacts']", "schools.riverside", "schoolsbuddy needs the feeds contacts"),
        ("del s['isams']['keys']['medical']", "schools.riverside", "medical_fields"),
        ("s['campuses']['Campus 2'] = '10-12'", "schools.riverside.campuses", "give each year to one campus"),
        ("s['campuses'][' campus  2'] = '40-42'", "schools.riverside.campuses", "one name but for case"),
        ("s['campuses'][' '] = '40-42'", "schools.riverside.campuses", "an empty name"),
        (
            "s['partners']['schoolsbuddy']['contact_types'] = 'Mother'",
            "schoolsbuddy.contact_types",
            "write a list: [Mother]",
        ),
        ("s['partners']['schoolsbuddy']['mail_merge'] = 'all'", "schoolsbuddy.mail_merge", "write a list: [all]"),
        ("s['partners']['schoolsbuddy']['medical_fields'] = 'A: b'", "medical_fields", "write a list: ['A: b']"),
        ("s['partners']['schoolsbuddy']['contact_years'] = []", "contact_years", "an empty list of year groups"),
        ("s['partners']['schoolsbuddy']['contact_years'] = [7, 'x']", "contact_years", "not a range of year groups"),
        ("s['partners']['schoolbooking']['mail_merge'] = ['all']", "schoolbooking", "only iSAMS's own source knows"),
        ("s['partners']['schoolbooking']['contact_only'] = 'send'", "schoolbooking", "knows Contact Only"),
        (
            "s['partners']['schoolsbuddy']['contact_years'] = 'seven'",
            "partners.schoolsbuddy.contact_years",
            "write 7-11",
        ),
        ("s['partners']['schoolsbuddy']['max_removed'] = 20", "partners.schoolsbuddy.max_removed", "such as 20%"),
        (
            "s['partners']['schoolsbuddy']['mail_merge'] = ['billing']",
            "partners.schoolsbuddy.mail_merge",
            "write all or correspondence",
        ),
        ("c['history_from'] = '2025-10-01'", "history_from", "first of September"),
        ("c['schools']['St. Ada'] = s", "schools", "lower-case letters"),
    ],
)
def test_errors_name_file_path_and_remedy(tmp_path: Path, change: str, path: str, remedy: str):
    said = broken(tmp_path, change)
    assert path in said and remedy in said
    assert "6F0C2C54" not in said, "a secret put into the wrong place is not repeated"


def test_a_key_given_twice_is_an_error(tmp_path: Path):
    file = tmp_path / "schools.yaml"
    file.write_text("schools:\n  a: 1\n  a: 2\n")
    with pytest.raises(ConfigurationError, match="'a' is given twice.*line 3"):
        load_settings(file)


@pytest.mark.parametrize(
    ("text", "said"), [("schools: [", "Not YAML"), ("- a", "not a mapping"), ("", "not a mapping")]
)
def test_no_yaml_or_no_mapping(tmp_path: Path, text: str, said: str):
    file = tmp_path / "schools.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        load_settings(file)


@pytest.mark.parametrize(
    "value",
    ["2026-09-31", "2026-13-01", "!!int canary", "!!timestamp canary", "!!python/object:os.system canary", "!!binary x",
     "!!float canary", "{[a]: b}", "{{a: b}: c}", "*canary", "1:99:99:99:", "\x07", "!!set [a]", "!!omap a", "!!bool x"],
)  # fmt: skip
def test_every_fault_of_yaml_is_an_error_with_its_line(tmp_path: Path, value: str):
    file = tmp_path / "schools.yaml"
    file.write_text(f"schools: {{}}\nhistory_from: {value}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file)
    assert "canary" not in str(caught.value).replace("alias 'canary'", "") or "undefined alias" in str(caught.value)
    if "\x07" not in value and "is not valid" not in str(caught.value):
        assert caught.value.where["line"] == 2


def test_yaml_that_is_nested_too_deep(tmp_path: Path):
    file = tmp_path / "schools.yaml"
    file.write_text("schools: " + "[" * 5_000)
    with pytest.raises(ConfigurationError, match="Not YAML"):
        load_settings(file)


# Without control characters and Unicode's own line breaks, which PyYAML's writer gets wrong by itself.
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="\ufeff"), max_size=12)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.dates() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN, st.booleans(), st.integers(20, 200))
def test_libyamls_parser_reads_what_pyyamls_own_reads(data: object, flow: bool, width: int):
    text = yaml.safe_dump(data, default_flow_style=flow, width=width, allow_unicode=True)
    assert _UniqueKeyLoader(text).get_single_data() == yaml.safe_load(text)


def test_the_example_is_read_alike_by_both():
    text = EXAMPLE.read_text()
    assert _UniqueKeyLoader(text).get_single_data() == yaml.safe_load(text)


def test_time_zones_are_listed_once_however_many_schools_there_are(monkeypatch: pytest.MonkeyPatch):
    """To list them walks a folder of some hundred files: eight milliseconds for each school of each command."""
    listed: list[int] = []
    monkeypatch.setattr(values, "available_timezones", lambda: listed.append(1) or {"Europe/London"})
    values._zones.cache_clear()
    zones = TypeAdapter(dict[str, values.Zone])
    zones.validate_python({f"school{at}": "Europe/London" for at in range(50)})
    values._zones.cache_clear()
    assert len(listed) == 1


def test_a_path_that_does_not_exist(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"Copy schools\.example\.yaml"):
        load_settings(tmp_path / "none.yaml")


def test_without_a_file_there_are_no_schools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings().schools == {}


def test_deliver_to_is_relative_to_the_file(tmp_path: Path):
    file = tmp_path / "schools.yaml"
    file.write_text(EXAMPLE.read_text())
    settings = load_settings(file)
    assert settings.resolve("data/exports") == str(tmp_path / "data/exports")
    assert settings.resolve("s3://bucket/x") == "s3://bucket/x"


def test_settings_are_known_to_who_imports_nothing_else():
    """A notebook, or a script, that only reads schools.yaml."""
    code = "from isams_pipeline.config import load_settings as load; import sys; print(load(sys.argv[1]).school('riverside').sources)"
    done = subprocess.run([sys.executable, "-c", code, EXAMPLE], capture_output=True, text=True)
    assert done.stdout.strip() == "('isams', 'assembly', 'xporter')", done.stderr


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield from _places(one, (*path, name))


@pytest.mark.parametrize("odd", [None, True, -1, 3.5, "xyz", [], {"a": 1}], ids=str)
def test_whatever_is_wrong_anywhere_is_said_in_words_of_our_own(odd: Any, tmp_path: Path):
    """Every key of the example, with every kind of value that may not belong there."""
    whole = yaml.safe_load(EXAMPLE.read_text())
    messages: list[str] = []
    for path in _places(whole):
        changed = copy.deepcopy(whole)
        inner = changed
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = odd
        (tmp_path / "schools.yaml").write_text(json.dumps(changed, default=str))
        try:
            load_settings(tmp_path / "schools.yaml")
        except ConfigurationError as error:
            messages += str(error).splitlines()[1:]
    assert messages
    foreign = [
        one for one in messages if re.search(r"[Ii]nput should|after validation|valid (dict|list|str)|pydantic", one)
    ]
    assert not foreign and not [one for one in messages if "; see schools.example.yaml" in one]
