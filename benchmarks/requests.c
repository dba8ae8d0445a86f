/*
 * The load generator of plain HTTP: a client that sends requests in absolute form. One process, one thread, one epoll.
 *
 *     requests MODE --proxy IP:PORT --target NAME --ports FIRST-LAST [--groups N] [--tunnels N] [--total N] [--bytes N]
 *
 * get       --total small GETs over --tunnels connections that are kept, the next as soon as one is answered
 * download  one GET a connection for --bytes of the pattern
 * upload    one POST a connection with --bytes of the pattern
 *
 * A proxy that closes after an answer, announced or not, costs a new connection for the next request; `tunnels` in the report counts
 * connections. Each
 * request has eleven fields as programs send them, each answer of `get` has content of its own, and every byte is checked. Whatever
 * is not as it should be is an error; after the first the run ends. Prints one line as load.c does. Exit status 1 with errors.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <arpa/inet.h>
#include <time.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum { STALL_MS = 10000, HEAD_MAX = 8192, CONNECTIONS_MAX = 1024 };
enum mode { GET, DOWNLOAD, UPLOAD };
static const char *const MODE_NAMES[] = {"get", "download", "upload"};

enum state { CONNECTING, SENDING, HEAD, BODY, IDLE };

struct client {
    int fd;
    unsigned index;
    enum state state;
    unsigned number;               /* of the request */
    uint64_t sent, to_send;        /* of the content up */
    uint64_t received, to_receive; /* of the head, then of the content down */
    int closes;                    /* the proxy announced that it will */
    int reused;                    /* a request was answered on this connection */
    char in[HEAD_MAX];
};

static struct {
    enum mode mode;
    struct sockaddr_in proxy;
    const char *target;
    int first_port, last_port, groups;
    unsigned tunnels, total;
    uint64_t bytes;
} options = {.tunnels = 32, .total = 1000};

static struct {
    unsigned started, opened, finished, errors;
    uint64_t bytes;
    char first_error[160];
} tally;

static int poller;
static struct client clients[CONNECTIONS_MAX];
static unsigned char chunk[CHUNK];

static double seconds_of(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void fail(const char *what, const char *detail) {
    if (tally.errors++ == 0)
        snprintf(tally.first_error, sizeof tally.first_error, "%s: %.90s", what, detail);
    for (char *c = tally.first_error; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ')
            *c = ' ';
}

static void watch(struct client *client, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.ptr = client};
    if (epoll_ctl(poller, operation, client->fd, &event) != 0)
        die("epoll_ctl");
}

static void dial(struct client *client) {
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        die("socket");
    send_at_once(client->fd);
    if (options.groups) {
        unsigned groups = (unsigned)options.groups, n = tally.opened;
        struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(127u << 24 | 1u << 16 | n % groups << 8 | (1 + n / groups % 4))};
        int on = 1;
        setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(client->fd, (struct sockaddr *)&source, sizeof source) != 0)
            die("bind");
    }
    tally.opened++;
    client->reused = 0;
    client->state = CONNECTING;
    watch(client, EPOLLOUT, EPOLL_CTL_ADD);
    if (connect(client->fd, (struct sockaddr *)&options.proxy, sizeof options.proxy) != 0 && errno != EINPROGRESS)
        fail("connect", strerror(errno));
}

static void hang_up(struct client *client) {
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->state = IDLE;
}

static int head_of(const struct client *client, char *head, size_t size) {
    int ports = options.last_port - options.first_port + 1, port = options.first_port + (int)(client->index % (unsigned)ports);
    const char *method = options.mode == UPLOAD ? "POST" : "GET", *what = options.mode == GET ? "get" : options.mode == DOWNLOAD ? "down" : "up";
    uint64_t operand = options.mode == GET ? client->number : options.bytes;
    int length = snprintf(head, size,
                          "%s http://%s:%d/%s/%llu HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate, br\r\n"
                          "Accept: application/json\r\nConnection: keep-alive\r\nAccept-Language: en-GB,en;q=0.9\r\nCache-Control: no-cache\r\n"
                          "Authorization: Bearer 7fd2a1c9e0b84c5da3f6e1d09b7c42a87fd2a1c9e0b84c5da3f6e1d09b7c42a8\r\n"
                          "Cookie: session=0b84c5da3f6e1d09; theme=dark\r\nX-Request-Id: %016x\r\n"
                          "traceparent: 00-0af7651916cd43dd8448eb211c80319c-%016x-%02x\r\n",
                          method, options.target, port, what, (unsigned long long)operand, options.target, port, client->number, client->number,
                          client->number % 100 == 0); /* one in a hundred is traced by its client, as the gateway does of itself */
    if (options.mode == UPLOAD)
        length += snprintf(head + length, size - (size_t)length, "Content-Length: %llu\r\n", (unsigned long long)options.bytes);
    return length + snprintf(head + length, size - (size_t)length, "\r\n");
}

static void ask(struct client *client) {
    char head[2048];
    int length = head_of(client, head, sizeof head);
    client->received = client->sent = 0;
    client->closes = 0;
    client->to_send = options.mode == UPLOAD ? options.bytes : 0;
    if (send(client->fd, head, (size_t)length, MSG_NOSIGNAL) != length && !client->reused)
        fail("send", strerror(errno));
    client->state = client->to_send ? SENDING : HEAD;
    watch(client, EPOLLIN | (client->to_send ? EPOLLOUT : 0), EPOLL_CTL_MOD);
}

static void next(struct client *client) {
    if (tally.started == options.total) {
        hang_up(client);
        return;
    }
    client->number = tally.started++;
    if (client->fd < 0)
        dial(client);
    else
        ask(client);
}

