"""How a plugin's object comes to be: the options from the configuration, and what it is given beside."""

import difflib
import inspect
from collections.abc import Mapping
from types import ModuleType

from smtp_router.core.errors import PluginError
from smtp_router.hooks.given import Giver, asked_for, gifts
from smtp_router.hooks.plugin import Target


class Constructor:
    """A module or class, looked at once: there is an instance for each of ten thousand users.

    Args:
        target: that.
    """

    __slots__ = ("_given", "_is_known", "_signature", "target")

    def __init__(self, target: Target) -> None:
        """See the class."""
        self.target = target
        self._signature = inspect.Signature()
        self._is_known = False
        if not isinstance(target, ModuleType):
            try:
                self._signature = inspect.signature(target)
            except (ValueError, TypeError):  # a class of C, which says nothing about itself
                pass
            else:
                self._signature = _evaluated(target, self._signature)
                self._is_known = True
        self._given = asked_for(self._signature)

    def make(self, name: str, options: Mapping[str, object], giver: Giver) -> object:
        """The plugin's object: the module itself, or an instance of the class.

        Args:
            name: the plugin's name, for errors.
            options: what the configuration says.
            giver: has what the constructor asks for beside them.

        Raises:
            PluginError: the options are not what the constructor takes, or it refused them; `key` then
                names the option.
        """
        if isinstance(self.target, ModuleType):
            for option in options:
                message = "is not an option: this plugin is a module, which takes none"
                raise PluginError(name, message, key=f"options.{option}")
            return self.target
        if self._is_known:
            self._check(name, options)
        try:
            return self.target(**options, **gifts(self._given, giver))
        except PluginError as error:  # of one that it makes for itself
            raise PluginError(
                error.plugin,
                error.message,
                file=error.file,
                line=error.line,
                key=f"options.{error.key}" if error.key else "options",
            ) from error
        except (ValueError, TypeError) as error:
            # Its own words are for its users: constructors validate by raising these.
            key = "options" if options else ""
            raise PluginError(name, f"refuses its options: {error}", key=key) from error
        except BaseException as error:
            what = f"{type(error).__name__}: {error}"
            raise PluginError(name, f"failed when it was made: {what}") from error

    def _check(self, name: str, options: Mapping[str, object]) -> None:
        """Compare the options with the constructor's parameters."""
        given = self._given
        parameters = [one for one in self._signature.parameters.values() if one.name not in given]
        for option in options:
            if option in given:
                message = "is not an option: the router gives it"
                raise PluginError(name, message, key=f"options.{option}")
        known = [p.name for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            for option in options:
                if option not in known:
                    near = difflib.get_close_matches(option, known, 1)
                    takes = f"it takes {', '.join(known)}" if known else "it takes none"
                    hint = f"did you mean {near[0]}?" if near else takes
                    raise PluginError(name, f"is not an option: {hint}", key=f"options.{option}")
        for parameter in parameters:
            needed = parameter.name in known and parameter.default is parameter.empty
            if needed and parameter.name not in options:
                raise PluginError(name, "is missing", key=f"options.{parameter.name}")


def _evaluated(target: type, signature: inspect.Signature) -> inspect.Signature:
    """The same with annotations that are types, where they stand as text and can be looked up."""
    try:
        return inspect.signature(target, eval_str=True)
    except Exception:  # noqa: BLE001 - names that only a type checker knows
        return signature
