"""The ways to break a statement: a sign, an off-by-one, a dropped term, a swapped axis.

A statement is known by its text as ast.unparse writes it; of a compound one that is its first line, as in `if a < b:`.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SIGN, OFF_BY_ONE, DROPPED, AXIS = "sign", "off by one", "dropped term", "swapped axis"
KINDS = (SIGN, OFF_BY_ONE, DROPPED, AXIS)

# What such calls and statements are given is read by people: no test need hold it to the letter.
TOLD = {"print", "debug", "info", "warning", "error", "exception", "log", "warn", "say", "add_argument", "help"}
HOW_IT_LOOKS = {"alpha", "bbox_inches", "capsize", "color", "dpi", "figsize", "fontsize", "ha", "indent", "label"}
HOW_IT_LOOKS |= {"labelpad", "linestyle", "linewidth", "lw", "marker", "markersize", "rotation", "stacklevel", "va"}
HOW_IT_LOOKS |= {"width", "zorder", "encoding", "help", "metavar", "description"}

AXIS_NAMES = {"dim", "axis"}
# Their first number is an axis; of a function of torch or numpy, which has the tensor first, the second one.
AXIS_FIRST = {"all", "amax", "amin", "any", "argmax", "argmin", "argsort", "cat", "concatenate", "cumsum", "diff"}
AXIS_FIRST |= {
    "flatten",
    "gather",
    "index_add",
    "index_add_",
    "index_select",
    "log_softmax",
    "logsumexp",
    "max",
    "mean",
}
AXIS_FIRST |= {"median", "min", "narrow", "norm", "prod", "scatter", "scatter_", "scatter_add", "scatter_add_", "size"}
AXIS_FIRST |= {"softmax", "sort", "squeeze", "stack", "std", "sum", "take_along_axis", "unbind", "unsqueeze", "var"}
LIBRARIES = {"F", "functional", "nn", "np", "numpy", "torch"}
SWAPPED = {0: 1, 1: 0, -1: 0, 2: 1, -2: -1}

COMPOUND = (ast.If, ast.While, ast.For, ast.With)
SIMPLE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Expr)
TEXT = (ast.List, ast.ListComp, ast.Tuple, ast.JoinedStr, ast.Set, ast.Dict)


@dataclass(frozen=True)
class Change:
    """kind: one of KINDS. way: a finer one, of which a draw takes as many of each. after: the statement's new text."""

    kind: str
    way: str
    after: str


def changes_of(statement: ast.stmt) -> list[Change]:
    """All changes of one statement, each text once. Of a compound one: those of its first line."""
    head = copy.deepcopy(without_body(statement))
    before = ast.unparse(head)
    found: dict[str, Change] = {}
    if isinstance(head, ast.AugAssign):
        found["pass"] = Change(DROPPED, "statement", "pass")
        if isinstance(head.op, ast.Add | ast.Sub) and not _is_text(head.value):
            turned = copy.copy(head)
            turned.op = ast.Sub() if isinstance(head.op, ast.Add) else ast.Add()
            found[ast.unparse(turned)] = Change(SIGN, "plus and minus", ast.unparse(turned))
    for node, put in _nodes(head):
        for kind, way, new in _new_nodes(node):
            put(new)
            after = ast.unparse(head)
            put(node)
            if after != before:
                found.setdefault(after, Change(kind, way, after))
    return list(found.values())


def text_of(statement: ast.stmt) -> str:
    return ast.unparse(without_body(statement))


def without_body(statement: ast.stmt) -> ast.stmt:
    """A compound statement has `...` for its body; what is in its head is shared with the whole one."""
    if not isinstance(statement, COMPOUND):
        return statement
    head = copy.copy(statement)
    head.body = [ast.Expr(ast.Constant(...))]
    if not isinstance(head, ast.With):
        head.orelse = []
    return head


def is_told(node: ast.AST) -> bool:
    """Whether it makes an error, a log line or a help text."""
    if isinstance(node, ast.Call):
        name = _name_of(node.func)
        return name in TOLD or name.endswith(("Error", "Warning"))
    return isinstance(node, ast.JoinedStr | ast.Raise | ast.Assert)


Put = Callable[[ast.AST], None]


def _nodes(head: ast.AST) -> Iterator[tuple[ast.AST, Put]]:
    """Every node that may be changed, with what puts another in its place."""
    for name, value in ast.iter_fields(head):
        if (name in ("body", "orelse") and isinstance(head, ast.stmt)) or name in ("annotation", "ctx", "op"):
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if not isinstance(child, ast.AST) or is_told(child) or _is_axis(head, name, index):
                continue
            if isinstance(child, ast.keyword) and child.arg in HOW_IT_LOOKS:
                continue
            yield child, _putter(head, name, index)
            yield from _nodes(child)


