"""Applies a `*** Begin Patch` patch to the work tree: all of it or nothing. Knows no git.

Everything is computed in memory first, then written next to the files, then renamed into place. Context is sought
exactly, then without trailing white space, then without any around it, then with typographic characters made plain;
lines the patch keeps stay as they are in the file, and the file's line ends, mode and last newline too.
"""

import difflib
import stat
from dataclasses import dataclass, field
from pathlib import Path

from services.agent import lines, patch_text
from services.agent.tree import Staged, Tree
from services.chassis.errors import ServiceError
from services.wire.agent import PatchReply, PatchRequest
from services.wire.errors import ErrorCode
from services.wire.tasks import FileChange


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    mode: int | None


@dataclass(slots=True)
class _Plan:
    """What the tree will be: None is a file that goes away."""

    after: dict[Path, _File | None] = field(default_factory=dict)
    changes: list[FileChange] = field(default_factory=list)


class Patcher:
    """Applies patches to one work tree. Blocking: call it in a thread."""

    def __init__(self, tree: Tree, *, file_bytes: int) -> None:
        self._tree = tree
        self._file_bytes = file_bytes

    def apply(self, request: PatchRequest) -> PatchReply:
        """Apply a patch and return the files it touched.

        Raises:
            ServiceError: invalid_field with the line and the nearest match, not_found, conflict, too_large.
        """
        plan = _Plan()
        for operation in patch_text.parse(request.patch):
            match operation:
                case patch_text.Add():
                    self._add(operation, plan)
                case patch_text.Delete():
                    self._delete(operation, plan)
                case patch_text.Update():
                    self._update(operation, plan)
        self._write(plan)
        return PatchReply(files=plan.changes)

    def _add(self, operation: patch_text.Add, plan: _Plan) -> None:
        path = self._tree.writable(operation.path)
        if self._exists(path, plan):
            message = f"{self._tree.shown(path)} exists already; use '*** Update File:', or delete it first."
            raise ServiceError(ErrorCode.CONFLICT, message)
        content = operation.content.encode()
        plan.after[path] = _File(content, None)
        plan.changes.append(self._change(path, "added", b"", content))

    def _delete(self, operation: patch_text.Delete, plan: _Plan) -> None:
        # A link is removed itself, not what it points to.
        path = self._tree.writable(operation.path, follow=False)
        if path in plan.after:
            before = self._read(path, plan).content
        elif path.is_symlink():
            before = b""
        else:
            before = self._tree.read(path, self._file_bytes)[0]
        plan.after[path] = None
        plan.changes.append(self._change(path, "deleted", before, b""))

    def _update(self, operation: patch_text.Update, plan: _Plan) -> None:
        path = self._tree.writable(operation.path)
        file = self._read(path, plan)
        try:
            content = lines.updated(file.content, operation.hunks)
        except lines.NoMatch as problem:
            message = f"{self._tree.shown(path)}: {problem}"
            raise ServiceError(ErrorCode.INVALID_FIELD, message) from problem
        target = path
        if operation.move_to is not None:
            target = self._tree.writable(operation.move_to)
            if target != path and self._exists(target, plan):
                message = f"{self._tree.shown(target)} exists already; move to another name, or delete it first."
                raise ServiceError(ErrorCode.CONFLICT, message)
            plan.after[path] = None
        plan.after[target] = _File(content, file.mode)
        status = "modified" if target == path else "renamed"
        plan.changes.append(self._change(target, status, file.content, content))

    def _exists(self, path: Path, plan: _Plan) -> bool:
        if path in plan.after:
            return plan.after[path] is not None
        return path.exists() or path.is_symlink()

    def _read(self, path: Path, plan: _Plan) -> _File:
        if path not in plan.after:
            content, mode = self._tree.read(path, self._file_bytes)
            return _File(content, stat.S_IMODE(mode))
        planned = plan.after[path]
        if planned is None:
            raise ServiceError(ErrorCode.NOT_FOUND, f"{self._tree.shown(path)} was removed earlier in this patch.")
        return planned

    def _write(self, plan: _Plan) -> None:
        staged: list[Staged] = []
        try:
            for path, file in plan.after.items():
                if file is not None:
                    staged.append(self._tree.stage(path, file.content, file.mode))
            while staged:
                self._tree.publish(staged[0])
                staged.pop(0)
        finally:
            for left in staged:
                self._tree.discard(left)
        for path, file in plan.after.items():
            if file is None and (path.exists() or path.is_symlink()):
                self._tree.remove(path)

    def _change(self, path: Path, status: str, before: bytes, after: bytes) -> FileChange:
        added, removed = _counts(before, after)
        shown = self._tree.shown(path)
        return FileChange.model_validate({"path": shown, "status": status, "added": added, "removed": removed})


def _counts(before: bytes, after: bytes) -> tuple[int, int]:
    old, new = before.split(b"\n"), after.split(b"\n")
    if not before or not after:
        return len(new) - (new[-1] == b""), len(old) - (old[-1] == b"")
    added = removed = 0
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=True).get_opcodes():
        if tag != "equal":
            added, removed = added + j2 - j1, removed + i2 - i1
    return added, removed
