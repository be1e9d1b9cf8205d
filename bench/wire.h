/*
 * wire: a connection of `load.c` or `sink.c` that does not block, in clear text or over TLS.
 *
 * There is TLS if this is compiled with -DWITH_TLS, which takes OpenSSL 1.1.1 or later with its headers.
 * What a handshake writes is short, and whoever waits for it reads it: it fits into the socket.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

enum { CIPHER_MAX = 80 };
enum handshake { HANDSHAKE_FAILED, HANDSHAKE_WAITS, HANDSHAKE_DONE };

/* Version and cipher of the connection that was encrypted last. */
static char wire_cipher[CIPHER_MAX];

#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

struct wire {
    int fd;
    SSL *ssl;             /* from the handshake on */
    SSL_SESSION *session; /* a client's last one, for its next connection */
};

static SSL_CTX *wire_context;

static int wire_keep(SSL *ssl, SSL_SESSION *session)
{
    struct wire *wire = SSL_get_app_data(ssl);
    SSL_SESSION_free(wire->session);
    wire->session = session;
    return 1;
}

/* Be ready for TLS: as a server with a certificate and its key in one file, as a client without (NULL),
   which verifies nothing. Whether that works. */
static int wire_tls(const char *certificate)
{
    wire_context = SSL_CTX_new(certificate ? TLS_server_method() : TLS_client_method());
    if (wire_context == NULL)
        return 0;
    SSL_CTX_set_mode(wire_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (certificate != NULL)
        return SSL_CTX_use_certificate_chain_file(wire_context, certificate) == 1 &&
               SSL_CTX_use_PrivateKey_file(wire_context, certificate, SSL_FILETYPE_PEM) == 1;
    SSL_CTX_set_session_cache_mode(wire_context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(wire_context, wire_keep);
    return 1;
}

/* What a call of OpenSSL means for one who knows recv() and send(). */
static ssize_t wire_result(struct wire *wire, int result)
{
    if (result > 0)
        return result;
    switch (SSL_get_error(wire->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        if (errno == 0 || errno == EAGAIN)
            errno = EPROTO;
        return -1;
    }
}

static ssize_t wire_recv(struct wire *wire, void *octets, size_t room)
{
    if (wire->ssl == NULL)
        return recv(wire->fd, octets, room, 0);
    ERR_clear_error();
    errno = 0;
    return wire_result(wire, SSL_read(wire->ssl, octets, (int)room));
}

static ssize_t wire_send(struct wire *wire, const void *octets, size_t length)
{
    if (wire->ssl == NULL)
        return send(wire->fd, octets, length, 0);
    ERR_clear_error();
    errno = 0;
    return wire_result(wire, SSL_write(wire->ssl, octets, (int)length));
}

/* Begin the handshake, or go on with it when something has come. */
static enum handshake wire_handshake(struct wire *wire, int is_server)
{
    if (wire->ssl == NULL) {
        wire->ssl = SSL_new(wire_context);
        if (wire->ssl == NULL || !SSL_set_fd(wire->ssl, wire->fd))
            return HANDSHAKE_FAILED;
        if (wire->session != NULL) { /* OpenSSL offers one of its sessions once, and servers may give no other */
            SSL_SESSION *copy = SSL_SESSION_dup(wire->session);
            int is_set = copy != NULL && SSL_set_session(wire->ssl, copy);
            SSL_SESSION_free(copy);
            if (!is_set)
                return HANDSHAKE_FAILED;
        }
        SSL_set_app_data(wire->ssl, wire);
        is_server ? SSL_set_accept_state(wire->ssl) : SSL_set_connect_state(wire->ssl);
    }
    ERR_clear_error();
    errno = 0;
    if (wire_result(wire, SSL_do_handshake(wire->ssl)) <= 0)
        return errno == EAGAIN ? HANDSHAKE_WAITS : HANDSHAKE_FAILED;
    snprintf(wire_cipher, sizeof wire_cipher, "%s %s", SSL_get_version(wire->ssl),
             SSL_get_cipher_name(wire->ssl));
    return HANDSHAKE_DONE;
}

static int wire_is_encrypted(const struct wire *wire)
{
    return wire->ssl != NULL;
}

static int wire_is_resumed(const struct wire *wire)
{
    return wire->ssl != NULL && SSL_session_reused(wire->ssl);
}

/* Say that nothing more comes (RFC 8446 6.1). */
static void wire_end(struct wire *wire)
{
    if (wire->ssl != NULL)
        SSL_shutdown(wire->ssl);
}

static void wire_close(struct wire *wire)
{
    if (wire->ssl != NULL) {
        SSL_set_quiet_shutdown(wire->ssl, 1); /* else its session could not be resumed */
        SSL_shutdown(wire->ssl);
        SSL_free(wire->ssl);
        wire->ssl = NULL;
    }
    close(wire->fd);
    wire->fd = -1;
}

#else

struct wire {
    int fd;
};

static int wire_tls(const char *certificate)
{
    (void)certificate;
    return 0;
}

static ssize_t wire_recv(struct wire *wire, void *octets, size_t room)
{
    return recv(wire->fd, octets, room, 0);
}

static ssize_t wire_send(struct wire *wire, const void *octets, size_t length)
{
    return send(wire->fd, octets, length, 0);
}

static enum handshake wire_handshake(struct wire *wire, int is_server)
{
    (void)wire, (void)is_server;
    return HANDSHAKE_FAILED;
}

static int wire_is_encrypted(const struct wire *wire)
{
    (void)wire;
    return 0;
}

static int wire_is_resumed(const struct wire *wire)
{
    (void)wire;
    return 0;
}

static void wire_end(struct wire *wire)
{
    (void)wire;
}

static void wire_close(struct wire *wire)
{
    close(wire->fd);
    wire->fd = -1;
}

#endif
