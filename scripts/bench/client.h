/* Many Socket.IO clients in one thread: connections in one epoll, edge-triggered, and what they say while they open.
 *
 * It speaks Engine.IO v4 over WebSocket (RFC 6455, RFC 7692 for compressed frames). Included once by each program, which
 * says what a text and a closed connection mean to it. What is queued leaves at the end of the turn.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#ifndef NO_ZLIB
#include <zlib.h>
#endif
#include "measure.h"

#define READ_SIZE (1 << 20)     /* one read, and the longest frame */
#define CONCURRENT_HANDSHAKES 32 /* eventlet.listen has a backlog of 50 */
#define MAX_PORTS 64
#define SOURCE_ADDRESSES 20     /* 127.0.0.2 and on: one address has 28,000 ports */

enum state { CONNECTING, UPGRADING, OPENING, ENTERING, JOINING, READY, CLOSED };

struct connection {
    int fd, room, stream; /* whichever of the two its program has */
    enum state state;
    bool deflate, deflate_resets, paused, dirty;
    uint32_t received; /* messages of its room */
    size_t (*parse)(struct connection *, unsigned char *, size_t); /* handles what is whole, returns its bytes */
    char *held; /* the beginning of a frame whose end has not arrived */
    size_t held_len, held_size;
    char *out;
    size_t out_len, out_sent, out_size;
    struct connection *next_dirty;
    void *inflater;
};

struct option {
    const char *name;
    char type; /* integer, bool, double or string */
    void *value;
};

static int option_port, option_clients = 1000;
static bool option_deflate, option_bare;
static double option_limit = 600;
static const char *option_auth, *option_ports = ""; /* 81,82: clients take turns */
static int ports[MAX_PORTS], port_count;

static struct connection *connections, *dirty;
static int epoll_fd, opened, opening, ready, target;
static unsigned char read_buffer[READ_SIZE];
static int64_t now;

/* The program's: a text has one byte behind its end that may be overwritten for a while. */
static void on_text(struct connection *c, unsigned char *text, size_t n);
static void on_closed(struct connection *c, const char *why);

/* Sending */

static void mark_closed(struct connection *c, const char *why) {
    if (c->state == CLOSED) return;
    on_closed(c, why);
    close(c->fd);
    free(c->held);
    free(c->out);
    c->held = c->out = NULL;
    c->held_len = c->held_size = c->out_len = c->out_size = 0;
    c->state = CLOSED;
}

static void flush(struct connection *c) {
    while (c->out_sent < c->out_len && c->state != CLOSED) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n < 0) mark_closed(c, strerror(errno));
        else c->out_sent += (size_t)n;
    }
    c->out_len = c->out_sent = 0;
}

static void flush_dirty(void) {
    for (struct connection *c; (c = dirty); flush(c)) {
        dirty = c->next_dirty;
        c->dirty = false;
    }
}

static char *reserve(struct connection *c, size_t size) {
    c->out = grow(c->out, &c->out_size, c->out_len + size);
    if (!c->dirty) {
        c->dirty = true;
        c->next_dirty = dirty;
        dirty = c;
    }
    return c->out + c->out_len;
}

/* Queue a masked frame; it leaves at the end of the turn. */
static void queue_frame(struct connection *c, int opcode, const char *payload, size_t n) {
    static uint32_t random = 2463534242u;
    char *out = reserve(c, n + 14), *start = out;
    *out++ = (char)(0x80 | opcode);
    if (n < 126) {
        *out++ = (char)(0x80 | n);
    } else if (n < 65536) {
        *out++ = (char)(0x80 | 126);
        *out++ = (char)(n >> 8);
        *out++ = (char)n;
    } else {
        *out++ = (char)(0x80 | 127);
        for (int shift = 56; shift >= 0; shift -= 8) *out++ = (char)((uint64_t)n >> shift);
    }
    random ^= random << 13, random ^= random >> 17, random ^= random << 5;
    char mask[4];
    memcpy(mask, &random, 4);
    memcpy(out, mask, 4);
    out += 4;
    for (size_t i = 0; i < n; i++) out[i] = payload[i] ^ mask[i & 3];
    c->out_len += (size_t)(out - start) + n;
}

static void queue_text(struct connection *c, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    queue_frame(c, 1, text, (size_t)n);
}

