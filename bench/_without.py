"""A function as it would be without a part of its work: the same source, less what some expressions lead to.

Each mark is an expression of the function, as source. It stands for what it is when there is nothing to do,
None if nothing is said: a call of it is left out, a branch that depends on it is decided, a counter with its
name is not increased. A mark that the function does not have is an error: so a baseline cannot rot.

Rejected: copies of the hot paths without their telemetry, which nobody would keep up; a flag that they ask,
which is a part of what is to be measured.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any

Marks = Mapping[str, str | bool | None]


class Without:
    """Functions that can be changed for leaner ones, and back, while they are in use."""

    def __init__(self, parts: Sequence[tuple[Callable[..., Any], Marks]]) -> None:
        """Raises LookupError for a mark that its function does not have."""
        self._codes = [
            (function, function.__code__, lean_code(function, marks)) for function, marks in _plain(parts)
        ]

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        for function, _, lean in self._codes:
            function.__code__ = lean
        try:
            yield
        finally:
            self.restore()

    def restore(self) -> None:
        """Idempotent, but for what the interpreter has learned of the code, which is forgotten each time."""
        for function, whole, _ in self._codes:
            function.__code__ = whole


def _plain(parts: Sequence[tuple[Callable[..., Any], Marks]]) -> list[tuple[FunctionType, Marks]]:
    found = []
    for function, marks in parts:
        assert isinstance(function, FunctionType), function
        found.append((function, marks))
    return found


def lean_code(function: FunctionType, marks: Marks) -> CodeType:
    """Of a function that closes over nothing. Raises LookupError."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    without = _Reduction({ast.unparse(ast.parse(mark, mode="eval")): value for mark, value in marks.items()})
    reduced = ast.fix_missing_locations(without.visit(tree))
    if missing := set(without.marks) - without.found:
        raise LookupError(f"{function.__qualname__} has no {', '.join(sorted(missing))}")
    flags = __future__.annotations.compiler_flag
    made = compile(reduced, inspect.getfile(function), "exec", flags, dont_inherit=True)
    (code,) = (each for each in made.co_consts if isinstance(each, CodeType))
    assert code.co_freevars == function.__code__.co_freevars == (), function
    return code


class _Reduction(ast.NodeTransformer):
    def __init__(self, marks: Marks) -> None:
        self.marks = marks
        self.found: set[str] = set()

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Call) and (name := self._mark(node.func)) is not None:
            return ast.Constant(self.marks[name])
        is_read = isinstance(node, ast.expr) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
        if is_read and (name := self._mark(node)) is not None:
            return ast.Constant(self.marks[name])
        if isinstance(node, ast.AugAssign) and self._mark(node.target) is not None:
            return None
        return super().visit(node)

    def _mark(self, node: ast.AST) -> str | None:
        said = ast.unparse(node)
        if said not in self.marks:
            return None
        self.found.add(said)
        return said

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "finalbody"):  # what must not be empty
            if getattr(node, name, None) == [] and (name == "body" or getattr(node, "handlers", None) == []):
                setattr(node, name, [ast.Pass()])
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        self.generic_visit(node)
        return None if isinstance(node.value, ast.Constant) else node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt] | None:
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return (node.body if node.test.value else node.orelse) or None
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        decides = isinstance(node.op, ast.Or)
        kept: list[ast.expr] = []
        for each in node.values:
            if not isinstance(each, ast.Constant):
                kept.append(each)
            elif bool(each.value) is decides:
                return each  # what stands before it has no effect of its own
        if not kept:
            return node.values[-1]
        node.values = kept
        return node if len(kept) > 1 else kept[0]

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Constant):
            return ast.Constant(not node.operand.value)
        return node

    def visit_With(self, node: ast.With | ast.AsyncWith) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        kept = [item for item in node.items if not isinstance(item.context_expr, ast.Constant)]
        named = [item.optional_vars for item in node.items if item not in kept and item.optional_vars]
        before: list[ast.stmt] = [ast.Assign([name], ast.Constant(None)) for name in named]
        if kept:
            node.items = kept
            return [*before, node]
        return [*before, *node.body]

    visit_AsyncWith = visit_With  # noqa: N815
