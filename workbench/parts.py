"""Functions that are called from compiled code: translated by themselves, optimised and assembled with their callers.

Numba optimises and assembles every function by itself, and then again inside each of its callers: with several hundred
functions nested into each other that is most of its time. Here such a *part* keeps its code as it was translated. A
*whole*, which is what Python calls, links the parts that it needs, each once, and is optimised as one program.

This leans on numba's own interfaces (`numba.core`), as of numba 0.68.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numba
from numba.core.codegen import JITCodeLibrary, ll
from numba.core.compiler import CompilerBase, DefaultPassBuilder, _LowerResult
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering

from workbench.aliasing import tell_types


class _ToldTypes(JITCodeLibrary):
    """Code in which LLVM is told what loads and stores are of; simplified a little, once."""

    def add_ir_module(self, ir_module: Any) -> None:
        tell_types(ir_module)
        super().add_ir_module(ir_module)

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout
        passes, builder = self._codegen._function_pass_manager(opt=1)
        for function in module.functions:
            if not function.is_declaration:
                passes.run(function, builder)


class _PartLibrary(_ToldTypes):
    """A function's code, and the libraries of what it calls."""

    def finalize(self) -> None:
        self._finalized = True

    def needed(self) -> list[Any]:
        """List this library and all that it calls, at first or second hand, each once."""
        seen: dict[int, Any] = {}
        rest: list[Any] = [self]
        while rest:
            library = rest.pop()
            if id(library) not in seen:
                seen[id(library)] = library
                if isinstance(library, _PartLibrary):
                    rest += reversed(library._linking_libraries)
        return list(seen.values())

    def _get_module_for_linking(self) -> Any:  # by a caller that knows nothing of parts
        module = super()._get_module_for_linking().clone()
        for library in self.needed()[1:]:
            module.link_in(_for_linking(library), preserve=True)
        for function in module.functions:  # of which that caller may link others that have them too
            if not function.is_declaration and function.linkage in (ll.Linkage.external, ll.Linkage.weak_odr):
                function.linkage = ll.Linkage.linkonce_odr
        return module


def _for_linking(library: Any) -> Any:
    """Give a library's code, of which nothing goes missing: its callers may not have been linked yet."""
    if isinstance(library, _PartLibrary):
        return library._final_module
    module = library._get_module_for_linking().clone()
    for function in module.functions:
        if function.linkage == ll.Linkage.linkonce_odr:  # left out where nobody calls it by then
            function.linkage = ll.Linkage.weak_odr
    return module


class _WholeLibrary(_ToldTypes):
    """A function that Python calls, with all that it needs."""

    def add_linking_library(self, library: Any) -> None:
        library._ensure_finalized()
        wanted = library.needed() if isinstance(library, _PartLibrary) else [library]
        there = set(map(id, self._linking_libraries))
        self._linking_libraries += [other for other in wanted if id(other) not in there]

    def finalize(self) -> None:
        self._raise_if_finalized()
        own = {function.name for function in self._final_module.functions if not function.is_declaration}
        for library in self._linking_libraries:
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(_for_linking(library), preserve=True)
        # What nobody else can call is inlined where it is called once, and goes when it is called no more.
        for function in self._final_module.functions:
            if not function.is_declaration and function.name not in own:
                function.linkage = ll.Linkage.internal
        self._optimize_final_module()
        self._final_module.verify()
        self._finalize_final_module()

    def _optimize_final_module(self) -> None:
        # One round. (Numba's own first round looks for reference counts that cancel out.) Loops over pages or nodes are
        # short, and each turn depends on the one before: vectorising finds nothing in them.
        passes, builder = self._codegen._module_pass_manager(loop_vectorize=False, slp_vectorize=False)
        with self._recorded_timings.record("Module passes", builder):
            passes.run(self._final_module, builder)


@register_pass(mutates_CFG=True, analysis_only=False)
class _PartLowering(NativeLowering):
    """Translate to LLVM's language, and leave it at that."""

    _name = "part_lowering"

    def run_pass(self, state: Any) -> bool:
        flags = state.flags
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        super().run_pass(state)
        lowered = state["cr"]
        # Callers find a function by its entry point, for which numba takes built-in functions only: one that is like no
        # other stands for it. It is never called.
        entry: Any = [].append
        state.targetctx.insert_user_function(entry, lowered.fndesc, [state.library])
        state["cr"] = _LowerResult(lowered.fndesc, lowered.call_helper, cfunc=entry, env=lowered.env)
        return True


class PartCompiler(CompilerBase):
    """Numba's passes for a part; the ``pipeline_class`` of what is not made by `part`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.state.library = _PartLibrary(self.state.targetctx.codegen(), "part")

    def define_pipelines(self) -> list[Any]:
        """Give the usual passes, but for the last."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [(_PartLowering if kind is NativeLowering else kind, why) for kind, why in passes.passes]
        passes._finalized = False
        passes.finalize()
        return [passes]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pause Python's search for garbage: translating makes many objects that stay, and each search looks at them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _WholeCompiler(CompilerBase):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.state.library = _WholeLibrary(self.state.targetctx.codegen(), "whole")
        self.state.library.enable_object_caching()

    def compile_extra(self, func: Callable[..., Any]) -> Any:
        """Compile, with all that it calls."""
        with _no_garbage_collection():
            return super().compile_extra(func)

    def define_pipelines(self) -> list[Any]:
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


class _PartDispatcher(CPUDispatcher):
    """A part for compiled callers; Python calls a whole of its own."""

    keep: bool
    given: dict[str, Any]

    @cached_property
    def whole(self) -> Callable[..., Any]:
        return whole(self.py_func, self.keep, **self.given)

    def add_overload(self, cres: Any) -> None:
        self.overloads[tuple(cres.signature.args)] = cres  # which Python must not find

    def __call__(self, *arguments: Any) -> Any:
        return self.whole(*arguments)


def part(function: Callable[..., Any], keep: bool, **options: Any) -> Any:
    """Compile a function for compiled callers.

    Parameters
    ----------
    function : callable
    keep : bool
        Keep on disk what is compiled for Python, should Python call it.
    **options
        Numba's.
    """
    if numba.config.DISABLE_JIT:
        return function
    made = _PartDispatcher(function, targetoptions={"nopython": True, **options}, pipeline_class=PartCompiler)
    made.keep, made.given = keep, options
    return made


def whole(function: Callable[..., Any], keep: bool, **options: Any) -> Any:
    """Compile a function for Python, with all the parts that it needs.

    Parameters
    ----------
    function : callable
    keep : bool
        Keep it on disk.
    **options
        Numba's.
    """
    return numba.njit(cache=keep, pipeline_class=_WholeCompiler, **options)(function)
