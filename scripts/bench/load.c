/* The load client of scripts/bench.py: many Socket.IO clients in one thread, cheaper than any of the servers it loads.
 *
 *     load MODE key=value ...        modes: flood, latency, connections, fair
 *
 * It speaks Engine.IO v4 over WebSocket (RFC 6455, RFC 7692 for compressed frames) and Socket.IO v5, as far as the
 * benchmark needs. One epoll, edge-triggered; frames are counted by their headers and first bytes, and parsed no further.
 * A mode ends with one JSON object on stdout: raw values, times in seconds of CLOCK_MONOTONIC. What goes wrong ends it with
 * status 1 and one line on stderr. The servers' CPU time is read from their process clocks at both ends of a measured
 * window, so that neither joining nor warming up is part of it.
 */
#define _GNU_SOURCE
#include "client.h"

#define RING 64                 /* windows are smaller */
#define PROBE_INTERVAL (5 * SECOND / 1000)
#define HEALTH_INTERVAL (20 * SECOND / 1000)
#define MAX_PROBES 100000

struct room {
    char name[24];
    int first, members; /* the first member sends */
    uint32_t sent, done;
    uint16_t got[RING]; /* how many members have message n, at n % RING */
};

/* Options */
static const char *mode, *option_room = "general", *option_disturb = "none", *option_marks = "2000,6000,8000,10000";
static const char *option_windows = "1,4,16";
static int option_rooms = 1, option_size = 200;
static bool option_across; /* latency: what reaches the sender's own process does not count */
static double option_seconds = 4, option_warmup = 1, option_rate = 20, option_idle = 25;

static struct connection health;
static struct room *rooms;
static char filler[1 << 17];
static int64_t last_event;
static uint64_t deliveries, messages, other_events, pings;
static bool sending, may_close;
static int64_t *probe_sent, probe_next; /* 0 once it is answered */
static int probe_count;
static int health_value = -1;
static int64_t health_next;
static uint64_t echoes;
static int64_t last_echo;

static void on_closed(struct connection *c, const char *why) {
    if (!may_close && c != &health) die("the server closed connection %ld: %s", (long)(c - connections), why);
}

/* Send a message of `size` bytes that names its number and the time; `ack` < 0 asks for no acknowledgement. */
static void queue_message(struct connection *c, uint32_t number, size_t size, int ack) {
    static char text[sizeof filler + 256];
    char id[16] = "", stamp[64];
    if (ack >= 0) snprintf(id, sizeof id, "%d", ack);
    int stamp_len = snprintf(stamp, sizeof stamp, "@%u:%lld@", number, (long long)clock_ns(CLOCK_MONOTONIC));
    int n = sprintf(text, "42%s[\"message\",{\"room\":\"%s\",\"message\":\"%s", id, rooms[c->room].name, stamp);
    size_t rest = size > (size_t)stamp_len ? size - (size_t)stamp_len : 0;
    memcpy(text + n, filler + number % 997, rest);
    memcpy(text + (size_t)n + rest, "\"}]", 3);
    queue_frame(c, 1, text, (size_t)n + rest + 3);
}

static void send_to_room(struct room *room) {
    queue_message(&connections[room->first], room->sent++, (size_t)option_size, -1);
}

/* Receiving */

static void on_message(struct connection *c, const unsigned char *text, size_t n) {
    deliveries++;
    if (mode[0] == 'f' && mode[1] == 'l') { /* flood */
        struct room *room = &rooms[c->room];
        uint16_t *got = &room->got[c->received++ % RING];
        if (++*got < room->members) return;
        *got = 0;
        room->done++;
        messages++;
        if (sending) send_to_room(room);
    } else if (mode[0] == 'l') { /* latency */
        const char *stamp = memmem(text, n, "\"@", 2);
        if (!stamp || !sending) return;
        const char *colon = memchr(stamp, ':', 16);
        if (option_across && process_of((int)(c - connections)) == process_of(rooms[0].first)) return;
        if (colon) add_sample(clock_ns(CLOCK_MONOTONIC) - strtoll(colon + 1, NULL, 10));
    } else if (c == &connections[1]) { /* fair: the one that disturbs */
        echoes++;
        last_echo = now;
    }
}

