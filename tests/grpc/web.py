"""Calls of gRPC-Web, made by hand over HTTP/1.1, for tests/proxy/http2/grpc_web.rs.

usage: web.py ADDRESS CASE...

Each case is a function of this file; what is not as it should be is an exception.
"""

import base64
import http.client
import sys

BINARY, TEXT = "application/grpc-web+proto", "application/grpc-web-text+proto"


def frame(message):
    return b"\0" + len(message).to_bytes(4, "big") + message


def frames(body):
    """The frames of a body: flags and contents."""
    found = []
    while body:
        flags, length = body[0], int.from_bytes(body[1:5], "big")
        assert len(body) >= 5 + length, body
        found.append((flags, body[5 : 5 + length]))
        body = body[5 + length :]
    return found


def ask(method, body, content_type=BINARY, **fields):
    """The answer, whose body has not been read."""
    connection = http.client.HTTPConnection(sys.argv[1], timeout=15)
    fields = {name.replace("_", "-"): value for name, value in fields.items()}
    connection.request("POST", f"/test.Echo/{method}", body, {"content-type": content_type, "x-grpc-web": "1", **fields})
    return connection.getresponse()


def ended(trailers):
    """Trailers as they are in the last frame."""
    assert trailers.endswith(b"\r\n"), trailers
    return dict(line.split(b":", 1) for line in trailers[:-2].split(b"\r\n"))


def binary():
    for size in [0, 5, 70_000]:
        message = b"m" * size
        answer = ask("Unary", frame(message), x_test_a="one")
        assert (answer.status, answer.headers["content-type"]) == (200, BINARY), answer.headers
        assert answer.headers["x-test-a"] == "one" and "content-length" not in answer.headers, answer.headers
        (flags, answered), (end_flags, trailers) = frames(answer.read())
        assert (flags, answered, end_flags) == (0, message, 0x80)
        end = ended(trailers)
        assert end[b"grpc-status"] == b"0" and end[b"x-test-a"] == b"one", end
        assert base64.b64decode(end[b"x-bytes-bin"] + b"==") == b"\0\xff", end
        assert not any(name in answer.headers for name in ["grpc-status", "trailer"]), answer.headers


def text():
    for size in range(7):
        message = b"m" * size
        # In two runs, each with its padding.
        sent = frame(message)
        body = base64.b64encode(sent[:4]) + base64.b64encode(sent[4:])
        answer = ask("Unary", body, TEXT)
        assert answer.headers["content-type"] == TEXT, answer.headers
        said = answer.read()
        assert len(said) % 4 == 0, said
        runs = b"".join(base64.b64decode(said[at : at + 4], validate=True) for at in range(0, len(said), 4))
        (_, answered), (flags, trailers) = frames(runs)
        assert (answered, flags) == (message, 0x80)
        assert ended(trailers)[b"grpc-status"] == b"0"
    # Bytes for text, and the other way round.
    said = ask("Unary", base64.b64encode(frame(b"abc")), TEXT, accept=BINARY).read()
    assert frames(said)[0] == (0, b"abc"), said
    said = ask("Unary", frame(b"abc"), BINARY, accept=TEXT).read()
    assert said.startswith(base64.b64encode(frame(b"abc"))), said


def streams():
    """Each message is there before the next one is."""
    answer = ask("Watch", frame(b"one"), grpc_timeout="2S")
    assert answer.read(8) == frame(b"one")
    # Nothing follows until its deadline.
    ((flags, trailers),) = frames(answer.read())
    assert flags == 0x80 and ended(trailers)[b"grpc-status"] == b"4", trailers
    answer = ask("Watch", base64.b64encode(frame(b"one!")), TEXT, grpc_timeout="2S")
    assert answer.read(12) == base64.b64encode(frame(b"one!"))
    said = answer.read()
    assert b"grpc-status:4" in base64.b64decode(said), said
    found = frames(ask("Count", frame(b"1000")).read())
    assert [message for flags, message in found[:-1]] == [b"%d" % index for index in range(1000)]


def failures():
    # Answers that are only a head: the server's, and our own.
    for method, status in [("Fail", "5"), ("None", "12")]:
        answer = ask(method, frame(b"NOT_FOUND no such order"))
        assert (answer.headers["grpc-status"], answer.headers["content-type"]) == (status, BINARY), answer.headers
        assert answer.read() == b""
    for body in [b"AAAAAAA", b"AAAAAAA*", b"A===", base64.b64encode(frame(b"a")) + b"="]:
        answer = ask("Unary", body, TEXT)
        said = (answer.status, answer.headers["grpc-status"], answer.headers["content-type"])
        assert said == (200, "13", "application/grpc-web-text"), (body, answer.headers)
        assert answer.headers["grpc-message"].startswith("grpc_web_text"), answer.headers
        assert answer.read() == b""


def cut():
    """A call whose server goes while it is open."""
    answer = ask("Watch", base64.b64encode(frame(b"one!")), TEXT)
    assert answer.read(12) == base64.b64encode(frame(b"one!"))
    print("one", flush=True)
    ((flags, trailers),) = frames(base64.b64decode(answer.read(), validate=True))
    assert flags == 0x80 and b"response_truncated" in ended(trailers)[b"grpc-message"], trailers
    print(ended(trailers)[b"grpc-status"].decode())


def torn():
    """The same with messages that come faster than they are read: no part of one may look like the whole."""
    answer = ask("Flood", frame(b""))
    begun = answer.read(10)
    print("one", flush=True)
    try:
        found = frames(begun + answer.read())
    except (http.client.IncompleteRead, ConnectionError):
        print("torn")
    else:
        assert found[-1][0] == 0x80 and all(len(message) == 1_000_000 for _, message in found[:-1])
        print("whole")


def others():
    """What is no call of gRPC-Web passes as it is."""
    answer = ask("Unary", frame(b"a"), "application/json")
    assert answer.headers["content-type"] != BINARY and answer.status >= 400, (answer.status, answer.headers)


for case in sys.argv[2:]:
    globals()[case]()
    print(case, flush=True)
