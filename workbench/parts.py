"""Functions that are only ever called from compiled code: translated alone, optimised and assembled with their callers.

Numba optimises and assembles each function by itself, with all that it calls, and again inside each of its callers: in
a program of several hundred nested functions most of its time. Here a *part* keeps its code as it was written; the
driver, which is what Python calls, links the parts that it needs, once each, and is optimised as a whole.
"""

from typing import Any

import llvmlite.binding as llvm
from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder, _LowerResult
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering


class PartLibrary(JITCodeLibrary):
    """Code as it was written, and which other code it calls."""

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def finalize(self) -> None:
        """Close the library; there is nothing to assemble."""
        self._finalized = True

    def closure(self) -> list[Any]:
        """This library and all that it calls, each once."""
        seen: dict[int, Any] = {}
        todo = [self]
        while todo:
            library = todo.pop()
            if id(library) not in seen:
                seen[id(library)] = library
                if isinstance(library, PartLibrary):
                    todo += reversed(library._linking_libraries)
        return list(seen.values())

    def _own(self) -> Any:
        return super()._get_module_for_linking()

    def _get_module_for_linking(self) -> Any:
        if self._shared_module is None:
            module = self._own().clone()
            for library in self.closure()[1:]:
                part = library._own() if isinstance(library, PartLibrary) else library._get_module_for_linking()
                module.link_in(part, preserve=True)
            self._shared_module = module
        return self._shared_module


class WholeLibrary(JITCodeLibrary):
    """What Python calls."""

    def add_linking_library(self, library: Any) -> None:
        """Link a library, and the parts that it needs."""
        library._ensure_finalized()
        wanted = library.closure() if isinstance(library, PartLibrary) else [library]
        self._linking_libraries += [other for other in wanted if other not in self._linking_libraries]

    def finalize(self) -> None:
        """Link, optimise and assemble."""
        self._raise_if_finalized()
        own = {f.name for f in self._final_module.functions if not f.is_declaration}
        for library in self._linking_libraries:
            self._reload_init.update(library._reload_init)
            part = library._own() if isinstance(library, PartLibrary) else library._get_module_for_linking()
            self._final_module.link_in(part, preserve=True)
        for function in self._final_module.functions:  # so that one that is called once becomes a part of its caller
            if not function.is_declaration and function.name not in own:
                function.linkage = llvm.Linkage.internal
        self._optimize_final_module()
        self._final_module.verify()
        self._finalize_final_module()

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager()
        with self._recorded_timings.record("Module passes", builder):
            passes.run(self._final_module, builder)


class _NotFromPython:
    pass


@register_pass(mutates_CFG=True, analysis_only=False)
class PartLowering(NativeLowering):
    """Lowering without assembling."""

    _name = "part_lowering"

    def run_pass(self, state: Any) -> bool:
        """Lower to LLVM's language, and leave it at that."""
        flags = state.flags
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        super().run_pass(state)
        lowered = state["cr"]
        name = [].append  # calls are resolved by an entry point of its own
        state.targetctx.insert_user_function(name, lowered.fndesc, [state.library])
        state["cr"] = _LowerResult(lowered.fndesc, lowered.call_helper, cfunc=name, env=lowered.env)
        return True


class PartCompiler(CompilerBase):
    """Compiles a part."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        codegen = self.state.targetctx.codegen()
        self.state.library = PartLibrary(codegen, "part")

    def define_pipelines(self) -> list[Any]:
        """The usual passes but for the last."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [(PartLowering if kind is NativeLowering else kind, why) for kind, why in passes.passes]
        passes._finalized = False
        passes.finalize()
        return [passes]


class WholeCompiler(CompilerBase):
    """Compiles a driver."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        codegen = self.state.targetctx.codegen()
        self.state.library = WholeLibrary(codegen, "whole")
        self.state.library.enable_object_caching()

    def define_pipelines(self) -> list[Any]:
        """The usual passes."""
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


class PartDispatcher(CPUDispatcher):
    """Compiled for callers that are compiled; called from Python, a version of its own is compiled as a whole."""

    whole: Any = None

    def add_overload(self, cres: Any) -> None:
        """Keep a version; Python can't call it."""
        self.overloads[tuple(cres.signature.args)] = cres

    def __call__(self, *arguments: Any) -> Any:
        """Call from Python."""
        return self.whole(*arguments)
