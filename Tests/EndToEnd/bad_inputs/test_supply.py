"""What Sallyport is made of: pinned, listed, and under licences that are what the list says."""

import json
import re
import subprocess

import pytest

from conftest import ROOT

RESOLVED = json.loads((ROOT / "Package.resolved").read_text())["pins"]


def test_the_lists_are_current():
    result = subprocess.run([ROOT / "packaging/supply/sbom.py", "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_every_dependency_is_pinned():
    text = (ROOT / "Package.swift").read_text()
    direct = dict(re.findall(r'\.package\(\s*url: "([^"]+)",\s*exact: "([^"]+)"', text))
    assert len(direct) == text.count(".package("), "a version is not exact"
    resolved = {re.sub(r"\.git$", "", pin["location"]): pin["state"]["version"] for pin in RESOLVED}
    assert direct.items() <= resolved.items()
    assert all(url.startswith("https://") for url in resolved)


def test_the_bill_of_materials_names_each_with_its_version():
    bom = json.loads((ROOT / "packaging/supply/sbom.cdx.json").read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.5")
    versions = {part["name"]: part["version"] for part in bom["components"] if "version" in part}
    assert versions == {pin["identity"]: pin["state"]["version"] for pin in RESOLVED}
    references = [part["bom-ref"] for part in bom["components"]]
    assert len(set(references)) == len(references) and bom["dependencies"][0]["dependsOn"] == references
    assert all(part["licenses"][0]["license"]["id"] for part in bom["components"])


@pytest.mark.skipif(not (ROOT / ".build/checkouts").exists(), reason="the packages are not checked out")
def test_licences_are_those_of_the_packages():
    words = {"Apache-2.0": "Apache License", "MIT": "Permission is hereby granted, free of charge"}
    bom = json.loads((ROOT / "packaging/supply/sbom.cdx.json").read_text())
    listed = {part["name"]: part["licenses"][0]["license"]["id"] for part in bom["components"]}
    looked = 0
    for folder in (ROOT / ".build/checkouts").iterdir():
        texts = [path.read_text() for path in folder.glob("LICEN[SC]E*")]
        if folder.name.lower() in listed and texts:
            assert words[listed[folder.name.lower()]] in texts[0], folder
            looked += 1
    assert looked == len(RESOLVED)
