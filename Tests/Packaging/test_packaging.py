"""What `make install` and a release tarball put where; that completions, manual pages and the unit are sound."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("SALLYPORT_BIN", ROOT / ".build/release"))
PROGRAMS = {"teleport": 8, "tctl": 8, "tsh": 1}
INSTALL = ROOT / "packaging/tarball/install.sh"
# Programs of a hundred megabytes are packed.
pytestmark = pytest.mark.timeout(600)


def run(*command, **options):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, **options)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result.stdout


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """An installation under /usr in a folder."""
    folder = tmp_path_factory.mktemp("tree")
    run("make", "install", f"DESTDIR={folder}", "PREFIX=/usr", f"BUILT={BIN}")
    return folder


def test_installed_files(tree):
    expected = {"etc/default/teleport", "usr/lib/systemd/system/teleport.service"}
    expected |= {f"usr/share/doc/sallyport/{name}" for name in ("LICENSE", "operations.md")}
    for program, section in PROGRAMS.items():
        expected |= {
            f"usr/bin/{program}", f"usr/share/man/man{section}/{program}.{section}",
            f"usr/share/bash-completion/completions/{program}", f"usr/share/zsh/site-functions/_{program}",
            f"usr/share/fish/vendor_completions.d/{program}.fish"}
    assert files(tree) == expected
    for program in PROGRAMS:
        assert re.fullmatch(rf"Sallyport {program} v\S+\n", run(tree / "usr/bin" / program, "version"))


def test_install_again_and_uninstall(tmp_path):
    run("make", "install", f"DESTDIR={tmp_path}", f"BUILT={BIN}")
    kept = {"etc/default/teleport": "AWS_PROFILE=mine\n", "etc/teleport.yaml": "version: v3\n"}
    for name, text in kept.items():
        (tmp_path / name).write_text(text)
    run("make", "install", f"DESTDIR={tmp_path}", f"BUILT={BIN}")
    run("make", "uninstall", f"DESTDIR={tmp_path}")
    assert files(tmp_path) == set(kept)
    for name, text in kept.items():
        assert (tmp_path / name).read_text() == text


def test_install_without_a_build_says_so(tmp_path):
    result = subprocess.run(
        ["make", "install", f"DESTDIR={tmp_path}", f"BUILT={tmp_path}"], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode != 0 and "run 'make build' first" in result.stderr and files(tmp_path) == set()


# Manual pages


@pytest.mark.parametrize("program, section", PROGRAMS.items())
def test_manual_pages(tree, program, section):
    page = tree / f"usr/share/man/man{section}/{program}.{section}"
    assert subprocess.run(["mandoc", "-Tlint", "-W", "warning", page], capture_output=True, text=True).stdout == ""
    text = re.sub(".\b", "", run("mandoc", "-Tutf8", page))
    words = re.sub(r"\s+", " ", text)
    help = run(tree / "usr/bin" / program, "--help")
    for command in re.findall(r"^  ([a-z]+) ", help.split("SUBCOMMANDS:")[1], re.M):
        assert f"{program} {command}" in words, command
    if program == "teleport":
        assert "--diag-addr" in words and "SIGHUP" in words and "/etc/teleport.yaml" in words


# Completions


def complete_in_bash(tree, line):
    script = tree / "usr/share/bash-completion/completions" / line.split()[0]
    return run("bash", "-c", r"""
        . "$1"
        read -ra COMP_WORDS <<< "$2"
        [ "${2% }" = "$2" ] || COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$2 COMP_POINT=${#2}
        function=$(complete -p "${COMP_WORDS[0]}" | sed -E 's/.*-F ([^ ]+) .*/\1/')
        "$function" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
        """, "bash", script, line, env={**os.environ, "PATH": f"{tree}/usr/bin:{os.environ['PATH']}"}).split()


def test_bash_completes(tree):
    assert {"start", "configure", "status"} <= set(complete_in_bash(tree, "teleport "))
    assert "--diag-addr" in complete_in_bash(tree, "teleport start --di")
    assert "login" in complete_in_bash(tree, "tsh db lo")
    assert "tokens" in complete_in_bash(tree, "tctl to")


@pytest.mark.parametrize("program", PROGRAMS)
def test_zsh_and_fish_read_their_scripts(tree, program):
    run("zsh", "-n", tree / f"usr/share/zsh/site-functions/_{program}")
    script = tree / f"usr/share/fish/vendor_completions.d/{program}.fish"
    offered = run("fish", "--no-config", "-c", f"source {script}; complete -C '{program} '")
    assert {line.split("\t")[0] for line in offered.splitlines()} >= {"version", "status"}


# systemd


def test_unit(tree):
    unit = tree / "usr/lib/systemd/system/teleport.service"
    text = unit.read_text()
    assert "ExecStart=/usr/bin/teleport start --config=/etc/teleport.yaml\n" in text
    # verify wants the program in its place.
    unit.write_text(text.replace("/usr/bin/teleport", f"{tree}/usr/bin/teleport"))
    try:
        result = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
        assert result.returncode == 0 and result.stderr == ""
        score = run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit).splitlines()[-1]
        assert " OK " in score and score.split(": ")[1].split()[0] in (ROOT / "docs/operations.md").read_text()
    finally:
        unit.write_text(text)


# Tarball


@pytest.fixture(scope="module")
def tarball(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    environment = {**os.environ, "BUILT": str(BIN), "SOURCE_DATE_EPOCH": "1700000000"}
    path = run(ROOT / "packaging/tarball/build.sh", "0.0.0", folder, env=environment).splitlines()[-1]
    return pathlib.Path(path)


def install(*arguments, **environment):
    return subprocess.run(
        ["sh", INSTALL, *map(str, arguments)], capture_output=True, text=True, env={**os.environ, **environment})


def test_tarball_installs_and_uninstalls(tarball, tmp_path):
    assert tarball.name == f"sallyport-0.0.0-linux-{os.uname().machine}.tar.gz"
    (tmp_path / "etc/default").mkdir(parents=True)
    (tmp_path / "etc/default/teleport").write_text("mine\n")
    result = install(tarball, DESTDIR=str(tmp_path), PREFIX="/opt/sallyport")
    assert result.returncode == 0, result.stderr
    assert "Sallyport tsh v" in run(tmp_path / "opt/sallyport/bin/tsh", "version")
    unit = (tmp_path / "opt/sallyport/lib/systemd/system/teleport.service").read_text()
    assert "ExecStart=/opt/sallyport/bin/teleport start" in unit and "@" not in unit.replace("@system", "").replace(
        "@privileged", "").replace("@resources", "")
    assert (tmp_path / "etc/default/teleport").read_text() == "mine\n"
    assert install("--uninstall", tarball, DESTDIR=str(tmp_path), PREFIX="/opt/sallyport").returncode == 0
    assert files(tmp_path) == {"etc/default/teleport"}


def test_tarball_holds_what_make_install_installs(tarball, tree, tmp_path):
    assert install(tarball, DESTDIR=str(tmp_path), PREFIX="/usr").returncode == 0
    assert files(tmp_path) == files(tree)
    for name in files(tree) - {f"usr/bin/{program}" for program in PROGRAMS}:
        # The date in the pages is the build's.
        if "/man/" not in name:
            assert (tmp_path / name).read_bytes() == (tree / name).read_bytes(), name


def test_damaged_tarball_is_refused(tarball, tmp_path):
    damaged = tmp_path / tarball.name
    damaged.write_bytes(tarball.read_bytes()[:-1] + b"x")
    destination = tmp_path / "destination"
    digest = pathlib.Path(f"{tarball}.sha256").read_text().split()[0]
    for arguments, words in [
        ([damaged], "no SHA256 given"), ([damaged, digest], "damaged or not the release"), ([tmp_path / "none"], "is not there")]:
        result = install(*arguments, DESTDIR=str(destination))
        assert result.returncode == 1 and words in result.stderr and result.stderr.count("\n") == 1
    shutil.copy(f"{tarball}.sha256", tmp_path)
    assert "damaged or not the release" in install(damaged, DESTDIR=str(destination)).stderr
    assert not destination.exists()
    assert install(tarball, digest.upper(), DESTDIR=str(destination)).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_not_root_is_told_what_to_do(tarball, tmp_path):
    for name in (tarball, INSTALL):
        shutil.copy(name, tmp_path)
    tmp_path.chmod(0o755)
    result = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", 'exec sh ./install.sh "$0" 0', tarball.name],
        cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1 and "sudo" in result.stderr