static void on_acknowledgement(struct connection *c, const char *text) {
    int id = (int)strtol(text + 2, NULL, 10);
    if (c->state == JOINING) {
        if (!strstr(text, "\"ok\":true")) die("joining was refused: %s", text);
        set_ready(c);
    } else if (id < probe_count && probe_sent[id]) {
        add_sample(clock_ns(CLOCK_MONOTONIC) - probe_sent[id]);
        probe_sent[id] = 0;
    }
}

static void on_text(struct connection *c, unsigned char *text, size_t n) {
    static const char message[] = "42[\"new_message\"";
    if (n >= sizeof message && memcmp(text, message, sizeof message - 1) == 0) {
        on_message(c, text, n);
        return;
    }
    if (n == 0) return;
    unsigned char behind = text[n];
    text[n] = 0;
    if (text[0] == '2') pings++;
    if (text[0] == '4') last_event = now, other_events++;
    if (!on_common_packet(c, (const char *)text) && text[0] == '4') {
        if (text[1] == '0' && c->state == ENTERING) {
            c->state = JOINING;
            queue_text(c, "420[\"join_room\",{\"room\":\"%s\",\"history\":0}]", rooms[c->room].name);
        } else if (text[1] == '3') {
            on_acknowledgement(c, (char *)text);
        }
    }
    text[n] = behind;
}

static size_t parse_health(struct connection *c, unsigned char *data, size_t n) {
    unsigned char *field = memmem(data, n, "active_connections\":", 20);
    if (field && memchr(field, '}', n - (size_t)(field - data))) {
        health_value = (int)strtol((char *)field + 20, NULL, 10);
        mark_closed(c, "");
    }
    return 0;
}

static void ask_health(void) {
    health = (struct connection){.state = READY, .parse = parse_health};
    start(&health, 0);
    health.out_len = (size_t)sprintf(reserve(&health, 128),
                                     "GET /health HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n", option_port);
}

/* Wait until joining has stopped to cause events. */
static void wait_until_quiet(void) {
    last_event = now;
    while (now - last_event < SECOND / 2) turn(last_event + SECOND / 2);
}

/* Modes */

static void flood(void) {
    open_up_to(option_clients);
    wait_until_quiet();
    printf("{\"deflate_negotiated\":%s,\"other_events\":%llu,\"windows\":[", connections[0].deflate ? "true" : "false",
           (unsigned long long)other_events);
    const char *separator = "";
    for (const char *list = option_windows; *list; list += strspn(list, ",")) {
        int window = (int)strtol(list, (char **)&list, 10);
        if (window < 1 || window >= RING) die("a window is 1 to %d", RING - 1);
        sending = true;
        for (int r = 0; r < option_rooms; r++)
            for (int i = 0; i < window; i++) send_to_room(&rooms[r]);
        run_for(option_warmup);
        struct usage from = take_usage();
        uint64_t deliveries_before = deliveries, messages_before = messages;
        run_for(option_seconds);
        printf("%s{\"window\":%d,\"deliveries\":%llu,\"messages\":%llu,", separator, window,
               (unsigned long long)(deliveries - deliveries_before), (unsigned long long)(messages - messages_before));
        separator = ",";
        print_usage(from);
        printf("}");
        sending = false;
        for (int r = 0; r < option_rooms; r++)
            while (rooms[r].done < rooms[r].sent) turn(INT64_MAX / 2);
    }
    printf("]}\n");
}

static void latency(void) {
    open_up_to(option_clients);
    wait_until_quiet();
    uint32_t warmup = (uint32_t)(option_warmup * option_rate), count = warmup + (uint32_t)(option_seconds * option_rate);
    uint64_t expected = 0;
    int64_t begin = clock_ns(CLOCK_MONOTONIC);
    struct usage from = take_usage();
    for (uint32_t number = 0; number < count; number++) {
        int64_t due = begin + (int64_t)(number * (double)SECOND / option_rate);
        while (now < due) turn(due);
        if (number == warmup) {
            for (int64_t end = now + 10 * SECOND; deliveries < expected && now < end;) turn(end);
            sending = true, begin += clock_ns(CLOCK_MONOTONIC) - due;
            from = take_usage();
        }
        send_to_room(&rooms[0]);
        expected += (uint64_t)option_clients;
    }
    for (int64_t end = now + 20 * SECOND; deliveries < expected && now < end;) turn(end);
    printf("{\"missing\":%llu,", (unsigned long long)(expected - deliveries));
    print_usage(from);
    printf(",");
    print_samples();
    printf("}\n");
}

