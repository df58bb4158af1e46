"""Each error code has one status, on both sides of the network."""

from __future__ import annotations

import ast
from pathlib import Path

import fintunnel_server
from fintunnel.wire import STATUSES, ErrorCode


def test_the_server_answers_each_code_with_the_status_that_the_contract_names() -> None:
    raised: set[tuple[str, int]] = set()
    for file in Path(fintunnel_server.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "ApiError" and len(node.args) > 1:
                status, code = node.args[:2]
                if isinstance(status, ast.Constant) and isinstance(code, ast.Attribute):
                    raised.add((code.attr, int(str(status.value))))
    assert {name for name, _ in raised} == {code.name for code in ErrorCode} == {code.name for code in STATUSES}
    assert raised == {(code.name, status) for code, status in STATUSES.items()}
