"""What a connection that failed means, as a typed error that says what to do. No network here."""

from __future__ import annotations

import socket
import ssl

import httpx

from fintunnel.errors import (
    ConfigurationError,
    ConnectionFailed,
    FinTunnelError,
    MalformedAnswerError,
    RequestTimeout,
)
from fintunnel.transport.call import Budget
from fintunnel.transport.target import Target

__all__ = ["connection_failure", "out_of_time"]


def out_of_time(target: Target, host: str, seconds: float) -> RequestTimeout:
    return RequestTimeout(f"{seconds:g} 秒内没有得到 {host} 的完整回答", advice=target.advice.slow)


def connection_failure(error: Exception, target: Target, host: str, budget: Budget) -> FinTunnelError:
    """What httpx's failure means."""
    seconds = budget.seconds
    if isinstance(error, httpx.ConnectTimeout):
        limit = min(target.timeouts.connect, seconds)
        return RequestTimeout(f"{limit:g} 秒内没有连上 {host}", advice=target.advice.unreachable)
    if (
        isinstance(error, httpx.ReadTimeout)
        and (read := budget.patience.read or target.timeouts.read or seconds) < seconds
    ):
        return RequestTimeout(f"{host} 有 {read:g} 秒没有收到数据", advice=target.advice.slow)
    if isinstance(error, httpx.TimeoutException):
        return out_of_time(target, host, seconds)
    if isinstance(error, httpx.LocalProtocolError):
        # Its text shows the header, and the header holds the key.
        return ConfigurationError("密钥或地址里有不能发送的字符，请重新复制")
    if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError)):
        return ConfigurationError("地址无效", advice=target.advice.unreachable)
    if isinstance(error, httpx.DecodingError):
        return MalformedAnswerError(f"{host} 的回答解压失败")
    if isinstance(error, httpx.ProxyError):
        return ConnectionFailed(f"代理连不上 {host}：{error}", advice="请检查 HTTPS_PROXY、ALL_PROXY 和代理软件。")
    reason, advice = _reason(error, target)
    return ConnectionFailed(f"连不上 {host}：{reason}", advice=advice)


def _reason(error: BaseException, target: Target) -> tuple[str, str]:
    """Of a broken connection, in words: the system's own cause lies under httpx's and httpcore's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            advice = "公司代理会换证书：把它的根证书写进 SSL_CERT_FILE。"
            return f"证书不受信任（{cause.verify_message}）", advice
        if isinstance(cause, ssl.SSLError):
            return "TLS 握手失败", f"那里可能只支持 http://。{target.advice.unreachable}"
        if isinstance(cause, socket.gaierror):
            return "域名无法解析", "请检查地址、网络和代理。"
        if isinstance(cause, ConnectionRefusedError):
            return "该地址没有程序在监听", target.advice.unreachable
        if isinstance(cause, ConnectionResetError):
            return "连接被对方断开", target.advice.unreachable
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.RemoteProtocolError):
        return "连接在回答完之前断了", target.advice.unreachable
    return str(error) or type(error).__name__, target.advice.unreachable
