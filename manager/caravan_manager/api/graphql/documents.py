"""Documents: read, bounded and checked against the schema once, then remembered by their text."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    Visitor,
    parse,
    specified_rules,
    validate,
    visit,
)
from graphql.validation import VariablesInAllowedPositionRule

MAX_CHARACTERS = 32 * 1024
MAX_TOKENS = 2500
MAX_NESTING = 64
"""How deep brackets may nest before the text is given to the parser, which calls itself for each."""
MAX_DEPTH = 16
"""How deep fields may nest; the customary introspection query needs 15."""
MAX_FIELDS = 500
"""How many fields a document may select once its fragments are spelled out."""
MAX_ROOTS = 25
"""How many root fields an operation may have, each of which costs queries."""
REMEMBERED = 256
REMEMBERED_CHARACTERS = 8 * 1024

RULES = [rule for rule in specified_rules if rule is not VariablesInAllowedPositionRule]
"""The official clients declare some variables with a type other than that of the argument they are used for."""


class DocumentRefusedError(Exception):
    """The document cannot be executed; ``errors`` say why."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


class Documents:
    """Documents that a schema can execute. Remembers the latest ``REMEMBERED`` that are not overly long."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._known: OrderedDict[str, DocumentNode] = OrderedDict()

    def read(self, text: str) -> DocumentNode:
        """Return the document. Raises DocumentRefusedError."""
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
            return known
        document = self._checked(text)
        if len(text) <= REMEMBERED_CHARACTERS:
            self._known[text] = document
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return document

    def _checked(self, text: str) -> DocumentNode:
        document = _parsed(text)
        _bounded(document)
        errors = validate(self._schema, document, RULES)
        if errors:
            raise DocumentRefusedError(errors)
        return document


def _refuse(why: str) -> DocumentRefusedError:
    return DocumentRefusedError([GraphQLError(why)])


def _parsed(text: str) -> DocumentNode:
    if len(text) > MAX_CHARACTERS:
        raise _refuse(f"The document is longer than {MAX_CHARACTERS} characters.")
    if _nesting(text) > MAX_NESTING:
        raise _refuse(f"The document nests deeper than {MAX_NESTING} brackets.")
    try:
        return parse(text, max_tokens=MAX_TOKENS)
    except GraphQLError as err:
        raise DocumentRefusedError([err]) from err


def _nesting(text: str) -> int:
    deepest = depth = 0
    for character in text:
        if character in "{[(":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}])":
            depth -= 1
    return deepest


@dataclass(frozen=True, slots=True)
class _Size:
    """Of a selection with its fragments spelled out: levels of fields, all fields, and those of the first level."""

    depth: int = 0
    fields: int = 0
    roots: int = 0


class _NoNul(Visitor):
    """Refuses text that no column of the database holds; JSON's own check does not see it inside a document."""

    def enter_string_value(self, node: StringValueNode, *_: object) -> None:
        if "\0" in node.value:
            raise _refuse("A string holds a NUL character.")


def _bounded(document: DocumentNode) -> None:
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    measured: dict[str, _Size] = {}
    for node in document.definitions:
        if not isinstance(node, OperationDefinitionNode | FragmentDefinitionNode):
            continue
        size = _size(node.selection_set, fragments, measured, frozenset())
        if size.depth > MAX_DEPTH:
            raise _refuse(f"The document nests deeper than {MAX_DEPTH} fields.")
        if size.fields > MAX_FIELDS:
            raise _refuse(f"The document selects more than {MAX_FIELDS} fields.")
        if isinstance(node, OperationDefinitionNode) and size.roots > MAX_ROOTS:
            raise _refuse(f"The operation has more than {MAX_ROOTS} root fields.")
    visit(document, _NoNul())


def _size(
    chosen: SelectionSetNode,
    fragments: dict[str, FragmentDefinitionNode],
    measured: dict[str, _Size],
    inside: frozenset[str],
) -> _Size:
    return _sum(_part(part, fragments, measured, inside) for part in chosen.selections)


def _part(
    part: object,
    fragments: dict[str, FragmentDefinitionNode],
    measured: dict[str, _Size],
    inside: frozenset[str],
) -> _Size:
    if isinstance(part, FragmentSpreadNode):
        return _fragment(part.name.value, fragments, measured, inside)
    below: SelectionSetNode | None = getattr(part, "selection_set", None)
    size = _Size() if below is None else _size(below, fragments, measured, inside)
    return _Size(size.depth + 1, size.fields + 1, 1) if isinstance(part, FieldNode) else size


def _fragment(
    name: str, fragments: dict[str, FragmentDefinitionNode], measured: dict[str, _Size], inside: frozenset[str]
) -> _Size:
    """Measure a fragment once. One that is unknown or holds itself counts nothing: the rules refuse it later."""
    if name in inside or name not in fragments:
        return _Size()
    if name not in measured:
        measured[name] = _size(fragments[name].selection_set, fragments, measured, inside | {name})
    return measured[name]


def _sum(sizes: Iterable[_Size]) -> _Size:
    total = _Size()
    for size in sizes:
        total = _Size(max(total.depth, size.depth), total.fields + size.fields, total.roots + size.roots)
    return total