def _is_axis(parent: ast.AST, name: str, index: int | None) -> bool:
    """Whether the child is the number of an axis, which is swapped with its call and is no count."""
    if isinstance(parent, ast.keyword):
        return parent.arg in AXIS_NAMES and _swapped(parent.value) is not None
    if isinstance(parent, ast.Subscript):
        return name == "slice" and _is_size(parent)
    return isinstance(parent, ast.Call) and name == "args" and index == axis_place(parent)


def _is_size(node: ast.Subscript) -> bool:
    """`array.shape[0]`."""
    return isinstance(node.value, ast.Attribute) and node.value.attr == "shape" and _swapped(node.slice) is not None


def _putter(parent: ast.AST, name: str, index: int | None) -> Put:
    def put(new: ast.AST) -> None:
        if index is None:
            setattr(parent, name, new)
        else:
            getattr(parent, name)[index] = new

    return put


def _new_nodes(node: ast.AST) -> Iterator[tuple[str, str, ast.AST]]:
    """(kind, way, what stands in the node's place)."""
    if isinstance(node, ast.BinOp):
        yield from _of_sum(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        if not isinstance(node.operand, ast.Constant):
            yield SIGN, "minus", node.operand
    elif isinstance(node, ast.Compare):
        yield from _of_comparison(node)
    elif isinstance(node, ast.BoolOp):
        rest = node.values[:-1]
        yield DROPPED, "condition", rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        for step in (1, -1):
            yield OFF_BY_ONE, "number", ast.Constant(node.value + step)
    elif isinstance(node, ast.Call):
        yield from _of_call(node)
    elif isinstance(node, ast.Subscript) and _is_size(node) and (swapped := _swapped(node.slice)) is not None:
        yield AXIS, "size", ast.Subscript(node.value, swapped, node.ctx)


def _of_sum(node: ast.BinOp) -> Iterator[tuple[str, str, ast.AST]]:
    if isinstance(node.op, ast.Add | ast.Sub) and not _is_text(node.left) and not _is_text(node.right):
        op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        yield SIGN, "plus and minus", ast.BinOp(node.left, op, node.right)
        yield DROPPED, "term", node.left


def _of_comparison(node: ast.Compare) -> Iterator[tuple[str, str, ast.AST]]:
    turned: dict[type[ast.cmpop], ast.cmpop] = {
        ast.Lt: ast.LtE(),
        ast.LtE: ast.Lt(),
        ast.Gt: ast.GtE(),
        ast.GtE: ast.Gt(),
    }
    for place, op in enumerate(node.ops):
        if type(op) in turned:
            ops = [*node.ops[:place], turned[type(op)], *node.ops[place + 1 :]]
            yield OFF_BY_ONE, "comparison", ast.Compare(node.left, ops, node.comparators)


def _of_call(node: ast.Call) -> Iterator[tuple[str, str, ast.AST]]:
    for place, keyword in enumerate(node.keywords):
        others = [*node.keywords[:place], *node.keywords[place + 1 :]]
        if keyword.arg in AXIS_NAMES and (swapped := _swapped(keyword.value)) is not None:
            renewed = [*node.keywords[:place], ast.keyword(keyword.arg, swapped), *node.keywords[place + 1 :]]
            yield AXIS, "named", ast.Call(node.func, node.args, renewed)
        if keyword.arg is not None and keyword.arg not in HOW_IT_LOOKS:
            yield DROPPED, "argument", ast.Call(node.func, node.args, others)
    place = axis_place(node)
    if place is not None and (swapped := _swapped(node.args[place])) is not None:
        yield (
            AXIS,
            "by place",
            ast.Call(node.func, [*node.args[:place], swapped, *node.args[place + 1 :]], node.keywords),
        )


def axis_place(node: ast.Call) -> int | None:
    """Which argument without a name is an axis."""
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in AXIS_FIRST:
        return None
    place = int(_name_of(node.func.value) in LIBRARIES)
    return place if place < len(node.args) and _swapped(node.args[place]) is not None else None


def _swapped(node: ast.AST) -> ast.AST | None:
    """The other axis of a written one; None where it is not a plain number."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
    return ast.parse(str(SWAPPED[value]), mode="eval").body if type(value) is int and value in SWAPPED else None


def _is_text(node: ast.AST) -> bool:
    """A text or a list, of which a sum is no number."""
    return isinstance(node, TEXT) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _name_of(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
