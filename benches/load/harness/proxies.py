"""The proxies: how each is configured at its best, and started.

To add one: a function that writes its configuration and returns the command, and a line in PROXIES. One worker, upstream
keep-alive, logs off; buffers as its name says.
"""

from dataclasses import dataclass
from typing import Callable

from . import tools

NGINX = """
daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log; 
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; send_timeout 600s;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u;
  scgi_temp_path {dir}/s;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096{spoken};
    client_max_body_size 0; client_body_buffer_size {size}k;
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffer_size {size}k; proxy_buffers 8 {size}k; proxy_busy_buffers_size {busy}k; proxy_max_temp_file_size 0;
      proxy_request_buffering off;
    }}
  }}
}}
"""

# The ratios: otherwise 10 000 idle clients make it close its connections to the origin.
HAPROXY = """
global
  nbthread 1
  maxconn 16384
  no strict-limits
  tune.bufsize {size}
  tune.pool-low-fd-ratio 90
  tune.pool-high-fd-ratio 95
  {tune}
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  http-reuse always
  {option}
frontend web
  bind 127.0.0.1:{port} backlog 4096{spoken}
  default_backend origin
backend origin
  server origin 127.0.0.1:{origin} pool-max-conn 1024
"""

CORELANE = """
[process]
workers = 1
[admin]
address = "127.0.0.1:{admin}"
{admin_more}
{log}
{tracing}
[[listeners]]
name = "web"
address = "127.0.0.1:{port}"
keepalive_timeout = "10m"
{spoken}
[[routes]]
name = "all"
upstream = "origin"
{route}
[upstreams.origin]
endpoints = ["127.0.0.1:{origin}"]
idle_connections_max = 1024
{more}
"""

# What a site may well have on a route, in `filters`.
FILTERS = """
[filters.id]
type = "request_id"
[filters.secure]
type = "security_headers"
[filters.strip]
type = "rewrite"
strip_prefix = "/api"
[filters.fields]
type = "request_fields"
set = { "X-Client" = "{client.ip}", "X-Route" = "{route}" }
remove = ["X-Internal"]
[filters.limit]
type = "rate_limit"
requests = 1000000000
"""

FILTER_NAMES = ("id", "secure", "strip", "fields", "limit")

ROUTES = 10_000
FILTERS_DEFINED = 100


def many_routes():
    """Routes for 100 hosts, one of them the bench's, whose requests take the least specific of its routes; each has a filter,
    but for that one."""
    parts = []
    for number in range(FILTERS_DEFINED):
        parts.append(f'[filters.f{number}]\ntype = "request_fields"\nset = {{ "X-Number" = "{number}" }}\n')
    for number in range(ROUTES - 1):
        host = "bench.example" if number % 100 == 0 else f"h{number % 100}.example"
        path = f'{{ prefix = "/area/{number // 100}" }}'
        if number % 1000 == 0:
            path = f'{{ regex = "^/user/{number}/[0-9]+$" }}'
        parts.append(f'[[routes]]\nname = "r{number}"\nhosts = ["{host}"]\npath = {path}\nupstream = "origin"\n')
        parts.append(f'filters = ["f{number % FILTERS_DEFINED}"]\n')
    return "".join(parts)

ENVOY = """
admin:
  address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }}
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          generate_request_id: false
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: origin, timeout: 0s }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              dynamic_stats: false
              suppress_envoy_headers: true
  clusters:
  - name: origin
    connect_timeout: 5s
    circuit_breakers: {{ thresholds: [{{ max_connections: 32768, max_pending_requests: 32768, max_requests: 32768 }}] }}
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {origin} }} }} }}
"""


@dataclass
class Place:
    """Where a proxy runs: its folder, its ports, and what was built."""

    folder: object
    port: int
    admin: int
    origin: int
    built: dict
    # The certificate, if TLS is spoken.
    tls: object = None
    # Whether clients speak HTTP/2.
    has_http2: bool = False

    def write(self, name, text, **values):
        path = self.folder / name
        path.write_text(
            text.format(dir=self.folder, port=self.port, admin=self.admin, origin=self.origin, **values)
        )
        return path


def corelane(binary, has_log=False, has_tracing=False, admin_more="", route="", more=lambda: ""):
    def command(place):
        log = f'[access_log]\npath = "{place.folder}/access.log"' if has_log else ""
        # The origin answers any POST, and so it takes spans.
        tracing = f'[tracing]\nendpoint = "http://127.0.0.1:{place.origin}"\nsample = "1%"' if has_tracing else ""
        spoken = ["http2 = true"] if place.has_http2 else []
        spoken += [f'[listeners.tls]\ncertificates = [{{ cert = "{place.tls}" }}]'] if place.tls else []
        values = {"log": log, "tracing": tracing, "admin_more": admin_more, "route": route, "more": more()}
        values["spoken"] = "\n".join(spoken)
        return [place.built[binary], "run", place.write("corelane.toml", CORELANE, **values)]

    return command


