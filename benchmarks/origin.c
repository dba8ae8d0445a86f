/*
 * The origin: what stands behind the proxies. One process, one thread, one epoll.
 *
 *     origin ADDRESS tls=FIRST-LAST echo=FIRST-LAST bulk=FIRST-LAST http=FIRST-LAST
 *
 * tls   reads one ClientHello, however it is cut, and answers 64 bytes that begin with its hash
 * echo  sends back what it receives
 * bulk  reads two counts, sends so many bytes of the pattern down, checks so many bytes coming up, then sends a receipt of 64 bytes
 * http  reads requests on a kept connection and answers GET /get/N with 200 bytes of the pattern from N on, GET /down/N with N bytes of
 *       it; of POST /up/N it checks N bytes of content and answers with a receipt of 64 bytes
 *
 * Every role then waits for the other side to close. A peer that breaks the rules is closed, which its client counts as an error.
 * Prints "ready" when it listens, ends when its standard input ends.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <arpa/inet.h>

enum role { TLS, ECHO, BULK, HTTP };
static const char *const ROLE_NAMES[] = {"tls", "echo", "bulk", "http"};

struct peer {
    int fd;
    int listening;
    enum role role;
    uint64_t have;                 /* bytes of the ClientHello or of the bulk header */
    uint64_t sent, to_send;        /* bulk, down */
    uint64_t received, to_receive; /* bulk, up */
    int answered;
    unsigned char head[];          /* HELLO_MAX bytes, only for what must be held */
};

static int poller;
static unsigned char chunk[CHUNK];

static void listen_on(const char *address, int port, enum role role) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, address, &name.sin_addr) != 1)
        die("address");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&name, sizeof name) != 0 || listen(fd, 4096) != 0)
        die("listen");
    struct peer *listener = calloc(1, sizeof *listener);
    *listener = (struct peer){.fd = fd, .listening = 1, .role = role};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static void listen_as_told(const char *address, const char *argument) {
    char role[8];
    int first, last;
    if (sscanf(argument, "%7[a-z]=%d-%d", role, &first, &last) != 3)
        errno = EINVAL, die(argument);
    for (int i = 0; i < 4; i++)
        if (strcmp(role, ROLE_NAMES[i]) == 0)
            for (int port = first; port <= last; port++)
                listen_on(address, port, (enum role)i);
}

