"""`fintunnel serve`. The model libraries are imported inside the command."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from fintunnel_server.errors import SettingsError
from fintunnel_server.signals import ended_by_signals

__all__ = ["serve"]

serve = typer.Typer(add_completion=False, rich_markup_mode=None, help="启动 /analyze 服务")


@serve.command()
def _serve(
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="适配器目录，或 名字=目录；可重复，第一个是默认的；不给则只用基座"),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="embedded、本地目录或模型 ID；默认有 GPU 用 deepseek-llm-7b-chat，否则 embedded")
    ] = None,
    host: Annotated[str, typer.Option(help="监听地址；不是本机的必须有密钥，没有设时在终端里会生成一个")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="端口")] = 8000,
    quantization: Annotated[Literal["nf4", "none"], typer.Option(help="nf4：4-bit；none：16-bit")] = "nf4",
    merge: Annotated[
        bool, typer.Option("--merge", help="先把适配器以 16 位合并进基座再量化：每步少算一些，但不能再问 base")
    ] = False,
    calibration: Annotated[bool, typer.Option(help="按适配器目录里的 calibration.json 校准概率")] = True,
    upstream: Annotated[
        str | None, typer.Option(help="由另一个 OpenAI 兼容的服务（vLLM、SGLang、llama.cpp）做推理：它的地址")
    ] = None,
    upstream_model: Annotated[str | None, typer.Option(help="它那里微调模型的名字")] = None,
    upstream_base: Annotated[str | None, typer.Option(help="它那里基座的名字；不给就不能问 base")] = None,
    tunnel: Annotated[
        Literal["none", "ngrok", "cloudflared"], typer.Option(help="公开到互联网：ngrok，或不用账号的 cloudflared")
    ] = "none",
    connection_file: Annotated[
        Path | None, typer.Option(help="把公开地址写进这个 JSON 文件，可以在 Drive 上；与 --tunnel 一起用")
    ] = None,
    page: Annotated[
        bool | None, typer.Option("--page/--no-page", help="浏览器页面（/ 和 /docs）；默认看 FINTUNNEL_PAGE，没设就开")
    ] = None,
    allow_unverified: Annotated[bool, typer.Option(help="接受没有 manifest.json 的适配器")] = False,
) -> None:
    """加载 4-bit 基座与适配器，提供 /analyze 和 /v1/chat/completions。"""
    from fintunnel_server.app import create_app
    from fintunnel_server.running.connections import ConnectionLimits
    from fintunnel_server.running.drain import Drain
    from fintunnel_server.running.listening import listening
    from fintunnel_server.running.logs import log_to_stderr
    from fintunnel_server.running.server import draining_server
    from fintunnel_server.security.key_on_first_start import STORED_KEY_NAME, key_for_public, refuse_weak_keys
    from fintunnel_server.security.keys import is_loopback
    from fintunnel_server.settings import load_settings
    from fintunnel_server.starting import ModelOptions, start_engine

    settings = load_settings()
    if page is not None:
        settings = settings.model_copy(update={"page": page})
    options = ModelOptions(
        base=base,
        adapters=adapter or [],
        quantization=quantization,
        calibrated=calibration,
        allow_unverified=allow_unverified,
        merge=merge,
        upstream=upstream,
        upstream_model=upstream_model,
        upstream_base=upstream_base,
    )
    if tunnel != "none" or not is_loopback(host):
        if not settings.keys:
            settings = settings.model_copy(update={"api_keys": {STORED_KEY_NAME: key_for_public()}})
        refuse_weak_keys(settings.keys)
    new_agent = None
    if tunnel != "none":
        from fintunnel_server.tunnel import Publication, Tunnel, agent_factory, check_connection_file

        connection_file = connection_file or settings.connection_file
        if host not in ("127.0.0.1", "localhost", "0.0.0.0"):
            raise SettingsError("隧道连的是本机的 127.0.0.1：与 --tunnel 一起，--host 只能是 127.0.0.1 或 0.0.0.0。")
        if connection_file is not None:
            check_connection_file(connection_file)
        new_agent = agent_factory(tunnel, port, settings)
    elif connection_file is not None:
        raise SettingsError("--connection-file 要与 --tunnel 一起用。")
    log_to_stderr(settings.log_format)
    with listening(host, port) as listener, ExitStack() as stack:
        engine, load_adapter = start_engine(options, settings)
        typer.echo(f"监听 http://{host}:{port}，就绪后 /ready 返回 200；按 Ctrl+C 停止", err=True)
        if not is_loopback(host):
            typer.echo("别的机器用这台机器的地址访问，并把密钥设进它们的 FINTUNNEL_API_KEY。", err=True)
        opened = None
        if new_agent is not None:
            model = engine.info.default_adapter or engine.info.base
            publication = Publication(key_name=next(iter(settings.keys)), model=model, connection_file=connection_file)
            stack.enter_context(ended_by_signals())
            opened = stack.enter_context(Tunnel(new_agent, publication))
        drain = Drain(settings.drain_seconds)
        limits = ConnectionLimits(most=settings.max_connections, request_seconds=settings.read_seconds)
        app = create_app(settings, engine, load_adapter, drain=drain, tunnel=opened)
        draining_server(app, drain, limits).run(sockets=[listener])
