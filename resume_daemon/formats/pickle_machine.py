"""What loading a pickle would run, kept as inert nodes and a list of references.

Held against CPython's ``Lib/pickle.py`` for what each instruction would do. Nothing is imported,
and nothing that the pickle names is called.
"""

from __future__ import annotations

import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.formats.expansion import CONTAINERS, children
from resume_daemon.formats.inert_values import (
    COMPUTED,
    Call,
    GlobalReference,
    How,
    PersistentReference,
)
from resume_daemon.formats.pickle_budget import CALL, DICT, GLOBAL, RARE, SLOT, TUPLE
from resume_daemon.formats.pickle_source import Left
from resume_daemon.formats.pickle_stack import PickleStack
from resume_daemon.formats.plain_calls import NOT_PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resume_daemon.formats.inert_values import Limits
    from resume_daemon.formats.pickle_budget import Budget
    from resume_daemon.formats.pickle_source import Source
    from resume_daemon.formats.plain_calls import Rebuilder

# Functions that hand on what they are given: by position, what they do with the argument.
_PASSED_ON: Final[Mapping[tuple[str, str], Mapping[int, How]]] = {
    ("copyreg", "_reconstructor"): {0: How.NEW, 1: How.CALL},
    ("copyreg", "__newobj__"): {0: How.NEW},
    ("copyreg", "__newobj_ex__"): {0: How.NEW},
    ("numpy._core.multiarray", "_reconstruct"): {0: How.NEW},
    ("numpy.core.multiarray", "_reconstruct"): {0: How.NEW},
    ("numpy.random._pickle", "__bit_generator_ctor"): {0: How.NEW},
    ("numpy.random._pickle", "__generator_ctor"): {1: How.CALL},
    ("numpy.random._pickle", "__randomstate_ctor"): {1: How.CALL},
    ("torch._tensor", "_rebuild_from_type_v2"): {0: How.CALL, 1: How.NEW},
    ("torch._utils", "_rebuild_wrapper_subclass"): {0: How.NEW},
}

# Attributes that loading looks up on an object and calls: setting one makes a later opcode call it.
_HOOKS: Final = frozenset({"__setstate__", "__class__", "append", "extend", "add"})

_LOOKED_INTO: Final = frozenset({("builtins", "getattr"), ("torch.storage", "_load_from_bytes")})
_WITH_STATE: Final = ("torch._utils", "_rebuild_parameter_with_state")
_SPECIAL: Final = _LOOKED_INTO | _PASSED_ON.keys() | {_WITH_STATE}

_LOOKED_AGAIN: Final = 500
"""Steps that it costs to go to another place of the file and back."""

_CAPITALIZED: Final = re.compile(r"_?[A-Z][A-Za-z0-9_]*")
_NEWEST_PROTOCOL: Final = 5
_GRAVITY: Final = {how: place for place, how in enumerate(How)}


