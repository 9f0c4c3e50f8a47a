"""Any exception as what a person should read, and the exit code that goes with it.

0 done, 2 the user can mend it (one line), 1 a bug of ours (traceback), 130 interrupted.
"""

from __future__ import annotations

import errno
import traceback
from pathlib import Path
from traceback import FrameSummary

from hlml.errors import UserError

PACKAGE = Path(__file__).parent
SURROUNDINGS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
SURROUNDINGS |= {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR}


def explain(error: BaseException, trust: tuple[str, ...] = ()) -> tuple[str, int]:
    """The text for stderr and the exit code."""
    if isinstance(error, UserError):
        return one_line(error), 2
    if isinstance(error, SyntaxError) and not _ours(error.filename):
        where = f"{_short(error.filename)}:{error.lineno}"
        return f"hlml: {where}: {error.msg}: {(error.text or '').strip()}", 2
    frames = _frames_of_user(error, trust)
    if frames:
        return _theirs(error, frames), 2
    if isinstance(error, OSError) and error.errno in SURROUNDINGS:
        return f"hlml: {error.filename or 'a file'}: {error.strerror}", 2
    if _refused_argument(error):
        return one_line(error), 2
    return "".join(traceback.format_exception(error)).rstrip(), 1


def one_line(error: BaseException) -> str:
    """An error's text as one line that cannot move the terminal's cursor."""
    words = " ".join(str(error).split()) or type(error).__name__
    return "hlml: " + "".join(letter if letter.isprintable() else "?" for letter in words)


def _frames_of_user(error: BaseException, trust: tuple[str, ...]) -> list[FrameSummary]:
    """The frames in the user's own modules: a homework's model.py, or a package they trust."""
    tops = {"homeworks", *(name.split(".")[0] for name in trust)}
    frames = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__", "")).split(".")[0] in tops:
            code = frame.f_code
            frames.append(FrameSummary(_short(code.co_filename), line, code.co_name))
            frames[-1] = FrameSummary(
                _short(code.co_filename), line, code.co_name, line=_source(code.co_filename, line)
            )
    return frames


def _source(path: str, line: int) -> str:
    try:
        return Path(path).read_text(errors="replace").splitlines()[line - 1].strip()
    except (OSError, IndexError):
        return ""


def _theirs(error: BaseException, frames: list[FrameSummary]) -> str:
    last = frames[-1]
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    head = f"hlml: {last.filename}:{last.lineno}: {last.line}: {what}"
    return "\n".join([head, *"".join(traceback.format_list(frames)).rstrip().splitlines()])


def _refused_argument(error: BaseException) -> bool:
    """torch's own constructors check what a signature cannot say (nesterov needs momentum)."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not frames or not isinstance(error, ValueError | TypeError):
        return False
    module = str(frames[-1].f_globals.get("__name__", ""))
    inside = module.startswith(("torch.optim", "torch.nn.modules"))
    return inside and frames[-1].f_code.co_name == "__init__"


def _ours(filename: str | None) -> bool:
    return filename is None or Path(filename).is_relative_to(PACKAGE)


def _short(filename: str | None) -> str:
    path = Path(filename or "?")
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
