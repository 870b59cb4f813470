"""Copy what the built-in pages need of npm into the package: ``python scripts/vendor.py``, after a change of scripts/npm.

The copies are part of the project, so that a page needs neither Node nor a network, wherever the package came from. A
test holds them equal to the locked npm packages.
"""

import sys
from pathlib import Path

import environment

FOLDER = environment.ROOT / "src" / "hazoom_ws" / "web" / "static" / "vendor"
FILES = {
    "socket.io.min.js": "socket.io-client/dist/socket.io.min.js",
    "marked.umd.js": "marked/lib/marked.umd.js",
    "purify.min.js": "dompurify/dist/purify.min.js",
    "highlight.min.js": "@highlightjs/cdn-assets/es/highlight.min.js",
    "uplot.iife.min.js": "uplot/dist/uPlot.iife.min.js",
    "uplot.min.css": "uplot/dist/uPlot.min.css",
}
LICENSES = {
    "Socket.IO": "socket.io-client/LICENSE",
    "marked": "marked/LICENSE",
    "DOMPurify": "dompurify/LICENSE",
    "highlight.js": "@highlightjs/cdn-assets/LICENSE",
    "uPlot": "uplot/LICENSE",
}


def contents(packages: Path) -> dict[str, bytes]:
    """Return each file by its name, with the licences in one, from the folder of installed packages.

    What a browser's tools would ask for, the maps of the sources, is not there, so its comments are left out.
    """
    files = {name: _without_map((packages / path).read_bytes()) for name, path in FILES.items()}
    texts = (f"# {title}\n\n{(packages / path).read_text('utf-8').strip()}\n" for title, path in LICENSES.items())
    return {**files, "LICENSES.txt": "\n\n".join(texts).encode()}


def _without_map(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"//# sourceMappingURL="))


def main() -> int:
    environment.install_npm_packages()
    FOLDER.mkdir(exist_ok=True)
    for name, content in contents(environment.NPM / "node_modules").items():
        (FOLDER / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
