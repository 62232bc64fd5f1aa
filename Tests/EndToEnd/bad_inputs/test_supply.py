"""What Sallyport is made of: pinned, listed, and under licences that are what the list says."""

import importlib.metadata
import importlib.util
import json
import re
import subprocess

import pytest

from conftest import BIN, ROOT

SUPPLY = importlib.util.spec_from_file_location("sbom", ROOT / "packaging/supply/sbom.py")
sbom = importlib.util.module_from_spec(SUPPLY)
SUPPLY.loader.exec_module(sbom)
RESOLVED = json.loads((ROOT / "Package.resolved").read_text())["pins"]


def spdx(part):
    [licence] = part["licenses"]
    return licence["expression"] if "expression" in licence else licence["license"]["id"]


def test_the_lists_are_current():
    result = subprocess.run([ROOT / "packaging/supply/sbom.py", "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_every_dependency_is_pinned():
    text = (ROOT / "Package.swift").read_text()
    direct = dict(re.findall(r'\.package\(\s*url: "([^"]+)",\s*exact: "([^"]+)"', text))
    assert len(direct) == text.count(".package("), "a version is not exact"
    resolved = {sbom.address(pin): pin["state"]["version"] for pin in RESOLVED}
    assert direct.items() <= resolved.items()
    assert all(url.startswith("https://") for url in resolved)


def test_the_packages_of_the_tests_are_pinned():
    lines = [line for line in (ROOT / "Tests/requirements.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = dict(re.sub(r"\[.*\]", "", line).split("==") for line in lines)
    assert len(pinned) == len(lines) > 5
    assert pinned == {name: importlib.metadata.version(name) for name in pinned}


def test_the_bill_of_materials_names_each_with_its_version():
    bom = json.loads((ROOT / "packaging/supply/sbom.cdx.json").read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.5")
    versions = {part["name"]: part["version"] for part in bom["components"] if "version" in part}
    assert versions == {pin["identity"]: pin["state"]["version"] for pin in RESOLVED}
    references = [part["bom-ref"] for part in bom["components"]]
    assert len(set(references)) == len(references) and bom["dependencies"][0]["dependsOn"] == references
    whole = [*bom["components"], *(copy for part in bom["components"] for copy in part.get("components", []))]
    assert all(spdx(part) for part in whole)


@pytest.mark.skipif(not (ROOT / ".build/checkouts").exists(), reason="the packages are not checked out")
def test_licences_are_those_of_the_packages():
    exception = "Runtime Library Exception"
    words = {"Apache-2.0": "Apache License", sbom.SWIFT: exception, "MIT": "Permission is hereby granted, free of charge"}
    looked = 0
    for pin in RESOLVED:
        # A checkout is named as its address ends, which is not how the package is called.
        folder = ROOT / ".build/checkouts" / sbom.address(pin).rsplit("/", 1)[1]
        text = next(folder.glob("LICEN[SC]E*")).read_text()
        assert words[sbom.licence(pin)] in text and (exception in text) == (sbom.licence(pin) == sbom.SWIFT), folder
        looked += 1
    assert looked == len(RESOLVED)


def needed(program):
    """What the program asks the loader for, without versions: libssl of libssl.so.3."""
    text = subprocess.run(["readelf", "-d", BIN / program], check=True, capture_output=True, text=True).stdout
    # The loader itself, of glibc, is named after the processor.
    return {name for name in re.findall(r"\(NEEDED\).*\[(.+?)\.so", text) if not name.startswith("ld-")}


def test_the_programs_ask_for_the_libraries_that_are_listed_and_no_others():
    asked = {program: needed(program) for program in ("teleport", "tctl", "tsh")}
    if "libswiftCore" in asked["teleport"]:
        pytest.skip("not what is shipped: built without --static-swift-stdlib")
    listed = {library for *_, libraries in sbom.DYNAMIC for library in libraries}
    assert set().union(*asked.values()) == listed, asked
    # What only the server takes hosts of users need not have.
    assert not {"libpq", "libsqlite3", "libxml2"} & (asked["tctl"] | asked["tsh"])
