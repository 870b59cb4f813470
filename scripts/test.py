"""Set up everything and run all checks: ``python scripts/test.py [--fast] [arguments of pytest]``.

``--fast`` runs what needs nothing but Python packages: format, lint, types and the unit tests, but for long ones.
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
# One more than there are cores: many tests wait for a lease or a time-out to run out.
_SIDE_BY_SIDE = ("-n", str(min((os.cpu_count() or 1) + 1, 4)), "--dist")


def main() -> int:
    arguments = sys.argv[1:]
    fast = "--fast" in arguments
    runs = [arguments]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HAZOOM_")}
    environment.install_python_packages("test")
    if fast:
        arguments = [argument for argument in arguments if argument != "--fast"]
        runs = [[*arguments, *_SIDE_BY_SIDE, "worksteal", "-m", "not long and not redis", "tests/unit", "tests/contract"]]
    else:
        if not arguments:
            # What measures how long somebody waits runs alone.
            runs = [[*_SIDE_BY_SIDE, "loadfile", "--ignore", "tests/chaos"], ["tests/chaos"]]
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
    pytest = [environment.PYTHON, "-m", "pytest"]
    return max(subprocess.call([*pytest, *run], cwd=environment.ROOT, env=variables) for run in runs)


if __name__ == "__main__":
    sys.exit(main())
