"""Looks for known vulnerabilities in the installed packages, by pip-audit: ``python scripts/audit.py``.

Its data is PyPI's, or OSV's where that cannot be had. Where neither can, one line says so, and that is no failure: what is
not known here is known elsewhere. A vulnerability is one. test.py runs this.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import environment

SERVICES = {"pypi": "PyPI", "osv": "OSV"}
TIMEOUT_S = 180


def installed() -> str:
    """Return what is installed in ``.venv``, as requirements; not this project, and not what installs packages."""
    command = [environment.PYTHON, "-m", "pip", "--disable-pip-version-check", "freeze", "--exclude-editable"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return "".join(f"{line}\n" for line in lines if "==" in line)


def audited(service: str, requirements: Path) -> list[dict[str, Any]] | None:
    """Return the packages that a service knows, each with its vulnerabilities; None if it cannot be asked."""
    command = [environment.PYTHON, "-m", "pip_audit", "--requirement", requirements, "--no-deps", "--disable-pip"]
    command += ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        packages = json.loads(ended.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return None
    return [package for package in packages if "vulns" in package] or None


def audit() -> int:
    """Ask, say what came of it in a few lines, and return the exit status."""
    requirements = installed()
    total_count = requirements.count("\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.txt"
        path.write_text(requirements, encoding="utf-8")
        for service, title in SERVICES.items():
            packages = audited(service, path)
            if packages is not None:
                return report(packages, total_count, title)
    print(f"audit: NOT DONE: neither {' nor '.join(SERVICES.values())} says anything of vulnerabilities from here")
    return 0


def report(packages: list[dict[str, Any]], total_count: int, title: str) -> int:
    """Say what a service has found, and return the exit status."""
    found = [(package, vulnerability) for package in packages for vulnerability in package["vulns"]]
    for package, vulnerability in found:
        fixed = ", ".join(vulnerability.get("fix_versions", ())) or "no version yet"
        print(f"audit: {package['name']} {package['version']}: {vulnerability['id']}, mended in {fixed}")
    unknown = total_count - len(packages)
    print(f"audit: {len(found)} vulnerabilities in {len(packages)} packages that {title} knows; {unknown} it does not know")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(audit())
