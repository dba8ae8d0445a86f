"""`helm test`: asks the gateway for a destination that it refuses and for one that it allows.

    python3 ask.py GATEWAY PORT DENIED [ALLOWED]

Status 0: refused by policy, and allowed. No dependency, so that it runs in the gateway's own image.
"""

import socket
import sys
import time

SECONDS = 15.0
TRIES = 5
FORBIDDEN, ESTABLISHED = 403, 200


def ask(gateway: str, port: int, destination: str) -> tuple[int, str]:
    """Status and head of the answer to a CONNECT. Raises OSError if the gateway cannot be reached."""
    if ":" not in destination:
        destination += ":443"
    with socket.create_connection((gateway, port), SECONDS) as connection:
        connection.sendall(f"CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < 65536:
            part = connection.recv(4096)
            if not part:
                break
            answer += part
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    words = head.split(" ", 2)
    return (int(words[1]) if len(words) > 1 and words[1].isdigit() else 0), head


def ask_until_there(gateway: str, port: int, destination: str) -> tuple[int, str]:
    """The same; a Service that was made just now may take some seconds."""
    for _ in range(TRIES - 1):
        try:
            return ask(gateway, port, destination)
        except OSError as problem:
            print(f"{gateway}:{port}: {problem}", flush=True)
            time.sleep(2)
    return ask(gateway, port, destination)


def main(gateway: str, port: str, denied: str, allowed: str = "") -> int:
    """The exit status."""
    wanted = [(denied, FORBIDDEN)] + ([(allowed, ESTABLISHED)] if allowed else [])
    failed = 0
    for destination, status in wanted:
        got, head = ask_until_there(gateway, int(port), destination)
        good = got == status and (status == ESTABLISHED or "error=http_request_denied" in head)
        print(f"{'ok' if good else 'FAILED'}: {destination} is answered {got}, expected {status}")
        if not good:
            print(head)
        failed += not good
    if not allowed:
        print("test.allowed is empty: whether anything is allowed was not tried")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
