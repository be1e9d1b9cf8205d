/*
 * sink: an SMTP server that takes every login and every message, and throws them away.
 *
 *   sink [CERTIFICATE]
 *
 * With a certificate (PEM, its key in the same file) it offers STARTTLS. It listens on a free port of
 * 127.0.0.1 and says which on stdout; for every line on stdin it says what it has counted, in a line of
 * JSON, and it ends when stdin does. It is what stands behind the peers of a bench, so all that counts is
 * that it is quicker than they are: one thread, poll(), no parsing beyond the first letters of a command
 * and the end of content.
 */
#include "wire.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { CLIENTS_MAX = 4096, LINE_MAX_OCTETS = 2048, ANSWERS_MAX = 65536, BUFFER = 1 << 18 };

struct client {
    struct wire wire;
    int in_content, shakes_hands;
    size_t matched; /* octets of `end` seen last */
    size_t line_length;
    char line[LINE_MAX_OCTETS + 1];
};

static const char end[] = "\r\n.\r\n";
static struct pollfd polled[CLIENTS_MAX + 2]; /* stdin, the listening socket, clients */
static struct client *clients[CLIENTS_MAX + 2];
static nfds_t n_polled = 2;
static char answers[ANSWERS_MAX];
static size_t answers_length;
static size_t n_messages, n_handshakes, n_resumed;
static int tls;

static void answer(const char *text)
{
    size_t length = strlen(text);
    if (answers_length + length <= sizeof answers) {
        memcpy(answers + answers_length, text, length);
        answers_length += length;
    }
}

static int begins(const char *line, const char *verb)
{
    return strncasecmp(line, verb, strlen(verb)) == 0;
}

/* Whether the session goes on. */
static int on_command(struct client *c, const char *line)
{
    if (begins(line, "EHLO") && tls && !wire_is_encrypted(&c->wire))
        answer("250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n");
    else if (begins(line, "EHLO"))
        answer("250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN\r\n");
    else if (begins(line, "AUTH"))
        answer("235 2.7.0 Welcome\r\n");
    else if (begins(line, "DATA")) {
        answer("354 Go on\r\n");
        c->in_content = 1;
        c->matched = 2; /* content starts at the start of a line */
    } else if (begins(line, "STARTTLS") && tls && !wire_is_encrypted(&c->wire)) {
        answer("220 2.0.0 Ready\r\n");
        c->shakes_hands = 1;
    } else if (begins(line, "QUIT")) {
        answer("221 2.0.0 Bye\r\n");
        return 0;
    } else
        answer("250 2.0.0 OK\r\n");
    return 1;
}

/* How many octets belong to the content. */
static size_t on_content(struct client *c, const char *octets, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (c->matched == 0) {
            const char *next = memchr(octets + i, '\r', length - i);
            if (next == NULL)
                return length;
            i = (size_t)(next - octets);
        }
        c->matched = octets[i] == end[c->matched] ? c->matched + 1 : octets[i] == '\r';
        if (c->matched == strlen(end)) {
            c->in_content = 0;
            n_messages++;
            answer("250 2.0.0 Taken\r\n");
            return i + 1;
        }
    }
    return length;
}

/* Whether the session goes on. */
static int on_octets(struct client *c, const char *octets, size_t length)
{
    while (length > 0) {
        size_t used = 1;
        if (c->in_content) {
            used = on_content(c, octets, length);
        } else if (*octets == '\n') {
            c->line[c->line_length] = 0;
            c->line_length = 0;
            if (!on_command(c, c->line))
                return 0;
        } else if (c->line_length < LINE_MAX_OCTETS) {
            c->line[c->line_length++] = *octets;
        }
        octets += used;
        length -= used;
    }
    return 1;
}

static void part(nfds_t at)
{
    wire_close(&clients[at]->wire);
    free(clients[at]);
    n_polled--;
    polled[at] = polled[n_polled];
    clients[at] = clients[n_polled];
}

static void shake_hands(nfds_t at)
{
    struct client *c = clients[at];
    enum handshake now = wire_handshake(&c->wire, 1);
    c->shakes_hands = now == HANDSHAKE_WAITS;
    if (now == HANDSHAKE_FAILED) {
        part(at);
    } else if (now == HANDSHAKE_DONE) {
        n_handshakes++;
        n_resumed += (size_t)wire_is_resumed(&c->wire);
    }
}

static void serve(nfds_t at)
{
    static char octets[BUFFER]; /* more than a record of TLS, so nothing stays behind in OpenSSL */
    struct client *c = clients[at];
    if (c->shakes_hands) {
        shake_hands(at);
        return;
    }
    ssize_t got = wire_recv(&c->wire, octets, sizeof octets);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    answers_length = 0;
    int goes_on = got > 0 && on_octets(c, octets, (size_t)got);
    /* Answers are few and short, and whoever waits for them reads them: they fit into the socket. */
    if (answers_length > 0 && wire_send(&c->wire, answers, answers_length) < 0)
        goes_on = 0;
    if (!goes_on) {
        wire_end(&c->wire);
        part(at);
    }
}

/* Say what was counted; whether somebody has asked. */
static int tell(void)
{
    char asked;
    if (read(0, &asked, 1) <= 0)
        return 0;
    printf("{\"messages\": %zu, \"handshakes\": %zu, \"resumed\": %zu, \"cipher\": \"%s\"}\n", n_messages,
           n_handshakes, n_resumed, wire_cipher);
    fflush(stdout);
    return 1;
}

static void welcome(int listening)
{
    int one = 1, fd;
    while (n_polled < CLIENTS_MAX + 2 && (fd = accept(listening, NULL, NULL)) >= 0) {
        static const char banner[] = "220 sink.example ESMTP\r\n";
        fcntl(fd, F_SETFL, O_NONBLOCK);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        clients[n_polled] = calloc(1, sizeof **clients);
        if (clients[n_polled] == NULL || send(fd, banner, strlen(banner), 0) < 0) {
            free(clients[n_polled]);
            close(fd);
            continue;
        }
        clients[n_polled]->wire.fd = fd;
        polled[n_polled++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM, 0);

    signal(SIGPIPE, SIG_IGN);
    tls = argc > 1;
    if (tls && !wire_tls(argv[1])) {
        fprintf(stderr, "sink: no TLS, or not with this certificate\n");
        return 2;
    }
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listening < 0 || bind(listening, (struct sockaddr *)&address, length) < 0 ||
        listen(listening, 1024) < 0 || getsockname(listening, (struct sockaddr *)&address, &length) < 0) {
        perror("sink");
        return 2;
    }
    fcntl(listening, F_SETFL, O_NONBLOCK);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    polled[0] = (struct pollfd){.fd = 0, .events = POLLIN};
    polled[1] = (struct pollfd){.fd = listening, .events = POLLIN};
    for (;;) {
        if (poll(polled, n_polled, -1) < 0 && errno != EINTR) {
            perror("poll");
            return 2;
        }
        if (polled[0].revents && !tell())
            return 0;
        for (nfds_t at = n_polled; at-- > 2;) /* backwards: the last one takes the place of one that parts */
            if (polled[at].revents)
                serve(at);
        if (polled[1].revents)
            welcome(listening);
    }
}
