"""What is shown when a tunnel has opened: the URL, and lines to paste.

The lines name the variable that holds the API key, never the key. None has a placeholder in angle brackets: a shell
would take it for a redirection.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from fintunnel.transport.ngrok import SKIP_WARNING, is_ngrok

__all__ = ["announcement"]

_BODY = '{"task":"news","text":"美联储宣布加息25个基点"}'


def announcement(url: str) -> str:
    """`url`: scheme and host, checked: it stands in commands without quotes."""
    of_ngrok = is_ngrok(str(urlsplit(url).hostname))
    curl_header = f'-H "{SKIP_WARNING}: 1" ' if of_ngrok else ""
    powershell_header = f'; "{SKIP_WARNING}"="1"' if of_ngrok else ""
    return f"""\
公开地址：{url}（任何人都能访问，凭密钥使用）
下面的命令从环境变量 FINTUNNEL_API_KEY 取密钥，请先在那个终端里设好它。
bash，让智能体用它：
  export FINTUNNEL_BACKEND=finetuned FINTUNNEL_URL={url}
bash，试一下：
  curl {url}/analyze -H "Authorization: Bearer $FINTUNNEL_API_KEY" {curl_header}\
-H "Content-Type: application/json" -d '{_BODY}'
PowerShell，让智能体用它：
  $env:FINTUNNEL_BACKEND="finetuned"; $env:FINTUNNEL_URL="{url}"
PowerShell，试一下：
  Invoke-RestMethod -Method Post -Uri "{url}/analyze" \
-Headers @{{"Authorization"="Bearer $env:FINTUNNEL_API_KEY"{powershell_header}}} \
-ContentType "application/json" -Body ([Text.Encoding]::UTF8.GetBytes('{_BODY}'))"""