/* Send the probe's message if it is time; the probe is connection 0. Open loop: a late answer delays no later probe. */
static void probe(void) {
    if (now < probe_next || probe_count == MAX_PROBES) return;
    probe_sent[probe_count] = clock_ns(CLOCK_MONOTONIC);
    queue_message(&connections[0], (uint32_t)probe_count, 20, probe_count);
    probe_count++;
    probe_next = probe_next + PROBE_INTERVAL > now ? probe_next + PROBE_INTERVAL : now + PROBE_INTERVAL;
}

/* Wait for the probes on their way, then print what they waited; one that is never answered counts up to now. */
static void print_probes(const char *name) {
    int open = 1;
    for (int64_t end = now + 10 * SECOND; open && now < end && connections[0].state != CLOSED;) {
        open = 0;
        for (int i = 0; i < probe_count; i++) open += probe_sent[i] != 0;
        if (open) turn(now + PROBE_INTERVAL);
    }
    for (int i = 0; i < probe_count; i++)
        if (probe_sent[i]) add_sample(now - probe_sent[i]);
    printf("\"%s\":{\"unanswered\":%d,", name, open);
    print_samples();
    printf("}");
    probe_count = 0;
}

static void probe_for(double seconds) {
    int64_t end = clock_ns(CLOCK_MONOTONIC) + (int64_t)(seconds * SECOND);
    probe_next = clock_ns(CLOCK_MONOTONIC);
    for (now = probe_next; now < end; turn(probe_next)) probe();
}

static void open_many(void) {
    printf("{\"marks\":[{\"count\":0,\"server_cpu_s\":%.4f,\"client_cpu_s\":0,\"at_s\":%.3f,\"rss_mb\":%.2f}", server_cpu_s(),
           (double)clock_ns(CLOCK_MONOTONIC) / SECOND, server_rss_mb());
    for (const char *list = option_marks; *list; list += strspn(list, ",")) {
        int count = (int)strtol(list, (char **)&list, 10);
        open_up_to(count > option_clients ? option_clients : count);
        struct usage at = take_usage();
        printf(",{\"count\":%d,\"server_cpu_s\":%.4f,\"client_cpu_s\":%.4f,\"at_s\":%.3f,\"rss_mb\":%.2f}", ready, at.server,
               at.client, at.at, server_rss_mb());
    }
    wait_until_quiet();
    double rss_mb = server_rss_mb();
    uint64_t pings_before = pings;
    struct usage from = take_usage();
    run_for(option_idle);
    printf("],\"deflate_negotiated\":%s,\"rss_mb\":%.2f,\"idle\":{\"rss_mb\":%.2f,\"pings\":%llu,",
           connections[0].deflate ? "true" : "false", rss_mb, server_rss_mb(), (unsigned long long)(pings - pings_before));
    print_usage(from);
    printf("},");
    probe_for(1);
    print_probes("before");
    may_close = true;
    from = take_usage();
    int64_t begin = now;
    probe_next = now;
    for (int i = 1; i < opened; i++) {
        close(connections[i].fd);
        connections[i].state = CLOSED;
    }
    double closing_s = (double)(clock_ns(CLOCK_MONOTONIC) - begin) / SECOND;
    health.state = CLOSED;
    for (health_value = -1; health_value != 1 && now - begin < 120 * SECOND; turn(probe_next)) {
        if (connections[0].state == CLOSED) break;
        probe();
        if (health.state != CLOSED) continue;
        if (health_next <= now) ask_health(), health_next = now + HEALTH_INTERVAL;
    }
    printf(",\"drop\":{\"closing_s\":%.4f,\"settled_s\":%.4f,\"left\":%d,\"stayed\":%s,", closing_s, (double)(now - begin) / SECOND,
           health_value, connections[0].state == CLOSED ? "false" : "true");
    print_usage(from);
    printf("},");
    print_probes("during");
    printf("}\n");
}

