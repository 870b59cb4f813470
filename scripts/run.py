"""Set up everything and start the server with the demo backend: ``python scripts/run.py [options of hazoom_ws]``."""

import os
import subprocess
import sys

import environment


def main() -> int:
    environment.install_python_packages()
    command = [str(environment.PYTHON), "-m", "hazoom_ws", "--demo", *sys.argv[1:]]
    if os.name == "posix":
        os.execv(command[0], command)  # noqa: S606
    with subprocess.Popen(command) as server:
        while True:
            try:
                return server.wait()
            except KeyboardInterrupt:
                continue  # Ctrl-C reached the server as well, which ends by itself


if __name__ == "__main__":
    sys.exit(main())
