"""Plugins by path: loaded from their bytes, and again when these change.

A file is compiled into a fresh module that stands in `sys.modules` under a private name: `import`
would take a stale `.pyc` within the same second, and `@dataclass` looks its module up. A version that
does not load leaves the last good one at work, and is logged once.
"""

import hashlib
import logging
import sys
import traceback
from pathlib import Path
from types import ModuleType

from smtp_router.core.errors import PluginError
from smtp_router.disk import UntrustedFileError, Watch
from smtp_router.hooks.plugin import Target, target_of

log = logging.getLogger(__name__)


class PluginFile:
    """One file that holds a plugin, with the last version of it that loaded."""

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self.path = path
        self._watch = Watch(path)
        self._target: Target | None = None
        self._module = ""
        self.digest = ""
        """SHA-256 of the version that is at work."""

    @property
    def seen(self) -> str:
        """SHA-256 of the version that was last looked at, good or broken."""
        return self._watch.digest

    def changed(self) -> bool:
        """Whether the file differs from what was last looked at, good or broken."""
        return self._watch.changed()

    def is_still(self, version: str) -> bool:
        """Whether this version was the last that was looked at, and the file holds it still."""
        return self._watch.digest == version and not self._watch.changed()

    def load(self, name: str, *, trust_all: bool = False) -> Target:
        """The plugin in this file, in its newest version that loads.

        Args:
            name: the plugin's name, for errors.
            trust_all: take a file that others may write, too.

        Raises:
            PluginError: it does not load, and there is no good version from before.
        """
        if self._target is not None and not self._watch.changed():
            return self._target
        try:
            source = self._watch.read(trusted=not trust_all)
            if self._target is None or self._watch.digest != self.digest:
                self._replace(name, source)
        except UntrustedFileError as error:
            hint = "; allow_writable_plugins: true lifts this"
            self._keep_or_raise(PluginError(name, f"{error}{hint}"))
        except OSError as error:
            message = f"cannot be read: {error.strerror} ({self.path})"
            self._keep_or_raise(PluginError(name, message))
        except PluginError as error:
            self._keep_or_raise(error)
        assert self._target is not None
        return self._target

    def _keep_or_raise(self, error: PluginError) -> None:
        if self._target is None:
            raise error
        log.error(
            "plugin not reloaded, its last good version stays",
            extra={"fields": {"plugin": error.plugin, "error": str(error)}},
        )

    def _replace(self, name: str, source: bytes) -> None:
        module = _load_module(name, self.path, source, self._watch.digest)
        try:
            self._target = target_of(name, module)
        except PluginError as error:
            sys.modules.pop(module.__name__, None)
            raise PluginError(name, error.message, file=str(self.path), line=1) from error
        sys.modules.pop(self._module, None)
        self._module = module.__name__
        self.digest = self._watch.digest
        log.info(
            "plugin loaded",
            extra={"fields": {"plugin": name, "file": str(self.path), "sha256": self.digest}},
        )


def _load_module(name: str, path: Path, source: bytes, digest: str) -> ModuleType:
    """Compile and run the bytes as a module under a private name.

    Raises:
        PluginError: it does not compile, or raised while it was imported; with file and line.
    """
    place = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    module = ModuleType(f"_smtp_router_plugin_{path.stem}_{place}_{digest[:12]}")
    module.__file__ = str(path)
    try:
        code = compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        message = f"syntax error: {error.msg}"
        raise PluginError(name, message, file=str(path), line=error.lineno or 1) from error
    except Exception as error:  # a NUL byte, nesting that is too deep
        message = f"does not compile: {type(error).__name__}: {error}"
        raise PluginError(name, message, file=str(path), line=1) from error
    sys.modules[module.__name__] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 - this is what loading a plugin means
    except BaseException as error:
        sys.modules.pop(module.__name__, None)
        line = next(
            (
                frame.lineno or 1
                for frame in reversed(traceback.extract_tb(error.__traceback__))
                if frame.filename == str(path)
            ),
            1,
        )
        message = f"failed on import: {type(error).__name__}: {error}"
        raise PluginError(name, message, file=str(path), line=line) from error
    return module
