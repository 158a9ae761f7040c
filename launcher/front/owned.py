"""Flags and variables that would open, shut or move the endpoint beside its front, and what to set instead."""

from __future__ import annotations

_KEY = "a key in a command can be read by everyone; clients need the job's own key anyway (security.endpoint)"
# Of the frontends: Dynamo's and the router's names. What lies before them asks for keys and speaks TLS.
OWNED_FRONTEND_FLAGS = {
    **dict.fromkeys(("http-port", "port"), "set frontend.port instead"),
    **dict.fromkeys(("http-host", "host"), "frontends listen on 127.0.0.1, and clients use the front before them"),
    **dict.fromkeys(("tls-cert-path", "tls-key-path"), "set security.tls instead"),
    **dict.fromkeys(("api-key", "control-plane-api-keys"), _KEY),
}
# Dynamo reads these in the flags' place. With its own TLS the job would wait for an answer in plain text until
# timeouts.ready.
OWNED_FRONTEND_ENV = {
    "DYN_HTTP_HOST": OWNED_FRONTEND_FLAGS["http-host"],
    "DYN_HTTP_PORT": OWNED_FRONTEND_FLAGS["http-port"],
    "DYN_TLS_CERT_PATH": OWNED_FRONTEND_FLAGS["tls-cert-path"],
    "DYN_TLS_KEY_PATH": OWNED_FRONTEND_FLAGS["tls-key-path"],
}
# SGLang's own HTTP server has these. Under Dynamo they do nothing (ai-dynamo/dynamo#8605), and without it they keep
# the router's and the job's own questions out.
_TLS = "TLS is the front's, not the workers': set security.tls instead"
_TLS_FLAGS = ("ssl-certfile", "ssl-keyfile", "ssl-ca-certs", "ssl-keyfile-password", "enable-ssl-refresh")
OWNED_SERVER_FLAGS = {
    **dict.fromkeys(("api-key", "admin-api-key"), _KEY),
    **dict.fromkeys(_TLS_FLAGS, _TLS),
}
