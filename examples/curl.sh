#!/usr/bin/env bash
# health, analyze, batch, stream with curl. FINTUNNEL_URL and FINTUNNEL_API_KEY come from the environment.
set -eu
cd "$(dirname "$0")"
url="${FINTUNNEL_URL:-http://127.0.0.1:8000}"
url="${url%/}"

# In a file of our own and not on the command line, where every user of the machine could read the key.
umask 077
headers="$(mktemp)"
trap 'rm -f "$headers"' EXIT
printf 'Content-Type: application/json; charset=utf-8\nngrok-skip-browser-warning: 1\n' >"$headers"
if [ -n "${FINTUNNEL_API_KEY:-}" ]; then
    printf 'Authorization: Bearer %s\n' "$FINTUNNEL_API_KEY" >>"$headers"
fi

ask() { # path, body on stdin
    # A proxy that is set on the machine does not lead back to it.
    curl --silent --show-error --fail-with-body --no-buffer --max-time 180 --noproxy 127.0.0.1,localhost \
        -H @"$headers" --data-binary @- -w '\n' "$url$1"
}

# news.json is a batch with one request on each line: the second line is the first request.
first="$(sed -n '2s/,[[:space:]]*$//p' news.json)"

echo '# GET /health'
curl --silent --show-error --fail --max-time 20 --noproxy 127.0.0.1,localhost -H @"$headers" -w '%{http_code}' "$url/health"
echo
echo '# POST /analyze'
printf '%s' "$first" | ask /analyze
echo '# POST /analyze/batch'
ask /analyze/batch <news.json
echo '# POST /analyze/stream'
printf '%s' "$first" | ask /analyze/stream
