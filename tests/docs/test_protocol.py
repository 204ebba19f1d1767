"""Each rule of the sync protocol names an existing module and existing tests."""

from __future__ import annotations

import ast

import pytest

from findme.environment import BASE_DIR
from tests.docs.pages import code, page, rows

TEXT = page("reference/protocol.md")
RULES = {row[0]: row[1:] for row in rows(TEXT)}
NODES = [name for name in code(TEXT) if name.startswith("tests/")]


def functions(path: str) -> set[str]:
    tree = ast.parse((BASE_DIR / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def is_in_make_test(node: str) -> bool:
    """Return whether ``make test`` runs examples of the test without a Qdrant server."""
    path, _, name = node.partition("::")
    tree = ast.parse((BASE_DIR / path).read_text(encoding="utf-8"))
    decorators = [item.decorator_list for item in tree.body if isinstance(item, ast.FunctionDef) and item.name == name]
    return {ast.unparse(decorator) for decorator in decorators[0]}.isdisjoint({"pytest.mark.at_length", "pytest.mark.qdrant_server"})


def test_protocol__has_twelve_rules() -> None:
    assert list(RULES) == [str(number) for number in range(1, 13)]


@pytest.mark.parametrize("number", RULES)
def test_rule__is_kept_by_one_module_and_proven_by_tests(number: str) -> None:
    _rule, module, tests = RULES[number]

    assert len(code(module)) == 1
    assert (BASE_DIR / code(module)[0]).is_file()
    assert len(code(tests)) > 0
    assert set(code(tests)) <= set(NODES)
    assert any(is_in_make_test(node) for node in code(tests))


@pytest.mark.parametrize("node", NODES)
def test_node_id__names_a_test_that_exists(node: str) -> None:
    path, _, name = node.partition("::")

    assert (BASE_DIR / path).is_file()
    assert name in functions(path)
