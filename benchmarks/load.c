/*
 * The load generator: a client that opens tunnels through a proxy. One process, one thread, one epoll.
 *
 *     load MODE --proxy IP:PORT --target NAME --ports FIRST-LAST [--hello FILE]... [--groups N]
 *               [--tunnels N] [--total N] [--message BYTES] [--down BYTES] [--up BYTES] [--captured 1]
 *
 * tunnels     opens, uses and closes --total tunnels, --tunnels of them at a time
 * denials     asks --total times, --tunnels at a time, for a tunnel that must be refused with a 403, and reads that to its end
 * roundtrips  opens --tunnels tunnels, then sends --total messages of --message bytes (64) to and fro in them
 * bulk        opens --tunnels tunnels, then moves --down or --up bytes through them, shared out evenly
 * idle        opens --tunnels tunnels and holds them
 *
 * With --hello a tunnel begins with that ClientHello (several files take turns; one longer than 1,400 bytes goes out in two
 * segments; client random and session id are new in each, as in life) and 64 bytes that answer it, else with an echo of 64 bytes.
 * With --captured no proxy is asked: each connection goes to one of the ports at the proxy's IP, and routes may lead it elsewhere.
 * Tunnels leave from 127.1.GROUP.1-4, the groups in turn. The client closes, so the end of a tunnel is its FIN.
 *
 * A mode that holds tunnels prints a line when they are open and goes on at a line on standard input; `roundtrips` and `bulk`
 * print a second line when the work is done and close at a second line. Each line is the JSON of `report`; its latencies are those
 * of a tunnel from connect() to its first answer, of a denial to its end, of a round trip. Whatever is not as
 * it should be (status, length, content, an early end) is an error; after a hundred the run ends. Exit status 1 with errors.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <time.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum { HELLOS = 4, SEGMENT = 1400, AT_A_TIME = 64, STALL_MS = 10000, ERRORS_MAX = 100, HEAD_MAX = 16384, RANDOM_AT = 11, SESSION_AT = 44 };

enum mode { TUNNELS, DENIALS, ROUNDTRIPS, BULK, IDLE, MODES };
static const char *const MODE_NAMES[MODES] = {"tunnels", "denials", "roundtrips", "bulk", "idle"};

/* A tunnel in the order of its life. `bulk` takes WORKING instead of FIRST. */
enum state { CONNECTING, CONNECT_HEAD, FIRST, OPEN, WORKING, FINISHED };

struct tunnel {
    int fd;
    enum state state;
    unsigned number;
    uint64_t received, to_receive;
    uint64_t sent, to_send;
    size_t wanted;                 /* bytes of the answer that is awaited, at most MESSAGE_MAX */
    double began;                  /* what is timed */
    unsigned char *expected, *in;  /* MESSAGE_MAX and HEAD_MAX bytes of the slot, allocated when it is first used */
};

struct hello {
    size_t length;
    unsigned char bytes[HELLO_MAX];
};

static struct {
    enum mode mode;
    struct sockaddr_in proxy;
    const char *target;
    int first_port, last_port, groups, captured;
    unsigned tunnels, total, message;
    uint64_t down, up;
    struct hello hellos[HELLOS];
    int hello_count;
} options = {.tunnels = 32, .total = 1000, .message = MESSAGE};

static struct {
    unsigned started, opened, finished, errors; /* tunnels; `finished` counts the round trips in that mode */
    unsigned sent;                              /* round trips begun */
    uint64_t bytes;
    char first_error[160];
} tally;

static struct {
    unsigned count, room;
    float *microseconds;
} latencies;

static int poller;
static struct tunnel *tunnels;
static unsigned char chunk[CHUNK];
static uint64_t random_state = 0x9E3779B97F4A7C15u;

