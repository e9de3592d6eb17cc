"""What the parts of ``ci/test_gpu.sh`` found, in one table and one file.

    python ci/gpu/summary.py FOLDER

Reads ``parts.tsv`` (part, exit status, seconds) and each part's ``.xml`` and ``.log``; prints the
table, writes ``summary.txt`` and ``summary.json``, and packs everything as ``results.tar.gz``.
Exits with 1 if a part failed, or if one that ran tests ran none.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

#: What ``timeout`` exits with, and compute-sanitizer when it found an error.
MEANINGS = {124: "out of time", 137: "killed", 9: "errors found by the sanitizer",
            77: "not available here"}  # fmt: skip


def counted(path: Path) -> dict[str, int]:
    """Tests of a part by outcome; empty if it ran none through pytest."""
    if not path.exists():
        return {}
    root = ET.parse(path).getroot()
    suites = [root] if root.tag == "testsuite" else list(root)
    total = {k: sum(int(s.get(k, 0)) for s in suites)
             for k in ("tests", "failures", "errors", "skipped")}  # fmt: skip
    broken = total["failures"] + total["errors"]
    return {"passed": total["tests"] - broken - total["skipped"], "failed": broken,
            "skipped": total["skipped"]}  # fmt: skip


def reasons(path: Path) -> list[str]:
    """Why tests of a part were skipped, each reason once."""
    if not path.exists():
        return []
    found = [str(s.get("message")) for s in ET.parse(path).getroot().iter("skipped")]
    return list(dict.fromkeys(found))


def verdict(status: int, tests: dict[str, int]) -> str:
    """One word or two for a part."""
    if status == 77:
        return "skipped"
    if status:
        return f"FAILED ({MEANINGS.get(status, f'exit status {status}')})"
    if tests and not tests["passed"]:
        return "skipped"
    return "passed"


def facts() -> dict[str, Any]:
    """Where it ran."""
    command = [sys.executable, "-m", "gpugrad", "info", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {
        "error": done.stderr.strip()[-500:]}  # fmt: skip
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True,
                            check=False)  # fmt: skip
    return {**found, "commit": commit.stdout.strip() or None,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")}  # fmt: skip


def gather(folder: Path) -> list[dict[str, Any]]:
    """Every part with its verdict."""
    parts = []
    for line in (folder / "parts.tsv").read_text().splitlines():
        name, status, seconds = line.split("\t")
        tests = counted(folder / f"{name}.xml")
        parts.append({"part": name, "verdict": verdict(int(status), tests), "tests": tests,
                      "seconds": int(seconds), "status": int(status),
                      "skips": reasons(folder / f"{name}.xml")})  # fmt: skip
    return parts


def table(parts: list[dict[str, Any]]) -> str:
    """The parts as text."""
    lines = []
    for p in parts:
        tests = ", ".join(f"{n} {k}" for k, n in p["tests"].items() if n)
        lines.append(f"{p['part']:16} {p['verdict']:24} {p['seconds']:5} s  {tests}".rstrip())
        lines += [f"{'':16} skipped: {why}" for why in p["skips"][:5]]
    return "\n".join(lines)


def main(folder: Path) -> int:
    """Write and print the summary; the exit status."""
    parts = gather(folder)
    failed = [p["part"] for p in parts if p["verdict"].startswith("FAILED")]
    found = facts()
    devices = ", ".join(d for d in found.get("devices", []) if d != "cpu")
    end = f"FAILED: {', '.join(failed)}" if failed else "nothing failed"
    text = f"{found['date']}  {devices}\n{table(parts)}\n{end}\n"
    (folder / "summary.txt").write_text(text)
    (folder / "summary.json").write_text(json.dumps({"where": found, "parts": parts}, indent=1))
    with tarfile.open(folder / "results.tar.gz", "w:gz") as archive:
        for path in sorted(folder.iterdir()):
            if path.name != "results.tar.gz":
                archive.add(path, path.name)
    print(text, end="")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