/* Receiving */

#ifndef NO_ZLIB
/* One frame is one message here: the servers fragment nothing. */
static void on_deflated(struct connection *c, unsigned char *data, size_t n) {
    static unsigned char inflate_buffer[READ_SIZE];
    static z_stream *shared; /* for peers that start every message afresh */
    z_stream **stream = c->deflate_resets ? &shared : (z_stream **)&c->inflater;
    static unsigned char tail[] = {0, 0, 0xff, 0xff};
    if (!*stream) {
        *stream = calloc(1, sizeof **stream);
        if (!*stream || inflateInit2(*stream, -15) != Z_OK) die("out of memory");
    }
    z_stream *z = *stream;
    z->next_out = inflate_buffer;
    z->avail_out = sizeof inflate_buffer - 1;
    for (int part = 0; part < 2; part++) {
        z->next_in = part ? tail : data;
        z->avail_in = part ? 4 : (unsigned)n;
        int status = inflate(z, Z_SYNC_FLUSH);
        if (status != Z_OK && status != Z_BUF_ERROR) die("a compressed frame is broken: %s", z->msg ? z->msg : "?");
    }
    size_t size = (size_t)(z->next_out - inflate_buffer);
    if (c->deflate_resets) inflateReset(z);
    on_text(c, inflate_buffer, size);
}
#else
static void on_deflated(struct connection *c, unsigned char *data, size_t n) {
    (void)c, (void)data, (void)n;
    die("compressed frames need zlib");
}
#endif

static void on_frame(struct connection *c, int head, unsigned char *payload, size_t n) {
    int opcode = head & 15;
    if (opcode == 1 && head & 0x40) on_deflated(c, payload, n);
    else if (opcode == 1) on_text(c, payload, n);
    else if (opcode == 8) mark_closed(c, "with a close frame");
    else if (opcode == 9) queue_frame(c, 10, (char *)payload, n);
}

/* Handle whole frames and return the bytes that they took. */
static size_t parse_frames(struct connection *c, unsigned char *data, size_t n) {
    size_t at = 0;
    while (n - at >= 2 && c->state != CLOSED) {
        unsigned char *frame = data + at;
        size_t length = frame[1] & 127, head = 2;
        if (length == 126) {
            head = 4;
            if (n - at < head) break;
            length = (size_t)frame[2] << 8 | frame[3];
        } else if (length == 127) {
            head = 10;
            if (n - at < head) break;
            length = 0;
            for (int i = 2; i < 10; i++) length = length << 8 | frame[i];
            if (length > READ_SIZE / 2) die("a frame of %zu bytes", length);
        }
        if (n - at < head + length) break;
        on_frame(c, frame[0], frame + head, length);
        at += head + length;
    }
    return at;
}

static size_t parse_upgrade(struct connection *c, unsigned char *data, size_t n) {
    unsigned char *end = memmem(data, n, "\r\n\r\n", 4);
    if (!end) return 0;
    *end = 0;
    if (!strstr((char *)data, " 101 ")) die("no WebSocket: %.80s", data);
    c->deflate = strcasestr((char *)data, "permessage-deflate") != NULL;
    c->deflate_resets = strcasestr((char *)data, "server_no_context_takeover") != NULL;
    c->state = OPENING;
    c->parse = parse_frames;
    size_t used = (size_t)(end + 4 - data);
    return used + parse_frames(c, data + used, n - used);
}

static void receive(struct connection *c) {
    for (;;) {
        if (c->held_len) memcpy(read_buffer, c->held, c->held_len);
        size_t space = READ_SIZE - 1 - c->held_len;
        ssize_t got = recv(c->fd, read_buffer + c->held_len, space, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got <= 0) {
            mark_closed(c, got ? strerror(errno) : "end of stream");
            return;
        }
        size_t n = c->held_len + (size_t)got;
        size_t used = c->parse(c, read_buffer, n);
        if (c->state == CLOSED) return;
        if ((c->held_len = n - used)) {
            c->held = grow(c->held, &c->held_size, c->held_len);
            memcpy(c->held, read_buffer + used, c->held_len);
        }
        if ((size_t)got < space) return;
    }
}