/* Connection 0 is alone in its room and probes; 1 disturbs in a room with all others. */
static void fair(void) {
    bool big = !strcmp(option_disturb, "big"), burst = !strcmp(option_disturb, "burst"), slow = !strcmp(option_disturb, "slow");
    connections[option_clients - 1].paused = slow;
    open_up_to(option_clients);
    wait_until_quiet();
    probe_for(0.5);
    printf("{");
    print_probes("before");
    double rss_mb = server_rss_mb();
    struct usage from = take_usage();
    int64_t begin = clock_ns(CLOCK_MONOTONIC), end = begin + (int64_t)(option_seconds * SECOND);
    int64_t interval = big ? SECOND / 20 : SECOND / 200, next = slow || big ? begin : INT64_MAX;
    const uint64_t burst_count = 20000;
    probe_next = now = begin;
    if (burst)
        for (uint64_t i = 0; i < burst_count; i++) queue_message(&connections[1], (uint32_t)i, 30, -1);
    while (now < end || (burst && echoes < burst_count && now < begin + 30 * SECOND)) {
        probe();
        if (now >= next) {
            queue_message(&connections[1], probe_count, big ? 65000 : 2000, -1);
            next += interval;
        }
        turn(next < probe_next ? next : probe_next);
    }
    printf(",\"rss_growth_mb\":%.2f,\"echoes\":%llu,\"last_echo_s\":%.3f,", server_rss_mb() - rss_mb,
           (unsigned long long)echoes, echoes ? (double)(last_echo - begin) / SECOND : 0.0);
    print_usage(from);
    printf(",");
    print_probes("during");
    printf("}\n");
}

static void set_up(void) {
    static const char *const words[] = {"the", "server", "we", "said", "that", "message", "room", "never", "people", "of",
                                        "streaming", "to", "tomorrow", "and", "a", "quick", "answer", "please", "is", "why"};
    uint32_t random = 1;
    for (size_t at = 0; at < sizeof filler - 16;) {
        random = random * 1664525u + 1013904223u;
        at += (size_t)sprintf(filler + at, "%s ", words[(random >> 16) % 20]);
    }
    rooms = calloc((size_t)option_clients, sizeof *rooms);
    probe_sent = calloc(MAX_PROBES, sizeof *probe_sent);
    if (!rooms || !probe_sent) die("out of memory");
    int per_room = option_clients / option_rooms, is_fair = !strcmp(mode, "fair");
    if (per_room < 1) die("there are more rooms than clients");
    for (int i = 0; i < option_clients; i++) {
        int number = is_fair ? i > 0 : i / per_room;
        struct room *room = &rooms[number];
        connections[i].room = number;
        if (!room->members++) room->first = i;
        if (option_rooms == 1 && !is_fair) snprintf(room->name, sizeof room->name, "%s", option_room);
        else snprintf(room->name, sizeof room->name, "r%d", number);
    }
}

int main(int count, char **arguments) {
    static const struct option options[] = {
        {"port", 'i', &option_port},           {"clients", 'i', &option_clients},   {"rooms", 'i', &option_rooms},
        {"size", 'i', &option_size},           {"server_core", 'i', &server_core},  {"load_core", 'i', &load_core},
        {"deflate", 'b', &option_deflate},     {"bare", 'b', &option_bare},         {"seconds", 'd', &option_seconds},
        {"warmup", 'd', &option_warmup},       {"rate", 'd', &option_rate},         {"idle", 'd', &option_idle},
        {"limit", 'd', &option_limit},         {"room", 's', &option_room},         {"marks", 's', &option_marks},
        {"windows", 's', &option_windows},     {"disturb", 's', &option_disturb},   {"pids", 's', &server_pids},
        {"auth", 's', &option_auth},           {"ports", 's', &option_ports},       {"across", 'b', &option_across},
        {0},
    };
    if (count < 2) die("which mode?");
    mode = arguments[1];
    begin(arguments + 2, options, 1);
    set_up();
    if (!strcmp(mode, "flood")) flood();
    else if (!strcmp(mode, "latency")) latency();
    else if (!strcmp(mode, "connections")) open_many();
    else if (!strcmp(mode, "fair")) fair();
    else die("unknown mode %s", mode);
    return 0;
}
