/* An AI backend and those who ask it, for scripts/bench.py: both ends of a relay in one thread, on one clock.
 *
 *     streams llm key=value ...
 *
 * Client n asks "ask n" over Socket.IO; the server under test asks the backend, on `listener`, a socket that listens
 * already. The backend speaks HTTP/1.1 and keeps connections open; it answers with Server-Sent Events, chunked, one chunk
 * and one send() for each token. A token's text is "@stream:number:time@", time being that just before the send(): the
 * client checks the first two, and what has passed since is what the relay added. A token or an end that is missing, out
 * of order, doubled or somebody else's ends the program with status 1 and one line on stderr.
 *
 * First everybody asks at once. When the last request has arrived, the answers begin together, evenly spread over the time
 * between two tokens. CPU time is read over the middle half of them, and the samples are the tokens sent in it. Then, for
 * `asking` seconds, a few clients ask for short answers, each one after the other. Prints one JSON object.
 */
#define _GNU_SOURCE
#define NO_ZLIB /* these clients offer no compression */
#include <fcntl.h>
#include <poll.h>
#include "client.h"

#define ASKERS 8 /* at once, when openings are measured; fewer than the connections that any peer keeps */
#define SHORT_TOKENS 5
#define SHORT_INTERVAL (5 * SECOND / 1000) /* a token's own packet each: joined ones would be cheaper */
#define NEVER INT64_MAX

struct stream { /* the one that client n has, one answer after the other */
    struct connection *backend; /* NULL unless an answer is being written */
    bool asked;
    int written, read; /* tokens */
    char *text;        /* all tokens written */
    size_t text_len, text_size;
};

static int option_listener, option_tokens = 400;
static double option_rate = 50, option_asking;

static struct stream *streams;
static int64_t *due; /* by stream: when its next token is to be written */
static int64_t interval = NEVER; /* between two tokens of a stream; NEVER: they do not begin yet */
static int tokens; /* of an answer */
static int64_t sample_from = NEVER, sample_to = NEVER;
static uint64_t asked_count, request_count, token_count, complete_count, accepted_count;
static bool asking;

/* The backend */

/* Send one chunk at once; an empty one is the last. */
static void send_chunk(struct connection *c, const char *text, size_t n) {
    char *out = reserve(c, n + 32);
    int head = sprintf(out, "%zx\r\n", n);
    memcpy(out + head, text, n);
    memcpy(out + head + n, "\r\n", 2);
    c->out_len += (size_t)head + n + 2;
    flush(c);
}

static void send_token(int number) {
    struct stream *stream = &streams[number];
    char token[64], event[256];
    int64_t at = clock_ns(CLOCK_MONOTONIC);
    int n = sprintf(token, "@%d:%d:%lld@ ", number, stream->written++, (long long)at);
    int size = sprintf(event, "event: token\ndata: {\"token\": \"%s\", \"session_id\": \"bench\"}\n\n", token);
    send_chunk(stream->backend, event, (size_t)size);
    stream->text = grow(stream->text, &stream->text_size, stream->text_len + (size_t)n + 1);
    memcpy(stream->text + stream->text_len, token, (size_t)n + 1);
    stream->text_len += (size_t)n;
}

static void end_answer(int number) {
    struct stream *stream = &streams[number];
    struct connection *c = stream->backend;
    static const char format[] =
        "event: end\ndata: {\"status\": \"completed\", \"full_response\": \"%s\", \"session_id\": \"bench\"}\n\n";
    static char *event;
    static size_t event_size;
    event = grow(event, &event_size, sizeof format + stream->text_len);
    int size = sprintf(event, format, stream->text);
    stream->backend = NULL;
    due[number] = NEVER;
    send_chunk(c, event, (size_t)size);
    c->stream = -1; /* the server may close it from now on */
    if (c->state != CLOSED) send_chunk(c, "", 0);
}

