/* The load client for what is live: positions that are relayed, state that is set, letters that are typed into documents.
 *
 *     live MODE key=value ...        modes: relay, acked, editors
 *
 * As load.c in all else. A position has its time in it, so that each reader knows how old it is.
 */
#define _GNU_SOURCE
#include "client.h"

static const char *mode, *option_event = "message";
static int option_rooms = 1, option_movers = 0;
static double option_seconds = 4, option_warmup = 1, option_rate = 30;

static bool sending;
static uint64_t frames, items, acknowledgements, updates;
static uint32_t *sent; /* of each client */

static void on_closed(struct connection *c, const char *why) {
    die("the server closed connection %ld: %s", (long)(c - connections), why);
}

static void send_position(struct connection *c) {
    long number = (long)(c - connections);
    queue_text(c, "42[\"relay\",{\"room\":\"r%d\",\"channel\":\"cursor\",\"key\":\"me\",\"data\":{\"x\":%ld,\"y\":%u,\"t\":%lld}}]",
               c->room, number, sent[number]++ % 1000, (long long)clock_ns(CLOCK_MONOTONIC));
}

static void send_acked(struct connection *c) {
    long number = (long)(c - connections);
    if (option_event[0] == 's')
        queue_text(c, "421[\"state_set\",{\"room\":\"r%d\",\"values\":{\"shape:%u\":{\"x\":%u,\"y\":7,\"text\":\"a shape that has moved\"}}}]",
                   c->room, sent[number] % 50, sent[number]);
    else
        queue_text(c, "421[\"message\",{\"room\":\"r%d\",\"message\":\"a message as long as a shape that has moved %u\"}]", c->room,
                   sent[number]);
    sent[number]++;
}

static size_t put_number(unsigned char *out, uint64_t number) {
    size_t n = 0;
    for (; number > 127; number >>= 7) out[n++] = (unsigned char)(number | 128);
    out[n++] = (unsigned char)number;
    return n;
}

/* Insert a letter behind the client's last one, as Yjs encodes that. */
static void send_letter(struct connection *c) {
    long number = (long)(c - connections);
    unsigned char update[64];
    size_t n = 0;
    uint32_t clock = sent[number]++;
    update[n++] = 1, update[n++] = 1;
    n += put_number(update + n, (uint64_t)number + 1);
    n += put_number(update + n, clock);
    if (clock) {
        update[n++] = 0x84;
        n += put_number(update + n, (uint64_t)number + 1);
        n += put_number(update + n, clock - 1);
    } else {
        memcpy(update + n, "\x04\x01\x07" "content", 10), n += 10;
    }
    update[n++] = 1, update[n++] = 'a' + clock % 26, update[n++] = 0;
    queue_text(c, "451-/yjs|d%d,[\"sync-update\",{\"_placeholder\":true,\"num\":0}]", c->room);
    queue_frame(c, 2, (char *)update, n);
    updates++;
}

static void on_relay(const char *text) {
    frames++;
    for (const char *stamp = text; (stamp = strstr(stamp, "\"t\":")); items++) {
        int64_t at = strtoll(stamp + 4, (char **)&stamp, 10);
        if (sending) add_sample(clock_ns(CLOCK_MONOTONIC) - at);
    }
}

static void on_text(struct connection *c, unsigned char *text, size_t n) {
    if (n == 0) return;
    unsigned char behind = text[n];
    text[n] = 0;
    bool edits = mode[0] == 'e';
    if (!strncmp((char *)text, "42[\"relay\"", 10)) {
        on_relay((char *)text);
    } else if (edits && text[0] == '0' && c->state == OPENING) {
        c->state = ENTERING;
        queue_text(c, "40/yjs|d%d,", c->room);
    } else if (edits && !strncmp((char *)text, "40/yjs|", 7)) {
        set_ready(c);
    } else if (edits && !strncmp((char *)text, "451-", 4) && strstr((char *)text, "sync-update")) {
        items++;
    } else if (!on_common_packet(c, (char *)text) && text[0] == '4') {
        if (text[1] == '0' && c->state == ENTERING) {
            c->state = JOINING;
            queue_text(c, "420[\"join_room\",{\"room\":\"r%d\",\"history\":0}]", c->room);
        } else if (text[1] == '3' && c->state == JOINING) {
            set_ready(c);
        } else if (text[1] == '3') {
            if (!strstr((char *)text, "\"ok\":true")) die("it was refused: %.300s", text);
            acknowledgements++;
            if (sending) send_acked(c);
        }
    }
    text[n] = behind;
}

/* Let `movers` clients say something at option_rate each, evenly spread, for so long. */
static void say_for(double seconds, int movers, void (*say)(struct connection *)) {
    int64_t begin = clock_ns(CLOCK_MONOTONIC), end = begin + (int64_t)(seconds * SECOND);
    double interval = SECOND / (option_rate * movers);
    for (int64_t number = 0;; number++) {
        int64_t due = begin + (int64_t)((double)number * interval);
        if (due >= end) return;
        while (now < due) turn(due);
        say(&connections[number % movers]);
    }
}

static void spoken(void (*say)(struct connection *)) {
    int movers = option_movers ? option_movers : option_clients;
    say_for(option_warmup, movers, say);
    struct usage from = take_usage();
    uint64_t frames_before = frames, items_before = items, updates_before = updates;
    sending = true;
    say_for(option_seconds, movers, say);
    printf("{\"frames\":%llu,\"items\":%llu,\"updates\":%llu,", (unsigned long long)(frames - frames_before),
           (unsigned long long)(items - items_before), (unsigned long long)(updates - updates_before));
    print_usage(from);
    run_for(0.3);
    printf(",");
    print_samples();
    printf("}\n");
}

/* The first client of each room has one thing under way. */
static void acked(void) {
    sending = true;
    int per_room = option_clients / option_rooms;
    for (int room = 0; room < option_rooms; room++) send_acked(&connections[room * per_room]);
    run_for(option_warmup);
    struct usage from = take_usage();
    uint64_t before = acknowledgements;
    run_for(option_seconds);
    printf("{\"acknowledgements\":%llu,", (unsigned long long)(acknowledgements - before));
    print_usage(from);
    printf("}\n");
}

int main(int count, char **arguments) {
    static const struct option options[] = {
        {"port", 'i', &option_port},        {"clients", 'i', &option_clients}, {"rooms", 'i', &option_rooms},
        {"movers", 'i', &option_movers},    {"rate", 'd', &option_rate},       {"seconds", 'd', &option_seconds},
        {"warmup", 'd', &option_warmup},    {"event", 's', &option_event},     {"server_core", 'i', &server_core},
        {"load_core", 'i', &load_core},     {"limit", 'd', &option_limit},     {"pids", 's', &server_pids},
        {0},
    };
    if (count < 2) die("which mode?");
    mode = arguments[1];
    begin(arguments + 2, options, 1);
    prctl(PR_SET_TIMERSLACK, 1000); /* ns; 50,000 without */
    sent = calloc((size_t)option_clients, sizeof *sent);
    if (!sent) die("out of memory");
    for (int i = 0; i < option_clients; i++) connections[i].room = i / (option_clients / option_rooms);
    open_up_to(option_clients);
    run_for(1);
    if (!strcmp(mode, "relay")) spoken(send_position);
    else if (!strcmp(mode, "editors")) spoken(send_letter);
    else if (!strcmp(mode, "acked")) acked();
    else die("unknown mode %s", mode);
    return 0;
}
