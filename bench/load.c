/*
 * load: SMTP clients in a closed loop, each with one message at a time.
 *
 *   load PORT CLIENTS new|keep|pipe[-tls] SECONDS USER_BASE64 [MESSAGES [RECIPIENTS]] < content
 *
 *   new    connect, EHLO, AUTH PLAIN, one message, QUIT; then connect again
 *   keep   log in once, then one message after the other, each command after the reply to the last
 *   pipe   the same, with MAIL, RCPT and DATA in one segment (RFC 2920)
 *   -tls   over STARTTLS; each client resumes its last session, and waits until the server has closed
 *
 * The content comes dot-stuffed, with its final dot. Each reply is checked; what is not as expected, a
 * closed connection and a reset are failures, and cost the connection. No message begins after SECONDS,
 * nor after MESSAGES have begun (0: no limit). The last word is one line of JSON. Portable (POSIX; OpenSSL
 * for TLS, see `wire.h`), one thread: poll() is what it waits in, so it is for hundreds of clients, not
 * for thousands.
 */
#include "wire.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REPLY_MAX = 4096, ERROR_MAX = 160, FAILURES_MAX = 200, GRACE_S = 30 };

/* A step is a reply that is waited for, and what is said to get it. */
enum step { BANNER, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, FINAL, QUIT, STEPS };
static const int expected[STEPS] = {220, 250, 220, 235, 250, 250, 354, 250, 221};
static struct { const char *octets; size_t length; } says[STEPS];

struct client {
    struct wire wire;
    enum step step;
    int shakes_hands, has_left;
    const char *out;
    size_t out_left;
    size_t in_length;
    size_t recipients_left;
    double began;
    char in[REPLY_MAX + 1];
};

static struct sockaddr_in address;
static struct client *clients;
static struct pollfd *polled;
static size_t n_clients, n_active, n_ok, n_failed, n_room, n_begun, n_wanted = SIZE_MAX, n_recipients = 1,
    n_resumed;
static double *latencies, started, last_reply, seconds;
static int kept, tls;
static char first_error[ERROR_MAX];

static double now(void)
{
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return (double)moment.tv_sec + (double)moment.tv_nsec / 1e9;
}

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static void *must(void *memory)
{
    if (memory == NULL)
        die("memory");
    return memory;
}

static void say(enum step step, char *text, size_t length)
{
    says[step].octets = text;
    says[step].length = length;
}

static int may_begin(void)
{
    return n_begun < n_wanted && now() - started < seconds && n_failed < FAILURES_MAX;
}

static struct pollfd *poll_of(struct client *c)
{
    return &polled[c - clients];
}

static void shut(struct client *c)
{
    if (c->wire.fd >= 0)
        wire_close(&c->wire);
    poll_of(c)->fd = -1;
}

/* Not connected for now: poll() skips it until `reconnect`. */
static void fail(struct client *c, const char *what)
{
    if (first_error[0] == 0) {
        snprintf(first_error, sizeof first_error, "at step %d: %s", c->step, what);
        for (char *p = first_error; *p; p++)
            if (*p < ' ' || *p > '~' || *p == '"' || *p == '\\')
                *p = ' ';
    }
    n_failed++;
    shut(c);
}

static void flush(struct client *c)
{
    while (c->out_left > 0) {
        ssize_t sent = wire_send(&c->wire, c->out, c->out_left);
        if (sent < 0) {
            if (errno == EAGAIN || errno == EINTR)
                break;
            c->out_left = 0; /* the reading side finds out why */
            break;
        }
        c->out += sent;
        c->out_left -= (size_t)sent;
    }
    poll_of(c)->events = (short)(POLLIN | (c->out_left > 0 ? POLLOUT : 0));
}

static void enter(struct client *c, enum step step)
{
    c->step = step;
    if (step == MAIL) {
        c->recipients_left = n_recipients;
        if (kept)
            c->began = now();
    }
    if (says[step].length == 0)
        return; /* said already, together with the step before */
    c->out = says[step].octets;
    c->out_left = says[step].length;
    flush(c);
}