static double seconds_of(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void note_latency(double began) {
    if (latencies.count < latencies.room)
        latencies.microseconds[latencies.count++] = (float)((seconds_of(CLOCK_MONOTONIC) - began) * 1e6);
}

static int by_size(const void *one, const void *other) {
    float a = *(const float *)one, b = *(const float *)other;
    return (a > b) - (a < b);
}

/* The latencies must be sorted. */
static double quantile(double share) {
    return latencies.count ? latencies.microseconds[(unsigned)((latencies.count - 1) * share)] : 0;
}

static void report(const char *phase, unsigned units, double seconds, double cpu) {
    qsort(latencies.microseconds, latencies.count, sizeof *latencies.microseconds, by_size);
    printf("{\"phase\": \"%s\", \"units\": %u, \"tunnels\": %u, \"errors\": %u, \"bytes\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, "
           "\"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"first_error\": \"%s\"}\n",
           phase, units, tally.opened, tally.errors, (unsigned long long)tally.bytes, seconds, cpu, quantile(0.5), quantile(0.99),
           quantile(0.999), tally.first_error);
    fflush(stdout);
}

static void watch(struct tunnel *tunnel, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.ptr = tunnel};
    if (epoll_ctl(poller, operation, tunnel->fd, &event) != 0)
        die("epoll_ctl");
}

static void finish(struct tunnel *tunnel) {
    if (tunnel->fd >= 0)
        close(tunnel->fd);
    tunnel->fd = -1;
    tunnel->state = FINISHED;
}

__attribute__((format(printf, 2, 3))) static void fail(struct tunnel *tunnel, const char *what, ...) {
    if (tally.errors++ == 0) {
        va_list values;
        va_start(values, what);
        vsnprintf(tally.first_error, sizeof tally.first_error, what, values);
        va_end(values);
        for (char *c = tally.first_error; *c; c++)
            if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ')
                *c = ' ';
    }
    finish(tunnel);
}

/* ------------------------------------------------------------------------------------------------------------ sending */

/* What is small goes out whole: the socket's buffer is empty whenever this is called. */
static int send_whole(struct tunnel *tunnel, const void *bytes, size_t length) {
    if (send(tunnel->fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length)
        return 1;
    fail(tunnel, "send: %s", strerror(errno));
    return 0;
}

static void fill_random(unsigned char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
        random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
        bytes[i] = (unsigned char)random_state;
    }
}

static void send_hello(struct tunnel *tunnel) {
    struct hello *hello = &options.hellos[tunnel->number % (unsigned)options.hello_count];
    fill_random(hello->bytes + RANDOM_AT, 32);
    if (hello->bytes[SESSION_AT - 1] == 32)
        fill_random(hello->bytes + SESSION_AT, 32);
    fill_answer(tunnel->expected, hash_of(hello->bytes, hello->length));
    size_t first = hello->length < SEGMENT ? hello->length : SEGMENT;
    if (send_whole(tunnel, hello->bytes, first) && first < hello->length)
        send_whole(tunnel, hello->bytes + first, hello->length - first);
}

static void send_message(struct tunnel *tunnel, size_t length) {
    fill_random(tunnel->expected, length);
    tunnel->wanted = length;
    tunnel->received = 0;
    send_whole(tunnel, tunnel->expected, length);
}

static int port_of(const struct tunnel *tunnel) {
    int ports = options.last_port - options.first_port + 1;
    return options.first_port + (int)(tunnel->number % (unsigned)ports);
}

static void send_connect(struct tunnel *tunnel) {
    char head[512];
    int port = port_of(tunnel);
    int length = snprintf(head, sizeof head,
                          "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: load/1\r\nProxy-Connection: Keep-Alive\r\n\r\n",
                          options.target, port, options.target, port);
    tunnel->state = CONNECT_HEAD;
    watch(tunnel, EPOLLIN, EPOLL_CTL_MOD);
    send_whole(tunnel, head, (size_t)length);
}

