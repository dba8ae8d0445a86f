"""llhttp, through httptools, with none of its leniencies switched on. It stands for servers that parse as Node does."""

import httptools

from gateway.wire.http.messages import Request, Response


class _Heard:
    """What llhttp reports about one head. It does not refer to its parser, which refers to it."""

    __slots__ = ("first", "has_ended", "is_whole", "lines")

    def __init__(self) -> None:
        self.first = b""
        self.is_whole = False
        self.has_ended = False
        self.lines: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self.first = url

    def on_status(self, phrase: bytes) -> None:
        self.first = phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        self.lines.append(name + b": " + value)

    def on_headers_complete(self) -> None:
        self.is_whole = True

    def on_message_complete(self) -> None:
        self.has_ended = True


class LlhttpWitness:
    """A new parser for each head: it is cheap, and no state of one message is left to the next."""

    def confirms_request(self, head: bytes, request: Request) -> bool:
        heard = _Heard()
        parser = httptools.HttpRequestParser(heard)
        if not _feed(parser, head) or not heard.is_whole:
            return False
        # For llhttp an upgrade ends the message whatever its content is. Here no content passes that was not judged.
        if heard.has_ended != request.framing.is_empty and not parser.should_upgrade():
            return False
        first_line = b"%b %b HTTP/%b" % (parser.get_method(), heard.first, parser.get_http_version().encode())
        return _is_same(heard, first_line, head, request)

    def confirms_response(self, head: bytes, response: Response) -> bool:
        heard = _Heard()
        parser = httptools.HttpResponseParser(heard)
        if not _feed(parser, head):
            return False
        first_line = b"HTTP/%b %d %b" % (parser.get_http_version().encode(), parser.get_status_code(), heard.first)
        return heard.is_whole and _is_same(heard, first_line, head, response)


def _line_of(message: Request | Response) -> str:
    if isinstance(message, Request):
        return f"{message.method} {message.target} HTTP/1.{message.minor}"
    return f"HTTP/1.{message.minor} {message.status} {message.phrase}"


def _feed(parser: httptools.HttpRequestParser | httptools.HttpResponseParser, head: bytes) -> bool:
    """Whether the parser accepts the head, at whose end it may report an upgrade."""
    try:
        parser.feed_data(head)
    except httptools.HttpParserError:
        return False
    except httptools.HttpParserUpgrade:
        return True
    return True


def _is_same(heard: _Heard, first_line: bytes, head: bytes, message: Request | Response) -> bool:
    """Whether what was reported is the head itself, byte for byte (nearly always) or else line for line."""
    if b"\r\n".join([first_line, *heard.lines, b"\r\n"]) == head:
        return True
    ours = [_line_of(message), *[f"{name}: {value}" for name, value in message.fields]]
    theirs = [first_line, *heard.lines]
    return [line.rstrip(" \t").encode("latin-1") for line in ours] == [line.rstrip(b" \t") for line in theirs]
