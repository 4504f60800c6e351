"""One attempt at one instance: the request's head made clean, its body streamed up, the answer streamed back.

`http.Forward` is the pipeline's last stage. Under it: `sessions` (one requests.Session an instance, whose adapter owns
the pool), `pool`, `dial` (addresses, TLS), `connection` (bytes under absolute limits), `upload`, `headers`, `answers`
and `bodies` (the answer's head and framing), `resolver` (names, off the request path).
"""
