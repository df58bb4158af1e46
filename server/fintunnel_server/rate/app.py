"""The rating page's app: what it is made of, in which order."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from fintunnel.errors import ConfigurationError
from fintunnel.rating_file import RatingFile
from fintunnel.wire import ErrorCode

from fintunnel_server.api_errors import ApiError, add_error_handlers, error_response
from fintunnel_server.rate.only_this_page import OnlyThisPage
from fintunnel_server.rate.routes import ratings_router
from fintunnel_server.routes.pages import PAGE
from fintunnel_server.routes.static_files import add_static_files
from fintunnel_server.security.body_limit import GuardBody
from fintunnel_server.security.headers import SecurityHeaders
from fintunnel_server.security.keys import ApiKeys, KeyCheck

__all__ = ["SHARED_FILES", "create_rate_app"]

_RATE_PAGE = Path(__file__).parent / "page"
_BODY_BYTES = 16_384
# Of the server's page: its look, and what it is built with.
SHARED_FILES = (
    *("page.css", "answers.css", "icon.svg", "theme.js"),
    *("elements.js", "i18n.js", "storage.js", "api.js", "sse.js", "failure_view.js"),
)


def create_rate_app(file: RatingFile) -> FastAPI:
    app = FastAPI(title="FinTunnel", docs_url=None, redoc_url=None, openapi_url=None)
    app.router.redirect_slashes = False
    add_error_handlers(app)
    app.add_exception_handler(ConfigurationError, _file_failed)
    app.include_router(ratings_router(file))
    app.include_router(_pages())
    check = KeyCheck(ApiKeys({}))
    # The last one added runs first.
    app.add_middleware(GuardBody, max_bytes={"/ratings": _BODY_BYTES}, check=check)
    app.add_middleware(OnlyThisPage, check=check)
    app.add_middleware(SecurityHeaders)
    return app


def _pages() -> APIRouter:
    files = {"/": _RATE_PAGE / "index.html"}
    files |= {f"/page/{name}": PAGE / name for name in SHARED_FILES}
    for path in sorted(_RATE_PAGE.iterdir()):
        if path.suffix in (".js", ".css"):
            # i18n.js takes the words from beside itself: here they are this page's.
            folder = "page" if path.name.startswith("texts_") else "rate"
            files[f"/{folder}/{path.name}"] = path
    router = APIRouter(include_in_schema=False)
    add_static_files(router, files)
    return router


async def _file_failed(request: Request, error: Exception) -> JSONResponse:
    """The file was removed, is locked, the disk is full: nothing that the page could mend, but its user."""
    return error_response(request, ApiError(500, ErrorCode.INTERNAL, str(error)))