static void send_bulk(struct tunnel *tunnel) {
    uint64_t left = tunnel->to_send - tunnel->sent;
    ssize_t put = send(tunnel->fd, pattern + tunnel->sent % PERIOD, left < CHUNK ? left : CHUNK, MSG_NOSIGNAL);
    if (put < 0 && errno != EAGAIN) {
        fail(tunnel, "send: %s", strerror(errno));
        return;
    }
    tunnel->sent += put > 0 ? (uint64_t)put : 0;
    if (tunnel->sent == tunnel->to_send)
        watch(tunnel, EPOLLIN, EPOLL_CTL_MOD);
}

/* ---------------------------------------------------------------------------------------------------------- receiving */

/* 1 when the head of a 200 is complete, 0 when more must come; anything else fails the tunnel. */
static int connected(struct tunnel *tunnel) {
    ssize_t got = recv(tunnel->fd, tunnel->in + tunnel->received, HEAD_MAX - 1 - tunnel->received, 0);
    if (got <= 0) {
        fail(tunnel, "no answer to CONNECT: %s", got ? strerror(errno) : "closed");
        return 0;
    }
    tunnel->received += (uint64_t)got;
    tunnel->in[tunnel->received] = 0;
    const char *head = (const char *)tunnel->in, *end = strstr(head, "\r\n\r\n");
    if (end == NULL && tunnel->received < HEAD_MAX - 1)
        return 0;
    if (end == NULL || strncmp(head, "HTTP/1.", 7) != 0 || strncmp(head + 8, " 200 ", 5) != 0)
        fail(tunnel, "CONNECT answered: %.60s", head);
    else if ((size_t)(end + 4 - head) != tunnel->received)
        fail(tunnel, "bytes behind the 200 before the origin spoke");
    return tunnel->state == CONNECT_HEAD;
}

/* A refusal is read to its end: the length that it tells, or the end of the connection. 1 when it is there. */
static int denied(struct tunnel *tunnel) {
    ssize_t got = recv(tunnel->fd, tunnel->in + tunnel->received, HEAD_MAX - 1 - tunnel->received, 0);
    if (got < 0) {
        fail(tunnel, "no refusal of CONNECT: %s", strerror(errno));
        return 0;
    }
    tunnel->received += (uint64_t)got;
    tunnel->in[tunnel->received] = 0;
    const char *head = (const char *)tunnel->in, *end = strstr(head, "\r\n\r\n"), *length = strcasestr(head, "\r\nContent-Length:");
    if (end == NULL && got)
        return 0;
    if (end == NULL || strncmp(head, "HTTP/1.", 7) != 0 || strncmp(head + 8, " 403 ", 5) != 0) {
        fail(tunnel, "CONNECT was not refused with a 403: %.60s", head);
        return 0;
    }
    int complete = got == 0;
    if (length != NULL && length < end)
        complete = complete || strtoull(length + 17, NULL, 10) <= tunnel->received - (uint64_t)(end + 4 - head);
    return complete;
}

/* 1 when the expected bytes are there, 0 when more must come; anything else fails the tunnel. */
static int answered(struct tunnel *tunnel) {
    ssize_t got = recv(tunnel->fd, tunnel->in + tunnel->received, tunnel->wanted + 1 - tunnel->received, 0);
    if (got <= 0) {
        fail(tunnel, "no answer in the tunnel: %s", got ? strerror(errno) : "closed");
        return 0;
    }
    tunnel->received += (uint64_t)got;
    if (tunnel->received < tunnel->wanted)
        return 0;
    if (tunnel->received > tunnel->wanted || memcmp(tunnel->in, tunnel->expected, tunnel->wanted) != 0) {
        fail(tunnel, "another answer than expected in the tunnel");
        return 0;
    }
    return 1;
}

static void receive_bulk(struct tunnel *tunnel) {
    ssize_t got = recv(tunnel->fd, chunk, sizeof chunk, 0);
    if (got <= 0) {
        fail(tunnel, "download ended early: %s", got ? strerror(errno) : "closed");
    } else if (!matches_pattern(chunk, (size_t)got, tunnel->received)) {
        fail(tunnel, "another byte than expected in the download");
    } else {
        tunnel->received += (uint64_t)got;
        if (tunnel->received > tunnel->to_receive)
            fail(tunnel, "download longer than asked for");
    }
}