class PickleMachine(PickleStack):
    """One reading of one pickle; ``references`` is what it named, with the gravest use of each."""

    def __init__(
        self,
        source: Source,
        begin: int,
        limits: Limits,
        budget: Budget,
        *,
        rebuilders: Mapping[tuple[str, str], Rebuilder],
        nested: Callable[[PickleMachine, Source, int], None],
    ) -> None:
        super().__init__(source, begin, limits, budget)
        self.references: dict[tuple[str, str], How] = {}
        self.protocol = 0
        self.rebuilders = rebuilders
        self.nested = nested

    def refer(self, module: str, name: str, how: How) -> None:
        """Note a reference, unless a graver use of it is known."""
        known = self.references.get((module, name))
        if known is None:
            self.budget.charge(RARE)
            if len(self.references) >= self.limits.references:
                raise ValueError(f"it names more than {self.limits.references} different things")
        if known is None or _GRAVITY[how] < _GRAVITY[known]:
            self.references[(module, name)] = how

    def use(self, function: Any, how: How) -> None:
        """Note that loading would call or instantiate ``function``."""
        if type(function) is GlobalReference:
            if self.references.get((function.module, function.name)) is not how:
                self.refer(function.module, function.name, how)
        elif how is How.NEW and _is_carried(function):
            pass  # Of a class that the pickle carries, which is told already.
        elif isinstance(function, Call):
            self.refer(COMPUTED, f"the result of a call of {_describe(function)}", How.CALL)
        else:
            self.refer(COMPUTED, f"a {type(function).__name__} used as a function", How.CALL)

    def push_global(self, module: str, name: str) -> None:
        """Push something importable, by its Python 3 name."""
        if self.protocol < 3:  # noqa: PLR2004 - pickle.py maps Python 2's names below protocol 3.
            module, name = NAME_MAPPING.get(
                (module, name), (IMPORT_MAPPING.get(module, module), name)
            )
        self.push_named(module, name)

    def push_named(self, module: str, name: str) -> None:
        """Push something importable."""
        if len(module) + len(name) > self.limits.name:
            raise ValueError(f"a name in it has {len(module) + len(name)} characters")
        self.refer(module, name, How.MENTION)
        self.push(GlobalReference(module, name), GLOBAL + len(module) + len(name))

    def stack_global(self) -> None:
        """Push something importable whose module and name lie on the stack."""
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("it names a global by something else than text")  # noqa: TRY004 - bad content.
        self.push_global(module, name)

    def call(self, function: Any, arguments: Any) -> None:
        """Push what a call would return."""
        if not isinstance(arguments, tuple):
            raise ValueError("it calls with arguments that are no tuple")  # noqa: TRY004 - bad content.
        if not isinstance(function, GlobalReference):
            self.use(function, How.CALL)
            self.push(Call(function, arguments, How.CALL), CALL)
            return
        key = (function.module, function.name)
        if key in _SPECIAL and self.call_special(function, key, arguments):
            return
        self.use(function, How.CALL)
        rebuilder = self.rebuilders.get(key)
        value = NOT_PLAIN if rebuilder is None else rebuilder(arguments, self.keys)
        if value is NOT_PLAIN:
            self.push(Call(function, arguments, How.CALL), CALL)
            return
        self.push(value)
        if arguments:
            if id(arguments) in self.shared:
                self.share_parts(arguments)
            if type(value) in CONTAINERS and value is not arguments[0]:
                # Of what it was made of, parts may stand elsewhere too.
                self.share(value)
                self.share_parts(value)
        elif type(value) in CONTAINERS:
            self.budget.charge(DICT)

    def call_special(
        self, function: GlobalReference, key: tuple[str, str], arguments: tuple[Any, ...]
    ) -> bool:
        """Note what else a call would do; return whether its outcome is on the stack already."""
        if key in _LOOKED_INTO:
            match key[1], arguments:
                case "getattr", (GlobalReference() as owner, str() as name) if (
                    _CAPITALIZED.fullmatch(name)
                ):
                    # How protocols 2 and 3 name a nested class, and Python 3.11.0 to 3.11.3 a
                    # member of an enumeration. The dotted name says the same, so nothing is left
                    # to compute.
                    if self.references.get(key) is How.MENTION:
                        del self.references[key]
                    self.push_named(owner.module, f"{owner.name}.{name}")
                    return True
                case "_load_from_bytes", (bytes() | Left() as content,):
                    self.use(function, How.CALL)
                    if isinstance(content, Left):
                        self.budget.charge(0, _LOOKED_AGAIN)
                        self.nested(self, self.source, content.begin)
                    else:
                        self.nested(self, content, 0)
                    self.push(Call(function, (), How.CALL), CALL)
                    return True
            return False
        self.use(function, How.CALL)
        if key == _WITH_STATE:
            if arguments:
                self.check_state(function, arguments[-1])
            return False
        for index, how in _PASSED_ON[key].items():
            if index < len(arguments) and not isinstance(arguments[index], str):
                self.use(arguments[index], how)
        if key[0] != "copyreg":
            return False
        if id(arguments) in self.shared:
            self.share_parts(arguments)
        self.reconstruct(key[1], arguments)
        return True

    def share_parts(self, owner: Any) -> None:
        """Note that what is in a container stands somewhere else too."""
        for part in children(owner):
            self.budget.charge(0, 1)
            self.share(part)

    def reconstruct(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Push what one of the three functions of ``copyreg`` that bypass constructors returns."""
        match name, arguments:
            case "_reconstructor", (made, _, state):
                given = () if state is None else (state,)
                self.push(Call(made, given, How.NEW), CALL)
            case "__newobj__", (made, *rest):
                self.push(Call(made, tuple(rest), How.NEW), CALL + SLOT * len(rest))
            case "__newobj_ex__", (made, tuple() as rest, dict() as keywords):
                self.push(Call(made, rest, How.NEW, keywords), CALL)
            case _:
                raise ValueError(f"it calls copyreg.{name} with the wrong arguments")

    def reduce(self) -> None:
        """Call the function below the arguments."""
        arguments = self.stack.pop()
        self.call(self.stack.pop(), arguments)

    def new_by_object(self) -> None:
        """Call the first value since the mark with the rest."""
        function, *arguments = self.since_mark() or [None]
        self.call(function, tuple(arguments))

    def new_by_instance(self) -> None:
        """Call a class named in two lines with what follows the mark."""
        module, name = self.line().decode(), self.line().decode()
        arguments = self.since_mark()
        self.push_global(module, name)
        self.call(self.stack.pop(), tuple(arguments))

    def new_object(self, *, keyworded: bool = False) -> None:
        """Make an object without its constructor."""
        keywords = self.stack.pop() if keyworded else None
        arguments, made = self.stack.pop(), self.stack.pop()
        if not isinstance(arguments, tuple) or (keyworded and not isinstance(keywords, dict)):
            raise ValueError("it makes an object with arguments that are no tuple")
        self.use(made, How.NEW)
        self.push(Call(made, arguments, How.NEW, keywords), CALL)

    def build(self) -> None:
        """Give the object on top its state."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Call):
            self.check_state(target.function, state)
            if target.state is None:
                target.state = state
            else:
                # A second state is hostile or exotic; it must not hide the first.
                self.budget.charge(TUPLE)
                target.state = (target.state, state)
        elif isinstance(target, (GlobalReference, PersistentReference)):
            # Setting attributes of something imported changes it for the whole process.
            self.refer(COMPUTED, f"a state set on {_describe(target)}", How.CALL)
        # Else a dict that stands for an OrderedDict, or a tensor: its attributes are no data.

    def check_state(self, owner: Any, state: Any) -> None:
        """Note attributes by which a state would make later instructions call something."""
        # Of a tuple that is a state, the second of two may be the attributes in slots.
        two = isinstance(state, tuple) and len(state) == 2  # noqa: PLR2004
        for part in state if two else (state,):
            if type(part) is dict:
                for name in _HOOKS:
                    if name in part:
                        self.refer(COMPUTED, f"{name} set on {_describe(owner)}", How.CALL)

    # What needs something outside.

    def protocol_is(self) -> None:
        """Take the protocol, which decides how names are mapped."""
        self.protocol = self.take(1)[0]
        if self.protocol > _NEWEST_PROTOCOL:
            raise ValueError(f"protocol {self.protocol} is not known")

    def frame(self) -> None:
        """Take the length of a frame; the frame itself needs no treatment."""
        length = self.number(8)
        if length > self.size - self.position:
            missing = length - self.size + self.position
            raise ValueError(f"it is cut short: {missing} bytes of a frame are missing")

    def extension(self) -> None:
        """Refuse a code of the extension registry."""
        raise ValueError("it uses the extension registry, which only its own program can resolve")

    def out_of_band(self) -> None:
        """Refuse a buffer that is not in the file."""
        raise ValueError("it refers to a buffer outside of it")


def _is_carried(function: Any) -> bool:
    """Return whether something is a class that cloudpickle put together from its code."""
    return (
        isinstance(function, Call)
        and isinstance(made_by := function.function, GlobalReference)
        and made_by.module == "cloudpickle.cloudpickle"
        and made_by.name == "_make_skeleton_class"
    )


def _describe(function: Any) -> str:
    """Return a word for what is called, without walking into it."""
    if isinstance(function, Call):
        function = function.function
    return str(function)[:200] if isinstance(function, GlobalReference) else "something computed"
