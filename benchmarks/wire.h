/* What the load generator and the origin agree on: sizes, the pattern of bulk bytes, the answer to a ClientHello. */
#ifndef BENCHMARKS_WIRE_H
#define BENCHMARKS_WIRE_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MESSAGE = 64,          /* bytes of an echo, of the answer to a ClientHello, of the receipt for an upload */
    MESSAGE_MAX = 16384,   /* the longest message of a round trip */
    HELLO_MAX = 4096,      /* the longest ClientHello that either side holds */
    ANSWER = 200,          /* bytes of content that answer a small GET */
    BULK_HEADER = 16,      /* two big-endian 64-bit counts: bytes wanted down, bytes coming up */
    PERIOD = 65536,        /* bulk byte number i is pattern[i % PERIOD] */
    CHUNK = 262144,        /* bytes per recv or send of bulk */
};

static unsigned char pattern[PERIOD + CHUNK];

__attribute__((noreturn)) static void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(2);
}

static void fill_pattern(void) {
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; i < sizeof pattern; i++) {
        if (i < PERIOD) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            pattern[i] = (unsigned char)state;
        } else {
            pattern[i] = pattern[i - PERIOD];
        }
    }
}

static int matches_pattern(const unsigned char *bytes, size_t length, uint64_t offset) {
    return memcmp(bytes, pattern + offset % PERIOD, length) == 0;
}

/* FNV-1a: the origin answers a ClientHello with its hash, so that the client knows that every byte arrived unaltered. */
__attribute__((unused)) static uint64_t hash_of(const unsigned char *bytes, size_t length) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash;
}

__attribute__((unused)) static void fill_answer(unsigned char answer[MESSAGE], uint64_t hash) {
    memset(answer, 'r', MESSAGE);
    memcpy(answer, &hash, sizeof hash);
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("setrlimit");
}

static void send_at_once(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

#endif
