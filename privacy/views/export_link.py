"""The page of an export's link: GET shows a button, so that a preview of the link does not use it up, and POST downloads.

No login and no session: the token in the address is the secret, and a page of another site cannot know it. So the form needs no CSRF token, whose
check would need a referrer.
"""

from __future__ import annotations

from csp.constants import NONE, SELF
from csp.decorators import csp
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.views.decorators.csrf import csrf_exempt

from findme.core.errors import StoreUnavailable
from privacy.kept_exports.links import LinkOver, begin_download, find

HEADERS = {"Cache-Control": "no-store, private", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow"}
POLICY = {"default-src": [NONE], "style-src": [SELF], "form-action": [SELF], "frame-ancestors": [NONE], "base-uri": [NONE]}


@csrf_exempt
@csp(POLICY)  # type: ignore[arg-type]  # it passes the token on
def export_page(request: HttpRequest, token: str) -> HttpResponseBase:
    try:
        if request.method == "POST":
            return _download(token)
        if request.method in ("GET", "HEAD"):
            return _page("export_link.html", {"export": find(token)})
    except LinkOver:
        return _page("export_link_over.html", {}, 404)
    except StoreUnavailable:
        return _page("export_link_unavailable.html", {}, 503)
    return HttpResponse(status=405, headers={"Allow": "GET, HEAD, POST"} | HEADERS)


def _download(token: str) -> HttpResponseBase:
    download = begin_download(token)
    response = StreamingHttpResponse(download.chunks, content_type="application/zip", headers=HEADERS)
    response["Content-Disposition"] = 'attachment; filename="personal-data.zip"'
    response["Content-Length"] = str(download.export.size)
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _page(template: str, context: dict[str, object], status: int = 200) -> HttpResponseBase:
    return HttpResponse(render_to_string(f"privacy/{template}", context), status=status, headers=HEADERS)
