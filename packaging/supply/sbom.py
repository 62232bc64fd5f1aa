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

# SPDX expressions; what is not named here is Apache-2.0, as most of Apple's and the server group's packages are.
SWIFT = "Apache-2.0 WITH Swift-exception"
LICENCES = {"grdb.swift": "MIT", "yams": "MIT"} | dict.fromkeys(
    ["swift-algorithms", "swift-argument-parser", "swift-async-algorithms", "swift-atomics", "swift-collections",
     "swift-numerics", "swift-system"], SWIFT)
# Copies of other works within packages, by their NOTICE.txt and the heads of their files; not those of tests and scripts alone.
BORINGSSL = [("BoringSSL", "Apache-2.0"), ("fiat-crypto", "MIT OR Apache-2.0 OR BSD-1-Clause")]
WITHIN = {
    "async-http-client": [("swift-base64-kit", "Apache-2.0")],
    "grdb.swift": [("Ruby on Rails' inflections", "MIT"), ("Swift's cursors", SWIFT)],
    "hummingbird": [("swift-foundation", SWIFT)],
    "swift-certificates": [("musl's calendar", "MIT")],
    "swift-crypto": [*BORINGSSL, ("XKCP", "CC0-1.0"), ("XKCP's brg_endian.h", "Brian-Gladman-3-Clause")],
    "swift-nio": [
        ("llhttp", "MIT"), ("uSHET's cpp_magic.h", "MIT"), ("FreeBSD's sha1.c", "BSD-3-Clause"),
        ("swift-base64-kit", "Apache-2.0"), ("swift-package-manager's TokenBucket", SWIFT)],
    "swift-nio-extras": [("zlib", "Zlib")],
    "swift-nio-http2": [("grpc-swift-nio-transport", "Apache-2.0")],
    "swift-nio-ssl": [*BORINGSSL, ("grpc-swift", "Apache-2.0")],
    "yams": [("LibYAML", "MIT")],
}
# What is in the programs besides the packages: of the toolchain and of the distribution that they are built with.
STATIC = [
    ("swift", "the standard library and the runtime", SWIFT, [("LLVM's support library", "Apache-2.0 WITH LLVM-exception")]),
    ("swift-corelibs-libdispatch", "queues and timers", SWIFT, []),
    ("swift-foundation", "files, dates, text", SWIFT, [("swift-collections", SWIFT)]),
    ("swift-corelibs-foundation", "the older part of Foundation", SWIFT, []),
    ("swift-foundation-icu", "ICU, of Foundation", "Unicode-3.0", []),
    ("liburing", "io_uring", "LGPL-2.1-or-later OR MIT", []),
]
# What they are linked with when they start, by the libraries' names; the distribution says which version, and mends it.
DYNAMIC = [
    ("openssl", "TLS of the data path", "Apache-2.0", ["libssl", "libcrypto"]),
    ("sqlite", "the state", "blessing", ["libsqlite3"]),
    ("libpq", "the state in PostgreSQL", "PostgreSQL", ["libpq"]),
    ("libxml2", "answers of AWS, by Foundation", "MIT", ["libxml2"]),
    ("zlib", "Foundation", "Zlib", ["libz"]),
    ("gcc", "the runtime of C++", "GPL-3.0-or-later WITH GCC-exception-3.1", ["libstdc++", "libgcc_s"]),
    ("glibc", "the system", "LGPL-2.1-or-later", ["libc", "libm"]),
]


def address(pin):
    """Packages name each other with and without .git, and which spelling a build records hangs on its order of work."""
    return pin["location"].removesuffix(".git")


def pins():
    return sorted(json.loads((ROOT / "Package.resolved").read_text())["pins"], key=lambda pin: pin["identity"])


def licence(pin):
    return LICENCES.get(pin["identity"], "Apache-2.0")


def licences(spdx):
    """CycloneDX has a word for one licence and another for several, or one with an exception."""
    return [{"expression": spdx}] if " " in spdx else [{"license": {"id": spdx}}]


def copies(within):
    """What a component is an assembly of, if of anything else."""
    return {"components": [{"type": "library", "name": name, "licenses": licences(spdx)} for name, spdx in within]} if within else {}


def component(pin):
    version = pin["state"]["version"]
    reference = f"pkg:swift/{address(pin).removeprefix('https://')}@{version}"
    return {
        "type": "library", "bom-ref": reference, "name": pin["identity"], "version": version, "purl": reference,
        "licenses": licences(licence(pin)), "externalReferences": [{"type": "vcs", "url": address(pin)}],
        **copies(WITHIN.get(pin["identity"])),
    }


def version():
    return re.search(r'sallyportVersion = "([^"]+)"', (ROOT / "Sources/ControlAPI/Version.swift").read_text()).group(1)


def bom():
    components = [component(pin) for pin in pins()]
    of_the_system = [(name, f"{what}; linked statically", spdx, within) for name, what, spdx, within in STATIC]
    of_the_system += [(name, f"{what}; of the distribution: {', '.join(libraries)}", spdx, []) for name, what, spdx, libraries in DYNAMIC]
    components += [
        {"type": "library", "bom-ref": f"system:{name}", "name": name, "description": description, "licenses": licences(spdx),
         **copies(within)} for name, description, spdx, within in of_the_system]
    root = {"type": "application", "bom-ref": "sallyport", "name": "sallyport", "version": version(),
            "licenses": licences("Apache-2.0")}
    content = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "metadata": {"component": root}, "components": components,
        "dependencies": [{"ref": "sallyport", "dependsOn": [part["bom-ref"] for part in components]}],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return json.dumps({"serialNumber": f"urn:uuid:{serial}", **content}, indent=2) + "\n"


def named(within):
    return ", ".join(f"{name} ({spdx})" for name, spdx in within)


def listing():
    lines = [
        "# Licences", "",
        "Sallyport itself is under the licence in [LICENSE](../LICENSE). What its programs are made of, as the build resolves it;",
        "written by `packaging/supply/sbom.py`, which writes the same as [CycloneDX](../packaging/supply/sbom.cdx.json). A test fails",
        "if a build takes other versions than these.", "",
        "| package | version | licence | holds copies of |", "| --- | --- | --- | --- |",
    ]
    lines += [f"| [{pin['identity']}]({address(pin)}) | {pin['state']['version']} | {licence(pin)} | {named(WITHIN.get(pin['identity'], []))} |"
              for pin in pins()]
    lines += ["", "Of the toolchain and the distribution that build them, linked statically:", "",
              "| library | what for | licence | holds copies of |", "| --- | --- | --- | --- |"]
    lines += [f"| {name} | {what} | {spdx} | {named(within)} |" for name, what, spdx, within in STATIC]
    lines += ["", "Of the distribution that runs them, linked dynamically (a test compares it with what the programs ask for):", "",
              "| library | files | what for | licence |", "| --- | --- | --- | --- |"]
    lines += [f"| {name} | {', '.join(libraries)} | {what} | {spdx} |" for name, what, spdx, libraries in DYNAMIC]
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
