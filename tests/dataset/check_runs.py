"""Rows as another tool would write them, and runs of `dataset check` on them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from fintunnel.cli import main

Row = dict[str, Any]
SUBJECTS = ("铜矿", "钢厂", "港口", "棉花", "航运", "电网", "芯片", "乳业", "水泥", "光伏", "玉米", "锂矿")
ACTS = ("减产检修", "上调报价", "签下长单", "推迟交付", "库存告急", "扩建产线", "工人罢工", "更换主管")
PLACES = ("北境", "南湾", "东岭", "西河", "中原", "海岛", "山城", "草原", "湖畔", "关外")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["dataset", "check", *arguments])
    shown = capsys.readouterr()
    return int(caught.value.code or 0), shown.out, shown.err


def findings(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> tuple[int, dict[str, Row]]:
    status, out, _ = run(capsys, str(path), "--json", *arguments)
    return status, {finding["code"]: finding for finding in json.loads(out)["findings"]}


def foreign(number: int, **changes: Any) -> Row:
    """A clean row as another tool would write it; no two resemble each other."""
    rng = random.Random(number)
    place, subject, act = rng.choice(PLACES), rng.choice(SUBJECTS), rng.choice(ACTS)
    code = "".join(rng.choice("甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳") for _ in range(12))
    label = ("利好", "利空", "中性")[number % 3]
    row = {
        "instruction": "判断消息对金价的影响",
        "input": f"{place}{subject}{act}，代号{code}",
        "output": f"方向：{label}。{subject}{act}牵动{place}的供需，代号{code}的合约要看库存。",
    }
    return row | changes


def write(path: Path, *rows: Row | str | bytes) -> Path:
    lines = [
        row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode() for row in rows
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path
