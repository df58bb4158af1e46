"""`connection.json`: where a server can be reached, for programs on other machines (it may lie on a shared drive).

The server writes it when its tunnel opens or gets another URL, and marks it when the tunnel is closed. It never holds a
key, only the name of one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from fintunnel.atomic_file import replacing_file
from fintunnel.errors import ConfigurationError
from fintunnel.terminal_text import system_reason

__all__ = ["FILE_NAME", "FORMAT_VERSION", "Connection", "read_connection", "write_connection"]

FILE_NAME = "connection.json"  # in a folder that a client is pointed to
FORMAT_VERSION = 1  # raised only where older readers would misread a file, not for new fields

_MAX_BYTES = 65_536
_REWRITE = "请重新启动服务，让它再写一份。"
_PublicUrl = Annotated[str, StringConstraints(pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?$", max_length=300)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Connection(BaseModel):
    """`url`: https, since keys are sent there, without a path. `key_name`: of the API key to use, as the server's
    FINTUNNEL_API_KEYS calls it. `model`: what answers where a request names none. `closed_at`: since when nobody
    answers there; a server that was killed could not write it."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # files of later versions have fields of their own

    format_version: int = Field(FORMAT_VERSION, ge=1)
    url: _PublicUrl
    key_name: _Name
    model: _Name
    opened_at: AwareDatetime
    closed_at: AwareDatetime | None = None


def read_connection(path: Path) -> Connection:
    """
    Raises:
        ConfigurationError: there is no such file, or it is no connection file that this version understands.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigurationError(
            f"没有连接文件 {path}", advice="请用 --connection-file 启动服务；文件在 Drive 里的话，等它同步完。"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a path that cannot be one
        raise ConfigurationError(f"无法读取连接文件 {path}：{system_reason(error)}") from error
    try:
        if len(content) > _MAX_BYTES:
            raise ValueError("too large")
        connection = Connection.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "JSON"
        rule = "url 应以 https:// 开头、不带路径；本机的服务请用 FINTUNNEL_URL" if field == "url" else field
        raise ConfigurationError(f"{path} 不是可用的连接文件（{rule}）", advice=_REWRITE) from None
    except ValueError:
        raise ConfigurationError(f"{path} 不是可用的连接文件（太大）", advice=_REWRITE) from None
    if connection.format_version > FORMAT_VERSION:
        raise ConfigurationError(f"{path} 是更新的版本写的", advice="请更新仓库后重新运行：python -m pip install .")
    return connection


def write_connection(path: Path, connection: Connection) -> None:
    """Readers find the old file or the new one, never a part.

    Raises:
        OSError: it cannot be written.
    """
    with replacing_file(path) as partial:
        partial.write_text(connection.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")
