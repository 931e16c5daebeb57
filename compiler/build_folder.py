# SPDX-License-Identifier: Apache-2.0
"""A BUILD folder on disk: written whole or not at all, and checked against its manifest when read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import CompileError
from .network_file import dump_json

MANIFEST = "manifest.json"


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def tree_hash(files: Mapping[str, bytes]) -> str:
    """One hash for a folder of files: of the sorted lines "hash  path"."""
    lines = "".join(f"{sha256(files[name])}  {name}\n" for name in sorted(files))
    return sha256(lines.encode())


def check_target(folder: Path) -> None:
    """CompileError unless `folder` is a build, an empty folder, or nothing yet in a writable place."""
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not empty and not (folder / MANIFEST).is_file():
        raise CompileError(
            str(folder), "exists and is no tinybound build", "a new or a build folder", "another -o"
        )
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise CompileError(str(folder), f"{above} is no writable folder", "a writable folder", "another -o")


def write_build(folder: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    """Write all files beside `folder`, then swap them in with one rename. An old build is replaced.

    What a user put into the old build, files that its manifest does not list, is kept.
    """
    folder = folder.resolve()
    check_target(folder)
    hashes = {name: sha256(data) for name, data in sorted(files.items())}
    everything = {**files, MANIFEST: dump_json({**manifest, "files": hashes})}
    partial: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        for name, data in everything.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if (folder / MANIFEST).is_file():
            _keep_foreign(folder, partial)
        partial.chmod(0o755)
        _swap(partial, folder)
    except OSError as error:
        raise CompileError(
            str(folder), f"cannot be written ({error.strerror or error})", "a writable folder"
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _keep_foreign(old: Path, new: Path) -> None:
    """Link the files of an old build that its manifest does not list into the new one."""
    ours = {MANIFEST, *read_manifest(old)["files"]}
    for path in sorted(old.rglob("*")):
        name = path.relative_to(old)
        target = new / name
        if name.as_posix() in ours or (path.is_dir() and not path.is_symlink()) or target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(path)
        except OSError:  # a file system without links
            shutil.copy2(path, target, follow_symlinks=False)


def _swap(new: Path, old: Path) -> None:
    if not old.exists():
        new.rename(old)
        return
    with tempfile.TemporaryDirectory(prefix=f".{old.name}.", dir=old.parent) as place:
        aside = Path(place) / "old"
        try:
            old.rename(aside)
            new.rename(old)
        except BaseException:  # Ctrl-C too: the old build comes back
            if aside.exists() and not old.exists():
                aside.rename(old)
            raise


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a build; CompileError if there is none."""
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
            raise ValueError("no list of files")
    except (OSError, ValueError) as error:
        raise CompileError(
            str(folder), f"no readable {MANIFEST} ({error})", "a folder made by tinybound compile"
        ) from error
    return found


def read_files(folder: Path) -> dict[str, bytes]:
    """Every file of a build, each compared with its hash in the manifest."""
    files = {}
    for name, wanted in read_manifest(folder)["files"].items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise CompileError(str(folder), f"lists {name!r}", "files inside the build")
        try:
            files[name] = path.read_bytes()
        except OSError as error:
            raise CompileError(str(path), "missing", "a complete build", "tinybound compile again") from error
        if sha256(files[name]) != wanted:
            raise CompileError(
                str(path), "changed since it was built", f"SHA-256 {wanted[:16]}...", "compile again"
            )
    return files
