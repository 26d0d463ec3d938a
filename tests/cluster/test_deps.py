#!/usr/bin/env python3
"""How `make` gets the Debian packages it needs: .ci/deps, among programs that only note what they are
asked. Nothing of this machine is looked at or changed."""

import os
import pathlib
import tempfile

from cluster import main, run

DEPS = pathlib.Path(__file__).resolve().parents[2] / ".ci/deps"

# Each is a shell script without any other program: their folder is the whole PATH.
DPKG_QUERY = """#!/bin/sh
for package; do :; done
case " {installed} " in
*" $package "*) printf 'install ok installed' ;;
*) echo "no packages found matching $package" >&2; exit 1 ;;
esac
"""
ID = """#!/bin/sh
echo {user}
"""
APT_GET = """#!/bin/sh
echo "apt-get $* as ${{BY:-oneself}}, frontend ${{DEBIAN_FRONTEND:-}}, runlevel ${{RUNLEVEL:-}}" >>"{calls}"
exit {status}
"""
SUDO = """#!/bin/sh
export BY=sudo
if [ "$1" = -E ]; then shift; else unset DEBIAN_FRONTEND RUNLEVEL; fi
exec "$@"
"""


def deps(*packages, installed="", user=0, sudo=True, status=0):
    """Exit status of .ci/deps, the calls of apt-get, and what it said."""
    with tempfile.TemporaryDirectory() as folder:
        calls = pathlib.Path(folder, "calls")
        programs = {"dpkg-query": DPKG_QUERY.format(installed=installed),
                    "id": ID.format(user=user),
                    "apt-get": APT_GET.format(calls=calls, status=status)}
        if sudo:
            programs["sudo"] = SUDO
        for name, text in programs.items():
            program = pathlib.Path(folder, "bin", name)
            program.parent.mkdir(exist_ok=True)
            program.write_text(text, encoding="utf-8")
            program.chmod(0o755)
        code, out, err = run(DEPS, *packages, env={"PATH": os.path.join(folder, "bin")})
        lines = calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []
        return code, lines, out + err


def assert_installed(by, *packages, **options):
    code, calls, said = deps(*packages, **options)
    suffix = f"as {by}, frontend noninteractive, runlevel 1"
    assert code == 0, said
    assert said == f"installing: {' '.join(packages)}\n", said
    assert calls == [f"apt-get update -qq {suffix}",
                     f"apt-get install -y -qq --no-install-recommends {' '.join(packages)} {suffix}"], \
        calls


def test_nothing_missing():
    """Nothing is missing: nothing is called, nothing is said, whoever one is"""
    for user in (0, 1000):
        assert deps("one", "two", installed="two one", user=user, sudo=False) == (0, [], "")
    assert deps() == (0, [], "")


def test_root():
    """As root: apt-get itself, whether there is sudo or not, and asks no questions"""
    for sudo in (True, False):
        assert_installed("oneself", "one", "two", sudo=sudo)


def test_only_what_is_missing():
    """Only what is missing is installed"""
    code, calls, said = deps("one", "two", "three", installed="two")
    assert code == 0 and said == "installing: one three\n", said
    assert len(calls) == 2 and "--no-install-recommends one three as" in calls[1], calls


def test_another_user():
    """As another user: by sudo, which keeps the environment"""
    assert_installed("sudo", "one", "two", user=1000)


def test_neither():
    """Neither root nor sudo: one error that names the packages, nothing is called"""
    code, calls, said = deps("one", "two", installed="two", user=1000, sudo=False)
    assert code == 1 and not calls, (code, calls)
    assert said == "missing packages: one; neither root nor sudo here: install them and run again\n", said


def test_failure():
    """What fails for apt-get fails for make"""
    for user in (0, 1000):
        code, calls, said = deps("one", user=user, status=100)
        assert code == 100 and len(calls) == 1, (code, calls, said)


if __name__ == "__main__":
    main()
