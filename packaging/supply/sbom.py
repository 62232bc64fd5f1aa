#!/usr/bin/env python3
"""Writes what Sallyport is made of, from Package.resolved: sbom.cdx.json (CycloneDX 1.5) and docs/licences.md.

    packaging/supply/sbom.py           writes both
    packaging/supply/sbom.py --check   fails if either is not what would be written

Package.resolved is what a build resolved, and no file of ours: mirrors of packages have commits of their own. The two lists
are ours, so `--check` fails a build whose versions are not those that were looked at. The output depends on its inputs alone:
two who make it get the same bytes.
"""

import json
import pathlib
import re
import sys
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
BOM, LIST = ROOT / "packaging/supply/sbom.cdx.json", ROOT / "docs/licences.md"

# SPDX identifiers; what is not named here is Apache-2.0, as all of Apple's and the server group's packages are.
LICENCES = {"grdb.swift": "MIT", "yams": "MIT"}
# Copies of other works within packages.
WITHIN = {
    "swift-crypto": "BoringSSL (OpenSSL AND ISC)", "swift-nio-ssl": "BoringSSL (OpenSSL AND ISC)", "yams": "LibYAML (MIT)",
    "swift-nio": "llhttp (MIT)",
}
# Libraries of the system that the programs are linked with; the distribution says which version, and mends it.
SYSTEM = [
    ("openssl", "libssl, libcrypto: TLS of the data path", "Apache-2.0"), ("sqlite", "the state", "blessing"),
    ("libpq", "the state in PostgreSQL", "PostgreSQL"), ("liburing", "io_uring", "MIT"),
]


def address(pin):
    """Packages name each other with and without .git, and which spelling a build records hangs on its order of work."""
    return pin["location"].removesuffix(".git")


def pins():
    return sorted(json.loads((ROOT / "Package.resolved").read_text())["pins"], key=lambda pin: pin["identity"])


def licence(pin):
    return LICENCES.get(pin["identity"], "Apache-2.0")


def component(pin):
    version = pin["state"]["version"]
    reference = f"pkg:swift/{address(pin).removeprefix('https://')}@{version}"
    return {
        "type": "library", "bom-ref": reference, "name": pin["identity"], "version": version, "purl": reference,
        "licenses": [{"license": {"id": licence(pin)}}],
        "externalReferences": [{"type": "vcs", "url": address(pin)}],
    }


def version():
    return re.search(r'sallyportVersion = "([^"]+)"', (ROOT / "Sources/ControlAPI/Version.swift").read_text()).group(1)


def bom():
    components = [component(pin) for pin in pins()]
    components += [
        {"type": "library", "bom-ref": f"system:{name}", "name": name, "description": f"{what}; of the distribution",
         "licenses": [{"license": {"id": spdx}}]} for name, what, spdx in SYSTEM]
    root = {"type": "application", "bom-ref": "sallyport", "name": "sallyport", "version": version(),
            "licenses": [{"license": {"id": "Apache-2.0"}}]}
    content = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "metadata": {"component": root}, "components": components,
        "dependencies": [{"ref": "sallyport", "dependsOn": [part["bom-ref"] for part in components]}],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return json.dumps({"serialNumber": f"urn:uuid:{serial}", **content}, indent=2) + "\n"


def listing():
    lines = [
        "# Licences", "",
        "Sallyport itself is under the licence in [LICENSE](../LICENSE). What its programs are made of, as the build resolves it;",
        "written by `packaging/supply/sbom.py`, which writes the same as [CycloneDX](../packaging/supply/sbom.cdx.json). A test fails",
        "if a build takes other versions than these.", "",
        "| package | version | licence | holds copies of |", "| --- | --- | --- | --- |",
    ]
    lines += [f"| [{pin['identity']}]({address(pin)}) | {pin['state']['version']} | {licence(pin)} | {WITHIN.get(pin['identity'], '')} |"
              for pin in pins()]
    lines += ["", "Of the system, linked dynamically:", "", "| library | what for | licence |", "| --- | --- | --- |"]
    lines += [f"| {name} | {what} | {spdx} |" for name, what, spdx in SYSTEM]
    return "\n".join(lines) + "\n"


def main():
    wanted = {BOM: bom(), LIST: listing()}
    if sys.argv[1:] == ["--check"]:
        stale = [str(path.relative_to(ROOT)) for path, text in wanted.items() if not path.exists() or path.read_text() != text]
        sys.exit(f"not what Package.resolved says: {', '.join(stale)}; run packaging/supply/sbom.py" if stale else 0)
    for path, text in wanted.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