static void accept_all(const struct peer *listener) {
    for (;;) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        send_at_once(fd);
        struct peer *peer = calloc(1, sizeof *peer + (listener->role == ECHO ? 0 : HELLO_MAX));
        peer->fd = fd;
        peer->role = listener->role;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

/* 1 when the TLS records in hold a whole handshake message, 0 when more must come, -1 when it is something else. */
static int hello_state(const unsigned char *bytes, size_t length) {
    unsigned char head[4];
    size_t at = 0, payload = 0, wanted = sizeof head;
    while (payload < wanted) {
        if (length < at + 5)
            return 0;
        size_t record = (size_t)bytes[at + 3] << 8 | bytes[at + 4];
        if (bytes[at] != 0x16)
            return -1;
        for (size_t i = 0; i < record && payload + i < sizeof head; i++) {
            if (length <= at + 5 + i)
                return 0;
            head[payload + i] = bytes[at + 5 + i];
        }
        payload += record;
        at += 5 + record;
        if (payload >= sizeof head)
            wanted = sizeof head + ((size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3]);
    }
    return length >= at ? 1 : 0;
}

static int on_hello(struct peer *peer) {
    ssize_t got = recv(peer->fd, peer->head + peer->have, HELLO_MAX - peer->have, 0);
    if (got <= 0 || peer->answered)
        return got < 0 && errno == EAGAIN;
    peer->have += (uint64_t)got;
    int state = hello_state(peer->head, peer->have);
    if (state <= 0)
        return state == 0 && peer->have < HELLO_MAX;
    unsigned char answer[MESSAGE];
    fill_answer(answer, hash_of(peer->head, peer->have));
    peer->answered = 1;
    return send(peer->fd, answer, sizeof answer, MSG_NOSIGNAL) == sizeof answer;
}

static int on_echo(struct peer *peer) {
    ssize_t got = recv(peer->fd, chunk, sizeof chunk, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    return send(peer->fd, chunk, (size_t)got, MSG_NOSIGNAL) == got;
}

static uint64_t big_endian(const unsigned char *bytes) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | bytes[i];
    return value;
}

static int read_bulk_header(struct peer *peer) {
    ssize_t got = recv(peer->fd, peer->head + peer->have, BULK_HEADER - peer->have, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    peer->have += (uint64_t)got;
    if (peer->have == BULK_HEADER) {
        peer->to_send = big_endian(peer->head);
        peer->to_receive = big_endian(peer->head + 8);
    }
    return 1;
}

static int receive_bulk(struct peer *peer) {
    ssize_t got = recv(peer->fd, chunk, sizeof chunk, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    if (!matches_pattern(chunk, (size_t)got, peer->received))
        return 0;
    peer->received += (uint64_t)got;
    if (peer->received < peer->to_receive)
        return 1;
    unsigned char receipt[MESSAGE];
    fill_answer(receipt, peer->received);
    return peer->received == peer->to_receive && send(peer->fd, receipt, sizeof receipt, MSG_NOSIGNAL) == sizeof receipt;
}

static int send_bulk(struct peer *peer) {
    uint64_t left = peer->to_send - peer->sent;
    ssize_t put = send(peer->fd, pattern + peer->sent % PERIOD, left < CHUNK ? left : CHUNK, MSG_NOSIGNAL);
    if (put < 0)
        return errno == EAGAIN;
    peer->sent += (uint64_t)put;
    return 1;
}

static int on_bulk(struct peer *peer, uint32_t events) {
    if (events & EPOLLIN && !(peer->have < BULK_HEADER ? read_bulk_header(peer) : receive_bulk(peer)))
        return 0;
    if (peer->sent < peer->to_send && !send_bulk(peer))
        return 0;
    struct epoll_event event = {.events = EPOLLIN | (peer->sent < peer->to_send ? EPOLLOUT : 0), .data.ptr = peer};
    epoll_ctl(poller, EPOLL_CTL_MOD, peer->fd, &event);
    return 1;
}

/* ---------------------------------------------------------------------------------------------------------------- HTTP */

static int answer_http(const struct peer *peer, uint64_t length, const void *content, size_t size) {
    char answer[1024];
    int head = snprintf(answer, sizeof answer,
                        "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: origin\r\nContent-Type: application/json\r\n"
                        "Content-Length: %llu\r\nCache-Control: no-store\r\nVary: Accept-Encoding\r\nX-Request-Id: 0b84c5da3f6e1d09\r\n\r\n",
                        (unsigned long long)length);
    memcpy(answer + head, content, size);
    return send(peer->fd, answer, (size_t)head + size, MSG_NOSIGNAL) == (ssize_t)((size_t)head + size);
}

/* Content of an upload; the receipt follows its last byte. */
static int take_upload(struct peer *peer, const unsigned char *bytes, size_t length) {
    if (peer->received + length > peer->to_receive || !matches_pattern(bytes, length, peer->received))
        return 0;
    peer->received += length;
    if (peer->received < peer->to_receive)
        return 1;
    unsigned char receipt[MESSAGE];
    fill_answer(receipt, peer->received);
    peer->received = peer->to_receive = 0;
    return answer_http(peer, sizeof receipt, receipt, sizeof receipt);
}

/* The head at the start of what is held, and what came behind it. 0 if it is none that we serve. */
static int on_request(struct peer *peer, const char *end) {
    const char *head = (const char *)peer->head;
    unsigned long long operand;
    size_t rest = peer->have - (size_t)(end + 4 - head);
    peer->have = 0;
    if (sscanf(head, "POST /up/%llu HTTP/1.1", &operand) == 1) {
        const char *length = strcasestr(head, "\r\nContent-Length: ");
        peer->to_receive = operand;
        return length && length < end && strtoull(length + 18, NULL, 10) == operand && take_upload(peer, (const unsigned char *)end + 4, rest);
    }
    if (rest)
        return 0;
    if (sscanf(head, "GET /get/%llu HTTP/1.1", &operand) == 1)
        return answer_http(peer, ANSWER, pattern + operand % PERIOD, ANSWER);
    if (sscanf(head, "GET /down/%llu HTTP/1.1", &operand) != 1 || !answer_http(peer, operand, "", 0))
        return 0;
    peer->sent = 0;
    peer->to_send = operand;
    return 1;
}

static int read_request(struct peer *peer) {
    if (peer->to_receive) {
        ssize_t got = recv(peer->fd, chunk, sizeof chunk, 0);
        return got <= 0 ? got < 0 && errno == EAGAIN : take_upload(peer, chunk, (size_t)got);
    }
    ssize_t got = recv(peer->fd, peer->head + peer->have, HELLO_MAX - 1 - peer->have, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    peer->have += (uint64_t)got;
    peer->head[peer->have] = 0;
    const char *end = strstr((const char *)peer->head, "\r\n\r\n");
    return end ? on_request(peer, end) : peer->have < HELLO_MAX - 1;
}

static int on_http(struct peer *peer, uint32_t events) {
    if (events & EPOLLIN && !read_request(peer))
        return 0;
    int was_sending = peer->sent < peer->to_send;
    if (was_sending && !send_bulk(peer))
        return 0;
    if (was_sending) {
        struct epoll_event event = {.events = EPOLLIN | (peer->sent < peer->to_send ? EPOLLOUT : 0), .data.ptr = peer};
        epoll_ctl(poller, EPOLL_CTL_MOD, peer->fd, &event);
    }
    return 1;
}

static int serve(struct peer *peer, uint32_t events) {
    switch (peer->role) {
    case TLS:
        return on_hello(peer);
    case ECHO:
        return on_echo(peer);
    case BULK:
        return on_bulk(peer, events);
    default:
        return on_http(peer, events);
    }
}

int main(int count, char **arguments) {
    if (count < 3)
        errno = EINVAL, die("usage: origin ADDRESS ROLE=FIRST-LAST...");
    raise_descriptor_limit();
    fill_pattern();
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 2; i < count; i++)
        listen_as_told(arguments[1], arguments[i]);
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL}, events[256];
    if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0)
        die("standard input must be a pipe");
    puts("ready");
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct peer *peer = events[i].data.ptr;
            if (peer == NULL)
                return 0;
            if (peer->listening) {
                accept_all(peer);
            } else if (!serve(peer, events[i].events)) {
                close(peer->fd);
                free(peer);
            }
        }
    }
}
