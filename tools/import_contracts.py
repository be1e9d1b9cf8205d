"""A contract that import-linter does not bring: some modules import the standard library only.

import-linter forbids packages by name; this forbids those that nobody has thought of yet, and the
listed parts of the standard library with them.
"""

import sys
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain.helpers import module_expressions_to_modules
from importlinter.domain.imports import ModuleExpression


class StandardLibraryOnly(Contract):
    """`modules` and all below import each other and the standard library, less `forbidden`."""

    type_name = "standard_library_only"

    modules = fields.SetField(subfield=fields.ModuleExpressionField())
    forbidden = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002, FBT001 - import-linter's signature
        """Collect the imports of packages that are neither ours nor an allowed library."""
        # On the class these are fields, on the instance their values.
        modules = cast("set[ModuleExpression]", self.modules)
        forbidden = cast("set[str]", self.forbidden)

        ours = {name.split(".")[0] for name in self.session_options["root_packages"]}
        allowed = ours | (sys.stdlib_module_names - forbidden)
        wrong = [
            (importer.name, imported)
            for importer in module_expressions_to_modules(graph, modules, as_packages=True)
            for imported in graph.find_modules_directly_imported_by(importer.name)
            if imported.split(".")[0] not in allowed
        ]
        return ContractCheck(kept=not wrong, metadata={"wrong": sorted(wrong)})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print a line for each wrong import."""
        for importer, imported in check.metadata["wrong"]:
            output.print_error(f"{importer} is not allowed to import {imported}")
        output.new_line()
