"""Which rule a request's field breaks, in Chinese. The rule, never the input: what a caller sent is not echoed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["rule_in_chinese"]

# By pydantic's error types: https://docs.pydantic.dev/latest/errors/validation_errors
_RULES = {
    "missing": "缺少这一项",
    "extra_forbidden": "没有这个字段，或这里不支持它",
    "string_type": "应是文字",
    "string_too_short": "至少 {min_length} 个字符",
    "string_too_long": "最多 {max_length} 个字符",
    "string_pattern_mismatch": "内容是空白的，或格式不对",
    "string_unicode": "文字里有不成对的代理字符",
    "int_type": "应是整数",
    "int_parsing": "应是整数",
    "int_from_float": "应是整数",
    "int_parsing_size": "整数太大",
    "float_type": "应是数",
    "float_parsing": "应是数",
    "finite_number": "应是有限的数，不能是 NaN 或无穷",
    "bool_type": "应是 true 或 false",
    "bool_parsing": "应是 true 或 false",
    "greater_than": "应大于 {gt}",
    "greater_than_equal": "应不小于 {ge}",
    "less_than": "应小于 {lt}",
    "less_than_equal": "应不大于 {le}",
    "multiple_of": "应是 {multiple_of} 的倍数",
    "literal_error": "应是 {expected} 之一",
    "enum": "应是 {expected} 之一",
    "list_type": "应是数组",
    "too_short": "至少 {min_length} 项",
    "too_long": "最多 {max_length} 项",
    "dict_type": "应是 JSON 对象",
    "model_type": "应是 JSON 对象",
    "model_attributes_type": "应是 JSON 对象",
    "dataclass_type": "应是 JSON 对象",
    "none_required": "应是 null",
    "union_tag_invalid": "应为 {expected_tags} 之一",
    "datetime_type": "应是时间，像 2025-08-01T20:30:00+08:00",
    "datetime_parsing": "应是时间，像 2025-08-01T20:30:00+08:00",
    "datetime_from_date_parsing": "应是时间，像 2025-08-01T20:30:00+08:00",
    "datetime_object_invalid": "应是时间，像 2025-08-01T20:30:00+08:00",
    "timezone_offset": "时区不对",
    "union_tag_not_found": "缺少这一项",
    "recursion_loop": "嵌套得太深",
}


def rule_in_chinese(error: Mapping[str, Any]) -> str:
    """
    Args:
        error: one of a `ValidationError`'s `errors()`.
    """
    if error["type"] in ("value_error", "rule"):  # one of our own validators, which speak Chinese
        return str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "union_tag_not_found" and error["ctx"]["discriminator"] == "'task'":
        return "应为 'news', 'report' 之一"
    rule = _RULES.get(error["type"])
    if rule is None:
        return str(error["msg"])
    return rule.format_map({name: _listed(value) for name, value in error.get("ctx", {}).items()})


def _listed(value: object) -> object:
    """pydantic joins choices in English."""
    return value.replace(", ", "、").replace(" or ", "、") if isinstance(value, str) else value
