"""Tests of config value conversion and of values that are refused."""

from __future__ import annotations

import datetime
import re

import pytest
import yaml

from ppi_train.config.fields import as_bool, as_float, as_int, as_str, as_str_list, describe_fields
from ppi_train.runs.configs import CompareConfig, ResumeConfig


@pytest.mark.parametrize(("value", "expected"), [("P1", "P1"), ("", ""), (" x ", " x "), ("no", "no")])
def test_text_stays_as_it_is(value: object, expected: str) -> None:
    assert as_str(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (12, "expected text, got 12; quote it"),
        (1.5, "expected text, got 1.5; quote it"),
        (datetime.date(2024, 1, 2), "expected text, got datetime.date(2024, 1, 2); quote it"),
        (["a"], "expected text, got ['a']; quote it"),
        (
            yaml.safe_load("no"),
            "expected text, got False; YAML reads unquoted yes, no, on and off as truth values: quote it",
        ),
    ],
)
def test_what_is_not_text(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        as_str(value)


@pytest.mark.parametrize(("value", "expected"), [(7, 7), ("7", 7), ("-7", -7), ("+7", 7), ("007", 7), (0, 0)])
def test_whole_numbers(value: object, expected: int) -> None:
    assert as_int(value) == expected


@pytest.mark.parametrize(
    "value", [2.0, "2.0", "1e3", "1_000", " 7", "7 ", "", "７", True, False, None, "abc", [7], "9" * 5000]
)
def test_what_is_not_a_whole_number(value: object) -> None:
    with pytest.raises(ValueError, match=f"^expected a whole number, got {re.escape(repr(value))}$"):
        as_int(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(yaml.safe_load("1e-4"), 1e-4), ("1E3", 1000.0), (3, 3.0), ("-.5", -0.5), (0.25, 0.25), ("1.", 1.0)],
)
def test_numbers(value: object, expected: float) -> None:
    number = as_float(value)
    assert number == expected
    assert isinstance(number, float)


@pytest.mark.parametrize(
    "value", ["abc", "", "nan", "inf", "1_000", "1,5", float("inf"), 10**400, True, None, [1.0], "0x10"]
)
def test_what_is_not_a_finite_number(value: object) -> None:
    with pytest.raises(ValueError, match=f"^expected a finite number, got {re.escape(repr(value))}$"):
        as_float(value)


@pytest.mark.parametrize("value", [True, 1, "1", "true", "True", "YES", "on", yaml.safe_load("on")])
def test_true(value: object) -> None:
    assert as_bool(value) is True


@pytest.mark.parametrize("value", [False, 0, "0", "false", "No", "OFF", yaml.safe_load("no")])
def test_false(value: object) -> None:
    assert as_bool(value) is False


@pytest.mark.parametrize("value", ["", "y", "t", "2", 2, -1, 1.0, None, [True], "none"])
def test_what_is_no_truth_value(value: object) -> None:
    with pytest.raises(ValueError, match=f"^expected true or false, got {re.escape(repr(value))}$"):
        as_bool(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("train", ("train",)),
        ("train, test", ("train", "test")),
        (" train ,,test,", ("train", "test")),
        ("train,\ntest\n", ("train", "test")),
        ('train, "test, too"', ("train", "test, too")),
        (["train", "test"], ("train", "test")),
        (("a, b",), ("a, b",)),
        (",", ()),
    ],
)
def test_lists(value: object, expected: tuple[str, ...]) -> None:
    assert as_str_list(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (7, "expected a list of texts, got 7"),
        ("a\rb", "expected values with commas between, got 'a\\rb'"),
        ({"a": 1}, "expected a list of texts, got {'a': 1}"),
        (None, "expected a list of texts, got None"),
        (["a", 7], "expected text, got 7; quote it"),
        (yaml.safe_load("[on]"), "expected text, got True; YAML reads unquoted"),
    ],
)
def test_what_is_no_list_of_texts(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        as_str_list(value)


@pytest.mark.parametrize(
    "text",
    ["0a1b", " 0a1b\n", "runs:/0a1b", "runs:/0a1b/model", " runs:/0a1b ",
     "http://127.0.0.1:5000/#/experiments/1/runs/0a1b",
     "https://lab.org/mlflow/#/experiments/1/runs/0a1b/artifacts/best?x=1"],
)  # fmt: skip
def test_what_names_a_run_becomes_its_id(text: str) -> None:
    spec = {field.name: field for field in describe_fields(ResumeConfig)}["run_id"]
    assert spec.parse(text) == "0a1b"
    several = {field.name: field for field in describe_fields(CompareConfig)}["run_ids"]
    assert several.parse(f"1, {text}") == ("1", "0a1b")


@pytest.mark.parametrize(
    "text", ["runs", "runs:/", "/runs/0a1b", "../../x", "http://lab.org/#/experiments/1"]
)
def test_other_text_in_place_of_a_run_id_stays(text: str) -> None:
    spec = {field.name: field for field in describe_fields(ResumeConfig)}["run_id"]
    assert spec.parse(text) == text