static void begin_answer(struct connection *c, int number) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const char event[] = "event: start\ndata: {\"status\": \"started\", \"session_id\": \"bench\"}\n\n";
    struct stream *stream = &streams[number];
    if (!stream->asked || stream->backend) die("the server asked twice for client %d", number);
    stream->backend = c;
    stream->written = 0;
    stream->text_len = 0;
    c->stream = number;
    c->out_len += (size_t)sprintf(reserve(c, sizeof head), "%s", head);
    send_chunk(c, event, sizeof event - 1);
    due[number] = interval == NEVER ? NEVER : now + interval;
    request_count++;
}

static size_t parse_request(struct connection *c, unsigned char *data, size_t n) {
    unsigned char *body = memmem(data, n, "\r\n\r\n", 4);
    data[n] = 0;
    if (!body) return 0;
    body += 4;
    char *length = strcasestr((char *)data, "\r\nContent-Length:"), *ask = strstr((char *)body, "\"ask ");
    if (strncmp((char *)data, "POST ", 5) || !length || length > (char *)body) die("no POST with a length: %.80s", data);
    size_t used = (size_t)(body - data) + strtoul(length + 17, NULL, 10);
    if (n < used) return 0;
    long number = ask ? strtol(ask + 5, NULL, 10) : -1;
    if (number < 0 || number >= option_clients || c->stream >= 0) die("an unknown question: %.300s", body);
    begin_answer(c, (int)number);
    return used;
}

