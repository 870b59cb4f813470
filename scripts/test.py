"""Set up everything and run all checks: ``python scripts/test.py [--fast] [arguments of pytest]``.

``--fast`` runs what needs nothing but Python packages: format, lint, types and the unit tests.
"""

import os
import subprocess
import sys

import audit
import environment

CHECKS = (
    ("ruff", "format", "--check", "--quiet", "."),
    ("ruff", "check", "--quiet", "."),
    ("mypy",),
)


def main() -> int:
    arguments = sys.argv[1:]
    fast = "--fast" in arguments
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HAZOOM_")}
    environment.install_python_packages("test")
    if fast:
        arguments = [argument for argument in arguments if argument != "--fast"]
        arguments += ["-n", "auto", "--maxprocesses", "4", "--dist", "worksteal", "tests/unit", "tests/contract"]
    else:
        environment.install_npm_packages()
        variables["TEST_NODE"] = environment.node_command()
        variables["TEST_CHROMIUM"] = environment.chromium_command()
        variables["TEST_REDIS"] = environment.redis_command()
        variables["TEST_NGINX"] = environment.nginx_command()
    for check in CHECKS:
        status = subprocess.call([environment.PYTHON, "-m", *check], cwd=environment.ROOT)
        if status:
            return status
    if not fast and audit.audit():
        return 1
    return subprocess.call([environment.PYTHON, "-m", "pytest", *arguments], cwd=environment.ROOT, env=variables)


if __name__ == "__main__":
    sys.exit(main())
