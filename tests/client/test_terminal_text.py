from __future__ import annotations

import errno
from pathlib import Path

import pytest
from fintunnel.terminal_text import printable, system_reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOENT, "No such file or directory"), "没有这个文件"),
        (OSError(errno.EACCES, "Permission denied"), "没有权限，或被别的程序占用"),
        (OSError(errno.ENOSPC, "No space left on device"), "磁盘满了"),
        (OSError(errno.EADDRINUSE, "Address already in use"), "已被占用"),
        (OSError(errno.ENODEV, "No such device"), "No such device"),
        (OSError(), "OSError"),
        (ValueError("embedded null byte\nand more"), "embedded null byte"),
    ],
)
def test_usual_reasons_are_chinese_and_others_the_first_line_of_what_there_is(error: Exception, reason: str) -> None:
    assert system_reason(error) == reason


def test_texts_stay_as_they_are_and_what_a_terminal_would_obey_is_shown() -> None:
    assert printable("美联储\u3000加息\xa025\t个\n基点") == "美联储\u3000加息\xa025\t个\n基点"
    assert printable("a\x1b[2Jb\rc\u2028d\u202ee") == "a\\x1b[2Jb\\rc\\u2028d\\u202ee"


def test_a_real_file_system_gives_the_same(tmp_path: Path) -> None:
    with pytest.raises(OSError) as failed:
        (tmp_path / ("n" * 300)).read_bytes()
    assert system_reason(failed.value) == "名字太长"