/* --------------------------------------------------------------------------------------------------- the life of a tunnel */

static void start(struct tunnel *tunnel) {
    unsigned number = tally.started++;
    unsigned char *room = tunnel->expected ? tunnel->expected : malloc(MESSAGE_MAX + HEAD_MAX + 1);
    if (room == NULL)
        die("malloc");
    *tunnel = (struct tunnel){.number = number, .state = CONNECTING, .wanted = MESSAGE, .expected = room, .in = room + MESSAGE_MAX};
    tunnel->began = seconds_of(CLOCK_MONOTONIC);
    tunnel->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (tunnel->fd < 0)
        die("socket");
    send_at_once(tunnel->fd);
    if (options.groups) {
        unsigned groups = (unsigned)options.groups, host = 127u << 24 | 1u << 16 | number % groups << 8 | (1 + number / groups % 4);
        struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(host)};
        int on = 1;
        setsockopt(tunnel->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(tunnel->fd, (struct sockaddr *)&source, sizeof source) != 0)
            die("bind");
    }
    watch(tunnel, EPOLLOUT, EPOLL_CTL_ADD);
    struct sockaddr_in to = options.proxy;
    if (options.captured)
        to.sin_port = htons((uint16_t)port_of(tunnel));
    if (connect(tunnel->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
        fail(tunnel, "connect: %s", strerror(errno));
}

static void on_connected(struct tunnel *tunnel) {
    tally.opened++;
    tunnel->received = 0;
    tunnel->state = options.mode == BULK ? OPEN : FIRST;
    if (options.mode == BULK)
        return;
    if (options.hello_count)
        send_hello(tunnel);
    else
        send_message(tunnel, MESSAGE);
}

static void on_connecting(struct tunnel *tunnel) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(tunnel->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error)
        fail(tunnel, "connect: %s", strerror(error));
    else if (options.captured)
        watch(tunnel, EPOLLIN, EPOLL_CTL_MOD), on_connected(tunnel);
    else
        send_connect(tunnel);
}

static void on_first_answer(struct tunnel *tunnel) {
    tally.bytes += MESSAGE;
    tunnel->state = OPEN;
    if (options.mode == TUNNELS) {
        note_latency(tunnel->began);
        finish(tunnel);
        tally.finished++;
    }
}

static void on_denied(struct tunnel *tunnel) {
    note_latency(tunnel->began);
    tally.opened++;
    tally.finished++;
    finish(tunnel);
}

static void begin_roundtrip(struct tunnel *tunnel) {
    tally.sent++;
    tunnel->state = WORKING;
    tunnel->began = seconds_of(CLOCK_MONOTONIC);
    send_message(tunnel, options.message);
}

static void on_roundtrip(struct tunnel *tunnel) {
    note_latency(tunnel->began);
    tally.bytes += options.message;
    tally.finished++;
    if (tally.sent < options.total) {
        begin_roundtrip(tunnel);
    } else {
        tunnel->state = OPEN;
    }
}

static void on_bulk(struct tunnel *tunnel, uint32_t events) {
    if (tunnel->sent < tunnel->to_send) {
        if (events & EPOLLIN)
            fail(tunnel, "upload ended early");
        else
            send_bulk(tunnel);
    } else if (tunnel->to_send) {
        if (answered(tunnel)) {
            tunnel->state = OPEN;
            tally.bytes += tunnel->sent;
            tally.finished++;
        }
    } else {
        receive_bulk(tunnel);
        if (tunnel->state == WORKING && tunnel->received == tunnel->to_receive) {
            tunnel->state = OPEN;
            tally.bytes += tunnel->received;
            tally.finished++;
        }
    }
}