static void reconnect(struct client *c)
{
    int one = 1;
    if (!may_begin()) {
        n_active--;
        c->step = STEPS;
        return;
    }
    n_begun++;
    c->wire.fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->wire.fd < 0)
        die("socket");
    fcntl(c->wire.fd, F_SETFL, O_NONBLOCK);
    setsockopt(c->wire.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    poll_of(c)->fd = c->wire.fd;
    poll_of(c)->events = POLLIN;
    c->step = BANNER;
    c->in_length = c->out_left = 0;
    c->shakes_hands = c->has_left = 0;
    c->began = now();
    if (connect(c->wire.fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail(c, strerror(errno));
}

static void taken(struct client *c)
{
    last_reply = now();
    if (n_ok == n_room) {
        n_room = n_room * 2 + 4096;
        latencies = must(realloc(latencies, n_room * sizeof *latencies));
    }
    latencies[n_ok++] = last_reply - c->began;
    n_resumed += (size_t)wire_is_resumed(&c->wire);
    int more = kept && may_begin();
    n_begun += (size_t)more;
    enter(c, more ? MAIL : QUIT);
}

static void shake_hands(struct client *c)
{
    enum handshake now = wire_handshake(&c->wire, 0);
    c->shakes_hands = now == HANDSHAKE_WAITS;
    if (now == HANDSHAKE_FAILED)
        fail(c, "the handshake failed");
    else if (now == HANDSHAKE_DONE)
        enter(c, EHLO);
}

/* Over TLS the server closes first, so that its last word is not answered with a reset. */
static void leave(struct client *c)
{
    c->has_left = wire_is_encrypted(&c->wire);
    if (c->has_left)
        wire_end(&c->wire);
    else
        shut(c);
}

static void on_reply(struct client *c, const char *line)
{
    if (atoi(line) != expected[c->step])
        fail(c, line);
    else if (c->step == EHLO && (!tls || wire_is_encrypted(&c->wire)))
        enter(c, AUTH);
    else if (c->step == STARTTLS)
        shake_hands(c);
    else if (c->step == FINAL)
        taken(c);
    else if (c->step == RCPT && --c->recipients_left > 0)
        enter(c, RCPT);
    else if (c->step == QUIT)
        leave(c);
    else
        enter(c, c->step + 1);
}

static void on_octets(struct client *c)
{
    ssize_t got = wire_recv(&c->wire, c->in + c->in_length, REPLY_MAX - c->in_length);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0 && c->has_left) {
        shut(c);
        return;
    }
    if (got <= 0) {
        fail(c, got < 0 ? strerror(errno) : "closed");
        return;
    }
    c->in_length += (size_t)got;
    c->in[c->in_length] = 0;
    char *line = c->in, *end;
    while (c->wire.fd >= 0 && (end = strstr(line, "\r\n")) != NULL) {
        *end = 0;
        if (end - line < 4 || line[3] != '-') /* else the reply goes on (RFC 5321 4.2.1) */
            on_reply(c, line);
        line = end + 2;
    }
    c->in_length -= (size_t)(line - c->in);
    memmove(c->in, line, c->in_length);
    if (c->wire.fd >= 0 && c->in_length == REPLY_MAX)
        fail(c, "an endless reply");
}

static void run(void)
{
    n_active = n_clients;
    while (n_active > 0) {
        for (size_t i = 0; i < n_clients; i++)
            if (clients[i].wire.fd < 0 && clients[i].step != STEPS)
                reconnect(&clients[i]);
        double left = started + seconds + GRACE_S - now();
        if (left <= 0) {
            n_failed += n_active;
            snprintf(first_error, sizeof first_error, "no reply for %d s", GRACE_S);
            return;
        }
        if (n_active == 0)
            return;
        if (poll(polled, (nfds_t)n_clients, (int)(left * 1000) + 1) < 0 && errno != EINTR)
            die("poll");
        for (size_t i = 0; i < n_clients; i++) {
            if (clients[i].wire.fd >= 0 && (polled[i].revents & POLLOUT))
                flush(&clients[i]);
            if (clients[i].wire.fd >= 0 && (polled[i].revents & ~POLLOUT))
                clients[i].shakes_hands ? shake_hands(&clients[i]) : on_octets(&clients[i]);
        }
    }
}

static void read_content(void)
{
    size_t length = 0, room = 1 << 16;
    char *content = must(malloc(room));
    for (ssize_t got; (got = read(0, content + length, room - length)) > 0;) {
        length += (size_t)got;
        if (length == room)
            content = must(realloc(content, room *= 2));
    }
    say(FINAL, content, length);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile_ms(double share)
{
    return n_ok > 0 ? latencies[(size_t)((double)(n_ok - 1) * share)] * 1000 : 0;
}

int main(int argc, char **argv)
{
    static char mail[] = "MAIL FROM:<a@client.example>\r\n", rcpt[] = "RCPT TO:<b@elsewhere.example>\r\n";
    static char data[] = "DATA\r\n", quit[] = "QUIT\r\n", ehlo[] = "EHLO client.example\r\n";
    static char starttls[] = "STARTTLS\r\n";
    static char login[1024], piped[256];

    if (argc < 6 || argc > 8) {
        fprintf(stderr, "load PORT CLIENTS new|keep|pipe[-tls] SECONDS USER_BASE64 [MESSAGES [RECIPIENTS]] "
                        "< content\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    n_clients = (size_t)atol(argv[2]);
    kept = strncmp(argv[3], "new", 3) != 0;
    tls = strstr(argv[3], "-tls") != NULL;
    if (tls && !wire_tls(NULL)) {
        fprintf(stderr, "load: it was compiled without TLS\n");
        return 2;
    }
    seconds = atof(argv[4]);
    if (argc > 6 && atol(argv[6]) > 0)
        n_wanted = (size_t)atol(argv[6]);
    if (argc > 7)
        n_recipients = (size_t)atol(argv[7]);
    say(EHLO, ehlo, strlen(ehlo));
    say(STARTTLS, starttls, strlen(starttls));
    say(AUTH, login, (size_t)snprintf(login, sizeof login, "AUTH PLAIN %s\r\n", argv[5]));
    if (strncmp(argv[3], "pipe", 4) == 0) {
        say(MAIL, piped, (size_t)snprintf(piped, sizeof piped, "%s%s%s", mail, rcpt, data));
    } else {
        say(MAIL, mail, strlen(mail));
        say(RCPT, rcpt, strlen(rcpt));
        say(DATA, data, strlen(data));
    }
    say(QUIT, quit, strlen(quit));
    read_content();

    clients = must(calloc(n_clients, sizeof *clients));
    polled = must(calloc(n_clients, sizeof *polled));
    for (size_t i = 0; i < n_clients; i++)
        clients[i].wire.fd = polled[i].fd = -1;
    started = last_reply = now();
    run();

    if (n_ok > 0)
        qsort(latencies, n_ok, sizeof *latencies, ascending);
    printf("{\"ok\": %zu, \"failed\": %zu, \"seconds\": %.6f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"first_error\": \"%s\", \"resumed\": %zu, \"cipher\": \"%s\"}\n",
           n_ok, n_failed, last_reply - started, percentile_ms(0.5), percentile_ms(0.99), first_error,
           n_resumed, wire_cipher);
    return 0;
}