static void accept_all(void) {
    int fd, on = 1;
    while ((fd = accept4(option_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        if (!c) die("out of memory");
        *c = (struct connection){.fd = fd, .stream = -1, .state = READY, .parse = parse_request};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll: %s", strerror(errno));
        accepted_count++;
    }
    if (errno != EAGAIN && errno != ECONNABORTED) die("accept: %s", strerror(errno));
}

static void on_closed(struct connection *c, const char *why) {
    if (c->parse != parse_request) die("the server closed connection %ld: %s", (long)(c - connections), why);
    if (c->stream >= 0) die("the server left the answer to client %d: %s", c->stream, why);
}

/* The clients */

static void ask(int number) {
    streams[number].asked = true;
    streams[number].read = 0;
    queue_text(&connections[number], "42[\"llm_request\",{\"message\":\"ask %d\",\"request_id\":\"request-%llu\"}]", number,
               (unsigned long long)asked_count++);
    flush(&connections[number]);
}

static void on_token(int number, const char *text, size_t n) {
    struct stream *stream = &streams[number];
    char *at = memmem(text, n, "\"@", 2);
    if (!at) die("a token that is not ours: %.*s", (int)n, text);
    long of = strtol(at + 2, &at, 10), index = strtol(at + 1, &at, 10);
    int64_t sent = strtoll(at + 1, NULL, 10);
    if (!stream->asked || of != number || index != stream->read)
        die("client %d got token %ld of answer %ld instead of token %d of its own", number, index, of, stream->read);
    stream->read++;
    token_count++;
    if (sent >= sample_from && sent < sample_to) add_sample(clock_ns(CLOCK_MONOTONIC) - sent);
}

static void on_complete(int number) {
    struct stream *stream = &streams[number];
    if (!stream->asked || stream->backend) die("client %d got an end that is not due", number);
    if (stream->read != tokens) die("client %d got %d of %d tokens", number, stream->read, tokens);
    stream->asked = false;
    complete_count++;
    if (asking) ask(number);
}

static void on_text(struct connection *c, unsigned char *data, size_t n) {
    static const char token[] = "42[\"llm_token\"", complete[] = "42[\"llm_complete\"", error[] = "42[\"llm_error\"";
    char *text = (char *)data, behind = text[n];
    int number = (int)(c - connections);
    text[n] = 0;
    if (!strncmp(text, token, sizeof token - 1)) on_token(number, text, n);
    else if (!strncmp(text, complete, sizeof complete - 1)) on_complete(number);
    else if (!strncmp(text, error, sizeof error - 1)) die("client %d got an error: %.300s", number, text);
    else if (!on_common_packet(c, text) && !strncmp(text, "40", 2) && c->state == ENTERING) set_ready(c);
    text[n] = behind;
}

/* Both */

/* Write what is due; then one turn, not beyond `until`. epoll_wait counts in milliseconds, between which ten tokens are. */
static void step(int64_t until) {
    for (int i = 0; i < option_clients; i++) {
        if (due[i] <= now) {
            due[i] += interval;
            if (streams[i].written < tokens) send_token(i);
            else end_answer(i);
        }
        if (due[i] < until) until = due[i];
    }
    int64_t wait = until - clock_ns(CLOCK_MONOTONIC);
    wait = wait < 0 ? 0 : wait > SECOND / 10 ? SECOND / 10 : wait;
    struct pollfd files[] = {{epoll_fd, POLLIN, 0}, {option_listener, POLLIN, 0}};
    ppoll(files, 2, &(struct timespec){0, wait}, NULL);
    if (files[1].revents) accept_all();
    turn(0);
}

static void step_until(int64_t end) {
    while (now < end) step(end);
}

/* Wait for the ends that are due, and a while longer for what must not come. */
static void finish(void) {
    while (complete_count < asked_count) step(NEVER);
    step_until(now + SECOND / 2);
}

static void all_at_once(void) {
    tokens = option_tokens;
    for (int i = 0; i < option_clients; i++) ask(i);
    while (request_count < asked_count) step(NEVER);
    interval = (int64_t)(SECOND / option_rate);
    int64_t begin = clock_ns(CLOCK_MONOTONIC) + interval, quarter = tokens * interval / 4;
    for (int i = 0; i < option_clients; i++) due[i] = begin + interval * i / option_clients;
    sample_from = begin + quarter, sample_to = begin + 3 * quarter;
    step_until(sample_from);
    struct usage from = take_usage();
    uint64_t before = token_count;
    step_until(sample_to);
    printf("{\"together\":{\"tokens\":%llu,", (unsigned long long)(token_count - before));
    print_usage(from);
    finish();
    printf(",");
    print_samples();
    printf("}");
}

static void one_after_the_other(void) {
    tokens = SHORT_TOKENS;
    interval = SHORT_INTERVAL;
    asking = true;
    for (int i = 0; i < ASKERS; i++) ask(i);
    step_until(now + SECOND / 2);
    struct usage from = take_usage();
    uint64_t had_tokens = token_count, had_requests = request_count, had_connections = accepted_count;
    step_until(now + (int64_t)(option_asking * SECOND));
    printf(",\"asking\":{\"tokens\":%llu,\"requests\":%llu,\"new_connections\":%llu,",
           (unsigned long long)(token_count - had_tokens), (unsigned long long)(request_count - had_requests),
           (unsigned long long)(accepted_count - had_connections));
    print_usage(from);
    printf("}");
    asking = false;
    finish();
}

int main(int count, char **arguments) {
    static const struct option options[] = {
        {"port", 'i', &option_port},           {"clients", 'i', &option_clients},   {"listener", 'i', &option_listener},
        {"tokens", 'i', &option_tokens},       {"rate", 'd', &option_rate},         {"asking", 'd', &option_asking},
        {"server_core", 'i', &server_core},    {"load_core", 'i', &load_core},      {"limit", 'd', &option_limit},
        {"pids", 's', &server_pids},           {0},
    };
    if (count < 2 || strcmp(arguments[1], "llm")) die("which mode?");
    begin(arguments + 2, options, 2);
    if (option_clients < ASKERS) die("there are at least %d clients", ASKERS);
    prctl(PR_SET_TIMERSLACK, 1000); /* ns; 50,000 without */
    fcntl(option_listener, F_SETFL, O_NONBLOCK);
    streams = calloc((size_t)option_clients, sizeof *streams);
    due = calloc((size_t)option_clients, sizeof *due);
    if (!streams || !due) die("out of memory");
    for (int i = 0; i < option_clients; i++) due[i] = NEVER;
    open_up_to(option_clients);
    all_at_once();
    if (option_asking) one_after_the_other();
    printf("}\n");
    return 0;
}