static void advance(struct tunnel *tunnel, uint32_t events) {
    switch (tunnel->state) {
    case CONNECTING:
        on_connecting(tunnel);
        break;
    case CONNECT_HEAD:
        if (options.mode == DENIALS) {
            if (denied(tunnel))
                on_denied(tunnel);
        } else if (connected(tunnel))
            on_connected(tunnel);
        break;
    case FIRST:
        if (answered(tunnel))
            on_first_answer(tunnel);
        break;
    case WORKING:
        if (options.mode == BULK)
            on_bulk(tunnel, events);
        else if (answered(tunnel))
            on_roundtrip(tunnel);
        break;
    case OPEN:
        fail(tunnel, "something came in, or the tunnel ended, while it was idle");
        break;
    case FINISHED:
        break;
    }
}

/* Waits once and lets every ready tunnel go on; 0 when nothing moves any more. */
static int turn(void) {
    struct epoll_event events[256];
    int ready = epoll_wait(poller, events, 256, STALL_MS);
    if (ready == 0 && tally.errors++ == 0)
        snprintf(tally.first_error, sizeof tally.first_error, "nothing moved for %d seconds", STALL_MS / 1000);
    for (int i = 0; i < ready; i++)
        advance(events[i].data.ptr, events[i].events);
    return ready > 0 && tally.errors < ERRORS_MAX;
}

/* ------------------------------------------------------------------------------------------------------------- the modes */

static unsigned count_in(enum state state) {
    unsigned count = 0;
    for (unsigned i = 0; i < options.tunnels; i++)
        count += tunnels[i].state == state;
    return count;
}

/* A closed loop: when one of the slots is free its next tunnel starts at once. */
static void run_tunnels(void) {
    unsigned slots = options.tunnels < options.total ? options.tunnels : options.total;
    for (unsigned i = 0; i < slots; i++)
        start(&tunnels[i]);
    while (tally.finished + tally.errors < options.total && turn())
        for (unsigned i = 0; i < slots; i++)
            while (tunnels[i].state == FINISHED && tally.started < options.total && tally.errors < ERRORS_MAX)
                start(&tunnels[i]);
}

static void open_tunnels(void) {
    unsigned opened = 0;
    while (opened + tally.errors < options.tunnels) {
        while (tally.started < options.tunnels && tally.started - opened - tally.errors < AT_A_TIME)
            start(&tunnels[tally.started]);
        if (!turn())
            break;
        opened = count_in(OPEN);
    }
}

static void run_roundtrips(void) {
    for (unsigned i = 0; i < options.tunnels && tally.sent < options.total; i++) {
        if (tunnels[i].state == OPEN)
            begin_roundtrip(&tunnels[i]);
    }
    while (tally.finished + tally.errors < options.total && count_in(WORKING) && turn()) {
    }
}

static void put_big_endian(unsigned char *bytes, uint64_t value) {
    for (int i = 7; i >= 0; i--, value >>= 8)
        bytes[i] = (unsigned char)value;
}