/* Handle what is the same for all clients and return whether it was that. */
static bool on_common_packet(struct connection *c, const char *text) {
    if (text[0] == '2') {
        queue_frame(c, 1, "3", 1);
    } else if (text[0] == '0' && c->state == OPENING) {
        c->state = ENTERING;
        if (option_auth) queue_text(c, "40%s", option_auth);
        else queue_text(c, "40{\"user_name\":\"u%ld\"}", (long)(c - connections));
    } else if (!strncmp(text, "44", 2) || !strncmp(text, "42[\"error\"", 10)) {
        die("the server refused: %.300s", text);
    } else {
        return false;
    }
    return true;
}

/* Opening */

static int process_of(int number) {
    return number % port_count;
}

static void start(struct connection *c, int number) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket: %s", strerror(errno));
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (c->paused) setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int));
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(0x7f000002u + (uint32_t)number % SOURCE_ADDRESSES);
    if (bind(c->fd, (struct sockaddr *)&address, sizeof address) != 0) die("bind: %s", strerror(errno));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)ports[process_of(number)]);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0) die("epoll: %s", strerror(errno));
}

static void set_ready(struct connection *c) {
    c->state = READY;
    opening--;
    ready++;
}

static void on_connected(struct connection *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) die("connect: %s", strerror(error));
    if (option_bare) {
        c->parse = parse_frames;
        set_ready(c);
        return;
    }
    char *out = reserve(c, 512);
    c->state = UPGRADING;
    c->parse = parse_upgrade;
    c->out_len += (size_t)sprintf(
        out,
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: bG9hZCBvZiBhIGJlbmNoIQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
        option_port,
        option_deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" : "");
    flush(c);
}

static void open_more(void) {
    while (opened < target && opening < CONCURRENT_HANDSHAKES) {
        opening++;
        start(&connections[opened], opened);
        opened++;
    }
}

/* One turn: wait until `until` at the latest, handle what arrived, send what that led to. */
static void turn(int64_t until) {
    struct epoll_event events[256];
    open_more();
    flush_dirty();
    now = clock_ns(CLOCK_MONOTONIC);
    int64_t wait_ms = (until - now + 999999) / 1000000;
    int n = epoll_wait(epoll_fd, events, 256, wait_ms < 0 ? 0 : wait_ms > 100 ? 100 : (int)wait_ms);
    now = clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->state == CLOSED) continue;
        if (c->state == CONNECTING && events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) on_connected(c);
        if (c->out_len && !c->dirty) flush(c);
        if (!(c->paused && c->state == READY) && c->state != CLOSED) receive(c);
    }
    flush_dirty();
}

static void run_for(double seconds) {
    int64_t end = clock_ns(CLOCK_MONOTONIC) + (int64_t)(seconds * SECOND);
    do turn(end);
    while (now < end);
}

/* Open connections up to `count`, all of them ready. */
static void open_up_to(int count) {
    target = count;
    while (ready < count) turn(INT64_MAX / 2);
}

/* The program */

static void parse_option(const struct option *options, const char *text) {
    const char *value = strchr(text, '=');
    for (; value && options->name; options++) {
        if (strncmp(options->name, text, (size_t)(value - text)) || options->name[value - text]) continue;
        if (options->type == 'i') *(int *)options->value = atoi(value + 1);
        if (options->type == 'b') *(bool *)options->value = value[1] == '1';
        if (options->type == 'd') *(double *)options->value = atof(value + 1);
        if (options->type == 's') *(const char **)options->value = value + 1;
        return;
    }
    die("what is %s?", text);
}

/* Read the options and get ready for `option_clients` clients with `files_each` open files. */
static void begin(char **arguments, const struct option *options, int files_each) {
    for (; *arguments; arguments++) parse_option(options, *arguments);
    for (const char *list = option_ports; *list && port_count < MAX_PORTS; list += strspn(list, ","))
        ports[port_count++] = (int)strtol(list, (char **)&list, 10);
    if (!port_count) ports[port_count++] = option_port;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm((unsigned)option_limit);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < (rlim_t)option_clients * (rlim_t)files_each + 100)
        die("%d clients need more open files than allowed", option_clients);
    connections = calloc((size_t)option_clients, sizeof *connections);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || epoll_fd < 0) die("out of memory");
}
