"""Copy what the built-in pages need of npm into the package: ``python scripts/vendor.py``, after a change of scripts/npm.

The copies are part of the project, so that a page needs neither Node nor a network, wherever the package came from. A
test holds them equal to the locked npm packages.
"""

import json
import subprocess
import sys
import tempfile
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
# The editor of documents is some twenty packages, of which a bundler makes one module.
BUNDLE = "editor.min.js"
BUNDLING = [
    "--bundle",
    "--minify",
    "--format=esm",
    "--platform=browser",
    "--target=es2022",
    "--legal-comments=none",  # they are in LICENSES.txt
    "--alias:socket.io-client=./page_client.mjs",
    "--log-level=error",
]


def contents(packages: Path) -> dict[str, bytes]:
    """Return each file by its name, with the licences in one, from the folder of installed packages.

    What a browser's tools would ask for, the maps of the sources, is not there, so its comments are left out.
    """
    files = {name: _without_map((packages / path).read_bytes()) for name, path in FILES.items()}
    files[BUNDLE], bundled = _bundle(packages)
    titles_by_text: dict[str, list[str]] = {}  # many packages of the editor have one text in common
    for title, path in {**LICENSES, **{name: f"{name}/LICENSE" for name in bundled}}.items():
        titles_by_text.setdefault((packages / path).read_text("utf-8").strip(), []).append(title)
    texts = (f"# {', '.join(titles)}\n\n{text}\n" for text, titles in titles_by_text.items())
    return {**files, "LICENSES.txt": "\n\n".join(texts).encode()}


def _bundle(packages: Path) -> tuple[bytes, list[str]]:
    """Return `scripts/npm/editor.mjs` with all that it imports as one module, and the names of the packages in it."""
    with tempfile.TemporaryDirectory() as folder:
        module, report = Path(folder, BUNDLE), Path(folder, "report.json")
        bundler = [environment.node_command(), packages / "esbuild" / "bin" / "esbuild"]
        command = [*bundler, "editor.mjs", *BUNDLING, f"--outfile={module}", f"--metafile={report}"]
        subprocess.run(command, cwd=packages.parent, check=True)
        [output] = json.loads(report.read_text("utf-8"))["outputs"].values()
        inputs = [path.removeprefix("node_modules/").split("/") for path in output["inputs"] if "/" in path]
        return module.read_bytes(), sorted({"/".join(parts[: 1 + parts[0].startswith("@")]) for parts in inputs})


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
