"""One target under libFuzzer: `python -m tests.fuzz.driver TARGET [planted] -- libFuzzer's own arguments`."""

import sys

import atheris

with atheris.instrument_imports(include=["gateway", "dns"]):
    from tests.fuzz.targets import PLANTED, TARGETS


def main() -> None:
    """Runs until libFuzzer ends the process."""
    own, arguments = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    target = (PLANTED if "planted" in own else TARGETS)[own[0]]
    atheris.Setup([sys.argv[0], *arguments], target)
    atheris.Fuzz()


main()