static void begin_bulk(struct tunnel *tunnel, uint64_t down, uint64_t up) {
    unsigned char header[BULK_HEADER];
    put_big_endian(header, down);
    put_big_endian(header + 8, up);
    tunnel->state = WORKING;
    tunnel->to_receive = down;
    tunnel->to_send = up;
    tunnel->wanted = MESSAGE;
    fill_answer(tunnel->expected, up);
    if (send_whole(tunnel, header, sizeof header) && up)
        watch(tunnel, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

static void run_bulk(void) {
    for (unsigned i = 0; i < options.tunnels; i++)
        if (tunnels[i].state == OPEN)
            begin_bulk(&tunnels[i], options.down / options.tunnels, options.up / options.tunnels);
    while (tally.finished + tally.errors < options.tunnels && turn()) {
    }
}

static void wait_for_line(void) {
    int c;
    do
        c = getchar();
    while (c != '\n' && c != EOF);
}

static void check_still_open(void) {
    for (unsigned i = 0; i < options.tunnels; i++)
        if (tunnels[i].state == OPEN && (recv(tunnels[i].fd, chunk, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN))
            fail(&tunnels[i], "something came in, or the tunnel ended, while it was idle");
}

static void close_all(void) {
    for (unsigned i = 0; i < options.tunnels; i++)
        finish(&tunnels[i]);
}

static void timed(const char *phase, void (*work)(void), const unsigned *units) {
    double wall = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    tally.bytes = 0;
    work();
    report(phase, *units, seconds_of(CLOCK_MONOTONIC) - wall, seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu);
}

/* ------------------------------------------------------------------------------------------------------------ command line */

static void read_hello(const char *path) {
    if (options.hello_count == HELLOS)
        errno = E2BIG, die("--hello");
    struct hello *hello = &options.hellos[options.hello_count++];
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        die(path);
    hello->length = fread(hello->bytes, 1, sizeof hello->bytes, file);
    fclose(file);
    if (hello->length < SESSION_AT + 32 || hello->length == sizeof hello->bytes)
        errno = EINVAL, die(path);
}

static void read_option(const char *name, const char *value) {
    char host[64];
    int port;
    if (strcmp(name, "--proxy") == 0 && sscanf(value, "%63[0-9.]:%d", host, &port) == 2 && inet_pton(AF_INET, host, &options.proxy.sin_addr) == 1)
        options.proxy.sin_family = AF_INET, options.proxy.sin_port = htons((uint16_t)port);
    else if (strcmp(name, "--target") == 0)
        options.target = value;
    else if (strcmp(name, "--ports") == 0 && sscanf(value, "%d-%d", &options.first_port, &options.last_port) == 2)
        return;
    else if (strcmp(name, "--hello") == 0)
        read_hello(value);
    else if (strcmp(name, "--groups") == 0)
        options.groups = atoi(value);
    else if (strcmp(name, "--captured") == 0)
        options.captured = atoi(value);
    else if (strcmp(name, "--tunnels") == 0)
        options.tunnels = (unsigned)atoi(value);
    else if (strcmp(name, "--total") == 0)
        options.total = (unsigned)atoi(value);
    else if (strcmp(name, "--message") == 0)
        options.message = (unsigned)atoi(value);
    else if (strcmp(name, "--down") == 0)
        options.down = strtoull(value, NULL, 10);
    else if (strcmp(name, "--up") == 0)
        options.up = strtoull(value, NULL, 10);
    else
        errno = EINVAL, die(name);
}

static void read_options(int count, char **arguments) {
    int known = 0;
    for (int i = 0; count > 1 && i < MODES; i++)
        if (strcmp(arguments[1], MODE_NAMES[i]) == 0)
            options.mode = (enum mode)i, known = 1;
    for (int i = 2; i + 1 < count; i += 2)
        read_option(arguments[i], arguments[i + 1]);
    if (options.down && options.up)
        errno = EINVAL, die("--down or --up");
    if (!known || !options.proxy.sin_port || !options.target || !options.first_port || !options.tunnels || !options.message ||
        options.message > MESSAGE_MAX)
        errno = EINVAL, die("usage: load MODE --proxy IP:PORT --target NAME --ports FIRST-LAST ...");
}

int main(int count, char **arguments) {
    read_options(count, arguments);
    raise_descriptor_limit();
    fill_pattern();
    poller = epoll_create1(EPOLL_CLOEXEC);
    tunnels = calloc(options.tunnels, sizeof *tunnels);
    for (unsigned i = 0; i < options.tunnels; i++)
        tunnels[i].fd = -1;
    latencies.room = options.total;
    latencies.microseconds = calloc(options.total, sizeof *latencies.microseconds);

    if (options.mode == TUNNELS || options.mode == DENIALS) {
        timed("done", run_tunnels, &tally.finished);
    } else {
        timed("open", open_tunnels, &tally.opened);
        wait_for_line();
        if (options.mode != IDLE && tally.errors == 0) {
            timed("done", options.mode == BULK ? run_bulk : run_roundtrips, &tally.finished);
            wait_for_line();
        }
        check_still_open();
        close_all();
        report("closed", tally.finished, 0, 0);
    }
    return tally.errors ? 1 : 0;
}