static void send_content(struct client *client) {
    uint64_t left = client->to_send - client->sent;
    ssize_t put = send(client->fd, pattern + client->sent % PERIOD, left < CHUNK ? left : CHUNK, MSG_NOSIGNAL);
    if (put < 0 && errno != EAGAIN)
        fail("send", strerror(errno));
    client->sent += put > 0 ? (uint64_t)put : 0;
    if (client->sent == client->to_send) {
        tally.bytes += client->sent;
        client->state = HEAD;
        watch(client, EPOLLIN, EPOLL_CTL_MOD);
    }
}

static void take_content(struct client *client, const unsigned char *bytes, size_t length) {
    uint64_t offset = client->received + (options.mode == GET ? client->number : 0);
    if (client->received + length > client->to_receive)
        fail("content", "longer than announced");
    else if (options.mode != UPLOAD && !matches_pattern(bytes, length, offset))
        fail("content", "another byte than expected");
    client->received += length;
    tally.bytes += options.mode == UPLOAD ? 0 : length;
    if (client->received < client->to_receive || tally.errors)
        return;
    tally.finished++;
    client->reused = 1;
    if (client->closes)
        hang_up(client);
    next(client);
}

static uint64_t expected_length(void) {
    return options.mode == GET ? ANSWER : options.mode == DOWNLOAD ? options.bytes : MESSAGE;
}

static void read_head(struct client *client) {
    ssize_t got = recv(client->fd, client->in + client->received, HEAD_MAX - 1 - client->received, 0);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN)
            return;
        if (client->reused && client->received == 0) {
            hang_up(client);
            dial(client);
            return;
        }
        fail("no answer", got ? strerror(errno) : "closed");
        return;
    }
    client->received += (uint64_t)got;
    client->in[client->received] = 0;
    char *end = strstr(client->in, "\r\n\r\n");
    if (end == NULL) {
        if (client->received == HEAD_MAX - 1)
            fail("head", "too long");
        return;
    }
    *end = 0;
    const char *length = strcasestr(client->in, "\r\nContent-Length: ");
    if (strncmp(client->in, "HTTP/1.", 7) != 0 || strncmp(client->in + 8, " 200 ", 5) != 0)
        fail("answered", client->in);
    else if (length == NULL || strtoull(length + 18, NULL, 10) != expected_length())
        fail("length", length ? length + 2 : "missing");
    client->closes = client->in[7] == '0' || strcasestr(client->in, "\r\nConnection: close") != NULL;
    size_t rest = client->received - (size_t)(end + 4 - client->in);
    client->received = 0;
    client->to_receive = expected_length();
    client->state = BODY;
    if (rest)
        take_content(client, (unsigned char *)end + 4, rest);
}

static void read_content(struct client *client) {
    ssize_t got = recv(client->fd, chunk, sizeof chunk, 0);
    if (got > 0)
        take_content(client, chunk, (size_t)got);
    else if (got == 0 || errno != EAGAIN)
        fail("content ended early", got ? strerror(errno) : "closed");
}

static void advance(struct client *client, uint32_t events) {
    switch (client->state) {
    case CONNECTING: {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error)
            fail("connect", strerror(error));
        else
            ask(client);
        break;
    }
    case SENDING:
        if (events & EPOLLIN)
            fail("upload", "answered early");
        else
            send_content(client);
        break;
    case HEAD:
        read_head(client);
        break;
    case BODY:
        read_content(client);
        break;
    case IDLE:
        break;
    }
}

static void run(void) {
    struct epoll_event events[256];
    for (unsigned i = 0; i < options.tunnels && i < options.total; i++) {
        clients[i].fd = -1;
        clients[i].index = i;
        next(&clients[i]);
    }
    while (tally.finished < options.total && !tally.errors) {
        int ready = epoll_wait(poller, events, 256, STALL_MS);
        if (ready == 0)
            fail("stalled", "nothing moved for ten seconds");
        for (int i = 0; i < ready; i++)
            advance(events[i].data.ptr, events[i].events);
    }
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
    else if (strcmp(name, "--groups") == 0)
        options.groups = atoi(value);
    else if (strcmp(name, "--tunnels") == 0)
        options.tunnels = (unsigned)atoi(value);
    else if (strcmp(name, "--total") == 0)
        options.total = (unsigned)atoi(value);
    else if (strcmp(name, "--bytes") == 0)
        options.bytes = strtoull(value, NULL, 10);
    else
        errno = EINVAL, die(name);
}

int main(int count, char **arguments) {
    int known = 0;
    for (int i = 0; count > 1 && i < 3; i++)
        if (strcmp(arguments[1], MODE_NAMES[i]) == 0)
            options.mode = (enum mode)i, known = 1;
    for (int i = 2; i + 1 < count; i += 2)
        read_option(arguments[i], arguments[i + 1]);
    if (!known || !options.proxy.sin_port || !options.target || !options.first_port || !options.tunnels || options.tunnels > CONNECTIONS_MAX)
        errno = EINVAL, die("usage: requests MODE --proxy IP:PORT --target NAME --ports FIRST-LAST ...");
    raise_descriptor_limit();
    fill_pattern();
    poller = epoll_create1(EPOLL_CLOEXEC);
    double wall = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    run();
    printf("{\"phase\": \"done\", \"units\": %u, \"tunnels\": %u, \"errors\": %u, \"bytes\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, "
           "\"first_error\": \"%s\"}\n",
           tally.finished, tally.opened, tally.errors, (unsigned long long)tally.bytes, seconds_of(CLOCK_MONOTONIC) - wall,
           seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu, tally.first_error);
    return tally.errors ? 1 : 0;
}
