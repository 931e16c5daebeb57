# SPDX-License-Identifier: Apache-2.0
"""A BUILD folder on disk: written whole or not at all, and checked against its manifest when read."""

from __future__ import annotations

import hashlib
import json
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


def write_build(folder: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    """Write all files beside `folder`, then swap them in with one rename. An old build is replaced."""
    folder = folder.absolute()
    if (
        folder.exists()
        and not (folder / MANIFEST).is_file()
        and (not folder.is_dir() or any(folder.iterdir()))
    ):
        raise CompileError(
            str(folder), "exists and is no tinybound build", "a new or a build folder", "another -o"
        )
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
        partial.chmod(0o755)
        _swap(partial, folder)
    except OSError as error:
        raise CompileError(
            str(folder), f"cannot be written ({error.strerror or error})", "a writable folder"
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, old: Path) -> None:
    if old.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{old.name}.", dir=old.parent)) / "old"
        old.rename(aside)
        try:
            new.rename(old)
        except BaseException:
            aside.rename(old)
            raise
        finally:
            shutil.rmtree(aside.parent, ignore_errors=True)
    else:
        new.rename(old)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a build; CompileError if there is none."""
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(found.get("files"), dict):
            raise ValueError("no file list")
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
        try:
            files[name] = path.read_bytes()
        except OSError as error:
            raise CompileError(str(path), "missing", "a complete build", "tinybound compile again") from error
        if sha256(files[name]) != wanted:
            raise CompileError(
                str(path), "changed since it was built", f"SHA-256 {wanted[:16]}...", "compile again"
            )
    return files
