"""The changes to rules and gate that no test notices, held against those that are known and named.

python -m isams_pipeline_tests.survivors [--write]

Reads what `mutmut run` has left in mutants/. `survivors.toml` names, for each module, why its survivors are let be, and
for each function how many there are. More than are named is a failure; fewer should be written down, so that the
numbers only shrink.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAMED = Path(__file__).with_name("survivors.toml")
SURVIVED, WITHOUT_TESTS = 0, 33
"""What mutmut keeps of a mutant that no test noticed, and of one that no test of the unit part runs."""
Counts = dict[str, dict[str, int]]


def survivors(mutants: Path) -> tuple[Counts, set[str]]:
    """Module → function → how many of its mutants nobody noticed; and the modules of which all were tried."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    whole: set[str] = set()
    for file in sorted(mutants.rglob("*.meta")):
        codes: dict[str, int | None] = json.loads(file.read_text())["exit_code_by_key"]
        for name, code in codes.items():
            module, _, mangled = name.rpartition(".")
            function = mangled.rpartition("__mutmut_")[0].removeprefix("x_").replace("xǁ", "").replace("ǁ", ".")
            found[module][function] += code in {SURVIVED, WITHOUT_TESTS}
        if codes and None not in codes.values():
            whole.add(next(iter(codes)).rpartition(".")[0])
    return {module: {name: n for name, n in sorted(of.items()) if n} for module, of in sorted(found.items())}, whole


def named() -> dict[str, dict[str, int | str]]:
    """What survivors.toml says."""
    return tomllib.loads(NAMED.read_text(encoding="utf-8"))


def more_than_named(found: Counts, known: dict[str, dict[str, int | str]]) -> list[str]:
    """What is to be tested or named."""
    return [
        f"{module}.{function}: {count} changes survive, {known.get(module, {}).get(function, 0)} are named"
        for module, functions in found.items()
        for function, count in functions.items()
        if count > int(known.get(module, {}).get(function, 0))
    ]


def as_toml(found: Counts, known: dict[str, dict[str, int | str]], whole: set[str]) -> str:
    """The page again, with the numbers of the modules that were tried as a whole; the reasons stay."""
    head = NAMED.read_text(encoding="utf-8").partition("\n[")[0] if NAMED.exists() else "# See survivors.py.\n"
    lines = [head.rstrip()]
    for module in sorted({*known, *found}):
        counts = found.get(module, {}) if module in whole else dict(known.get(module, {}))
        reason = known.get(module, {}).get("reason", "")
        numbers = {name: n for name, n in counts.items() if name != "reason"}
        if numbers:
            lines += ["", f'["{module}"]', f"reason = {json.dumps(reason)}"]
            lines += [f'"{name}" = {count}' for name, count in sorted(numbers.items())]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write down the numbers as they are now")
    parser.add_argument("--mutants", type=Path, default=ROOT / "mutants", help="mutmut's folder")
    given = parser.parse_args()
    found, whole = survivors(given.mutants)
    known = named() if NAMED.exists() else {}
    if given.write:
        NAMED.write_text(as_toml(found, known, whole), encoding="utf-8")
        return 0
    problems = more_than_named(found, known)
    print(*problems, sep="\n")
    print(
        f"{sum(sum(of.values()) for of in found.values())} changes survive; {len(whole)} modules were tried as a whole."
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