def nginx(size):
    def command(place):
        # Sessions are resumed by tickets. A cache of sessions, which the default leaves out, would only cost.
        ssl = f"; ssl_protocols TLSv1.3; ssl_certificate {place.tls}; ssl_certificate_key {place.tls}"
        spoken = (" ssl" if place.tls else "") + (" http2" if place.has_http2 else "") + (ssl if place.tls else "")
        path = place.write("nginx.conf", NGINX, size=size, busy=2 * size, spoken=spoken)
        return [tools.find("nginx"), "-p", place.folder, "-c", path]

    return command


def haproxy(size, option=""):
    def command(place):
        spoken = f" ssl crt {place.tls} ssl-min-ver TLSv1.3" if place.tls else ""
        if place.has_http2:
            spoken += " alpn h2" if place.tls else " proto h2"
        # As for nginx: 4 % of a full handshake.
        tune = "tune.ssl.cachesize 0" if place.tls else ""
        path = place.write("haproxy.cfg", HAPROXY, size=size << 10, option=option, spoken=spoken, tune=tune)
        return [tools.find("haproxy"), "-db", "-f", path]

    return command


def relay(kind):
    return lambda place: [place.built["floor"], kind, "--port", place.port, "--origin", place.origin]


def pingora(place):
    return [place.built["pingora"], f"127.0.0.1:{place.port}", f"127.0.0.1:{place.origin}"]


def envoy(place):
    path = place.write("envoy.yaml", ENVOY)
    return [place.built["envoy"], "-c", path, "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]


@dataclass
class Proxy:
    """One line of the tables. `family`: whose variants compete for the better figure. `only`: where it makes a difference."""

    name: str
    family: str
    command: Callable
    about: str
    is_relay: bool = False
    only: tuple = ()
    # TLS and HTTP/2.
    speaks_all: bool = False


LARGE = ("get-64k", "get-1m", "get-16m")

PROXIES = {
    proxy.name: proxy
    for proxy in (
        Proxy("corelane", "corelane", corelane("corelane"), "metrics and histograms on, access log off", speaks_all=True),
        Proxy("before", "before", corelane("before"), "the binary of --before", speaks_all=True),
        Proxy("corelane-log", "corelane-log", corelane("corelane", True), "with its access log", only=("access-log",)),
        Proxy(
            "corelane-plain",
            "corelane-plain",
            corelane("corelane", admin_more="histograms = false"),
            "histograms, access log and traces off",
            only=("observed",),
        ),
        Proxy(
            "corelane-observed",
            "corelane-observed",
            corelane("corelane", True, True),
            "histograms and access log on, traces of 1 %",
            only=("observed",),
        ),
        Proxy("corelane-scraped", "corelane-scraped", corelane("corelane"), "scraped every second", only=("metrics",)),
        Proxy(
            "corelane-routes",
            "corelane-routes",
            corelane("corelane", more=many_routes),
            "10 000 routes, 100 filters defined",
            only=("routes-10k",),
        ),
        Proxy(
            "corelane-filters",
            "corelane-filters",
            corelane("corelane", route=f"filters = {list(FILTER_NAMES)}".replace("'", '"'), more=lambda: FILTERS),
            "request id, security headers, rewrite, fields, rate limit",
            only=("filters",),
        ),
        Proxy("nginx-16k", "nginx", nginx(16), "buffers of 16 KiB", speaks_all=True),
        Proxy("nginx-64k", "nginx", nginx(64), "buffers of 64 KiB", speaks_all=True),
        Proxy("haproxy-16k", "haproxy", haproxy(16), "buffers of 16 KiB", speaks_all=True),
        Proxy("haproxy-64k", "haproxy", haproxy(64), "buffers of 64 KiB", speaks_all=True),
        Proxy("haproxy-splice", "haproxy-splice", haproxy(16, "option splice-response"), "splices responses", only=LARGE),
        Proxy("relay-epoll", "relay-epoll", relay("relay-epoll"), "bare TCP relay, one buffer", True),
        Proxy("relay-uring", "relay-uring", relay("relay-uring"), "bare TCP relay, multishot receives", True),
        Proxy("relay-splice", "relay-splice", relay("relay-splice"), "bare TCP relay, splice(2)", True, LARGE),
        Proxy("pingora", "pingora", pingora, "a minimal load balancer"),
        Proxy("envoy", "envoy", envoy, "HTTP connection manager and router"),
    )
}
