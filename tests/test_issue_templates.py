"""Issue forms by GitHub's rules (docs.github.com, "Syntax for GitHub's form schema"), and what they ask for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

GITHUB = Path(__file__).parents[1] / ".github"
FORMS = ("bug", "question", "feature")
ATTRIBUTES = {
    "markdown": {"value"},
    "textarea": {"label", "description", "placeholder", "value", "render"},
    "input": {"label", "description", "placeholder", "value"},
    "dropdown": {"label", "description", "multiple", "options", "default"},
    "checkboxes": {"label", "description", "options"},
}
CHINESE, ENGLISH = re.compile(r"[\u4e00-\u9fff]"), re.compile(r"[A-Za-z]{3}")


def load(name: str) -> dict[str, Any]:
    loaded = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def test_these_are_all_and_a_blank_issue_is_none_of_them() -> None:
    assert {path.stem for path in (GITHUB / "ISSUE_TEMPLATE").iterdir()} == {*FORMS, "config"}
    assert load("config") == {"blank_issues_enabled": False}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_one_that_github_takes(name: str) -> None:
    form = load(name)
    assert {"name", "description", "body"} <= set(form) <= {"name", "description", "body", "labels", "title"}
    asking = [element for element in form["body"] if element["type"] != "markdown"]
    assert asking
    identifiers = [element["id"] for element in asking]
    labels = [element["attributes"]["label"] for element in asking]
    assert len(set(identifiers)) == len(identifiers) and len(set(labels)) == len(labels)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", identifier) for identifier in identifiers)
    for element in form["body"]:
        assert set(element) <= {"type", "id", "attributes", "validations"}
        assert set(element["attributes"]) <= ATTRIBUTES[element["type"]]
        assert set(element.get("validations", {})) <= {"required"}
        options = element["attributes"].get("options", ["one"])
        assert options and len({str(option) for option in options}) == len(options)


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_in_both_languages(name: str) -> None:
    form = load(name)
    attributes = [element["attributes"] for element in form["body"]]
    texts = [form["name"], form["description"], *(each.get("label", each.get("value")) for each in attributes)]
    assert all(CHINESE.search(text) and ENGLISH.search(text) for text in texts), texts


def test_a_bug_needs_its_diagnosis_and_no_key() -> None:
    elements = {element.get("id"): element for element in load("bug")["body"]}
    assert all(elements[name]["validations"]["required"] for name in ("what", "diagnosis", "version", "place"))
    description = elements["diagnosis"]["attributes"]["description"]
    assert "fintunnel doctor" in description and "fintunnel check" in description
    assert "不要粘贴任何密钥" in elements[None]["attributes"]["value"]
    (confirmed,) = elements["keys"]["attributes"]["options"]
    assert confirmed["required"] is True


def test_a_pull_request_is_asked_for_the_command_that_runs_the_checks() -> None:
    text = (GITHUB / "PULL_REQUEST_TEMPLATE.md").read_text(encoding="utf-8")
    assert "`python run.py test`" in text and "CHANGELOG.md" in text and "docs/decisions.md" in text
