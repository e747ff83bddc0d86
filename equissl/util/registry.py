"""Registry of things by name: built in, from other packages through entry points, or by import path."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from importlib.metadata import entry_points
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*[.:][^\W\d]\w*")


class Registry(MutableMapping[str, T], Generic[T]):
    """A mapping from names to things of one sort.

    A name is looked up among what was registered here, then among the entry points of ``group`` that installed packages
    declare, and is last read as an import path, ``package.module.Name`` or ``package.module:Name``. What is registered
    by import path is imported when it is first asked for.

    Args:
        noun: what the things are called in errors: ``method``.
        builtin: things, or their import paths ``package.module:Name``, by name.
        group: of entry points: ``equissl.methods``.
        base: class, or one of several, or the import path of one: a class found by entry point or import path must be
            derived from it, any other thing be an instance of it. Of a protocol either must have the methods.
        error: type of the error for an unknown name.
    """

    def __init__(
        self,
        noun: str,
        builtin: Mapping[str, T | str] | None = None,
        group: str | None = None,
        base: type | tuple[type, ...] | str | None = None,
        error: type[Exception] = ValueError,
    ) -> None:
        self.noun, self.group, self.base, self.error = noun, group, base, error
        self._known: dict[str, T | str] = dict(builtin or {})
        self._outside: dict[str, Any] | None = None

    def register(self, name: str) -> Callable[[T], T]:
        """Register a thing under a name; a decorator.

        Raises:
            ValueError: a name that is taken by another thing.
        """

        def add(thing: T) -> T:
            if self._known.get(name, thing) is not thing:
                raise ValueError(f"{self.noun} {name!r} is registered already: {self._known[name]!r}")
            self._known[name] = thing
            return thing

        return add

    def __getitem__(self, name: str) -> T:
        """Return the thing of that name or import path.

        Raises:
            error: for an unknown name, with the nearest known one, or a thing that cannot be imported or is of another
                sort.
        """
        if name in self._known:
            return self._builtin(name)
        if name in self._entry_points():
            return self._checked(self._load_entry_point(name), name)
        if is_import_path(name):
            return self._checked(self._import(name), name)
        raise self.unknown(name)

    def unknown(self, name: str, others: Iterable[str] = ()) -> Exception:
        """Make the error for an unknown name, which says the nearest known one.

        Args:
            name: that nothing has.
            others: names that are allowed where this registry is used, beside its own.
        """
        known = [*self.names(), *others]
        hint = did_you_mean(name, known)
        return self.error(f"unknown {self.noun} {name!r}{hint}; expected one of {', '.join(known)}, or an import path")

    def __setitem__(self, name: str, thing: T) -> None:
        self._known[name] = thing

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the thing of a known name, or the default.

        Args:
            name: an unknown one is no error here.
            default: for an unknown name.
        """
        if name not in self:
            return default
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self._known or name in self._entry_points()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def names(self) -> list[str]:
        """Return the known names, in the order of registration; those of other packages last."""
        return [*self._known, *(name for name in self._entry_points() if name not in self._known)]

    def name_of(self, thing: T) -> str:
        """Return the name under which this finds the thing: the registered one, or its import path."""
        path = _path(thing)
        for name, value in self._known.items():
            if value is thing or value == path:
                return name
        for name, point in self._entry_points().items():
            if point.value.replace(" ", "") == path:
                return name
        return path.replace(":", ".")

    def path_of(self, name: str) -> str:
        """Return the import path of a name, of an instance that of its class, and import nothing for it.

        Raises:
            error: for an unknown name, with the nearest known one.
        """
        value = self._known.get(name)
        if isinstance(value, str):
            return value
        if value is not None:
            return _path(value if hasattr(value, "__qualname__") else type(value))
        if name in self._entry_points():
            return self._entry_points()[name].value.replace(" ", "")
        if is_import_path(name):
            return ":".join(name.replace(":", ".").rsplit(".", 1))
        raise self.unknown(name)

    def _builtin(self, name: str) -> T:
        value = self._known[name]
        if isinstance(value, str):
            module, _, attribute = value.partition(":")
            value = self._known[name] = getattr(importlib.import_module(module), attribute)
        return value

    def _entry_points(self) -> dict[str, Any]:
        if self._outside is None:
            found = entry_points(group=self.group) if self.group else ()
            self._outside = {point.name: point for point in found}
        return self._outside

    def _load_entry_point(self, name: str) -> T:
        try:
            return self._entry_points()[name].load()
        except (ImportError, AttributeError) as error:
            raise self.error(f"cannot load {self.noun} {name!r} of another package: {error}") from error

    def _import(self, path: str) -> T:
        module, _, attribute = path.replace(":", ".").rpartition(".")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise self.error(f"cannot import {self.noun} {path!r}: {error}") from error

    def _checked(self, thing: T, name: str) -> T:
        bases = _resolve(self.base)
        if bases and not any(_fits(thing, base) for base in bases):
            wanted = " or ".join(base.__name__ for base in bases)
            raise self.error(f"expected {self.noun} {name!r} to be a {wanted}, got {thing!r}")
        return thing


def _path(thing: object) -> str:
    return f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', '')}"


def is_import_path(name: str) -> bool:
    """Return True for ``package.module.Name`` and ``package.module:Name``."""
    return _IMPORT_PATH.fullmatch(name) is not None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest the nearest known word, in brackets, to append to an error; empty where none is near. Case is ignored.

    Args:
        word: the unknown word.
        known: words to choose from.
    """
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), folded, n=1)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""


def check_options(owner: str, given: Iterable[str], known: Iterable[str], error: type[Exception] = ValueError) -> None:
    """Refuse options that something does not have.

    Args:
        owner: whose options they are: ``objective 'nt_xent'``.
        given: names of the options given.
        known: names of those that exist.
        error: type of the error.

    Raises:
        error: naming the first unknown option, the nearest known one and all that exist.
    """
    options = sorted(known)
    for name in given:
        if name not in options:
            expected = f"expected one of {', '.join(options)}" if options else "it has none"
            raise error(f"{owner} has no option {name!r}{did_you_mean(name, options)}; {expected}")


def accepted(make: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the settings that a class or function takes as arguments.

    Args:
        make: the class or function.
        settings: values by name.
    """
    parameters = inspect.signature(make).parameters
    return {name: value for name, value in settings.items() if name in parameters}


def _resolve(base: type | tuple[type, ...] | str | None) -> tuple[type, ...]:
    if isinstance(base, str):
        module, _, attribute = base.partition(":")
        return (getattr(importlib.import_module(module), attribute),)
    return base if isinstance(base, tuple) else (base,) if base else ()


def _fits(thing: object, base: type) -> bool:
    if Protocol in base.__bases__:
        methods = (name for name, value in vars(base).items() if callable(value) and not _is_internal(name))
        return all(callable(getattr(thing, name, None)) for name in methods)
    return issubclass(thing, base) if isinstance(thing, type) else isinstance(thing, base)


def _is_internal(name: str) -> bool:
    return name.startswith("_") and name != "__len__"
