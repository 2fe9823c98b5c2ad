"""Look the pinned dependencies up among the known vulnerabilities, and never be green without having looked.

    python .ci/audit.py [--strict]

pip-audit ends well when its database knows none of the packages, as behind a mirror of the package index: that is told here
as what it is. Exit code 1 for a known vulnerability, for a dependency that alone could not be looked up, and, with --strict,
where nothing could be.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def ask() -> tuple[list[dict[str, object]], str]:
    """Return what pip-audit says of each dependency, and the first line of why it could not."""
    own = os.environ.get("PIP_AUDIT", str(Path(sys.executable).with_name("pip-audit")))
    words = ["--requirement", str(ROOT / "constraints.txt"), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    try:
        done = subprocess.run([own, *words, "--format", "json"], capture_output=True, text=True)
        found = json.loads(done.stdout)["dependencies"]
    except OSError as e:
        return [], f"pip-audit is not there: {e.strerror}"
    except (ValueError, KeyError):
        return [], next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it says nothing")
    return found, ""


def main() -> int:
    """Say what was found in lines; returns the exit code."""
    found, reason = ask()
    skipped = [d for d in found if "skip_reason" in d]
    if len(skipped) == len(found):
        reason = reason or str(skipped[0]["skip_reason"] if skipped else "no dependency is pinned")
        sys.stdout.write(f"SKIPPED: known vulnerabilities; nothing could be looked up from here ({reason[:200]})\n")
        return int("--strict" in sys.argv[1:])
    for one in found:
        for flaw in one.get("vulns", ()):  # type: ignore[attr-defined]
            mended = ", ".join(flaw["fix_versions"]) or "no version yet"
            sys.stdout.write(f"{one['name']} {one['version']}: {flaw['id']}, mended in {mended}\n")
    for one in skipped:
        sys.stdout.write(f"{one['name']}: could not be looked up ({str(one['skip_reason'])[:200]})\n")
    flawed = [d for d in found if d.get("vulns")]
    sys.stdout.write(f"{len(found) - len(skipped)} dependencies looked up, {len(flawed)} with known vulnerabilities\n")
    return int(bool(flawed or skipped))


if __name__ == "__main__":
    sys.exit(main())
