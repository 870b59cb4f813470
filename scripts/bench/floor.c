/* The floor of scripts/bench.py: a server that answers each message with one frame to each client of its room.
 *
 *     floor CLIENTS ROOMS
 *
 * One epoll_wait() for what is there, one recv() per message, one send() per delivery, and nothing else: no handshakes, no
 * JSON, no history; a message is passed on as it came. What it costs is what those system calls cost on this machine.
 * Clients fill the rooms in the order in which they connect. Prints its address in the form of the other servers' ready line.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
    int fd;
    size_t held; /* bytes of a message whose end has not arrived */
    unsigned char in[4096];
};

static const char event[] = "42[\"new_message\"", said[] = "42[\"message\"";
static unsigned char frame[4 + 4096] = {0x81, 126};
static size_t frame_size;

/* Build the frame that passes on the first whole message of `n` bytes; return the message's length, or 0. */
static size_t take(const unsigned char *in, size_t n) {
    if (n < 8) return 0;
    size_t length = in[1] & 127, head = length == 126 ? 8 : 6;
    if (length == 126) length = (size_t)in[2] << 8 | in[3];
    if (n < head + length) return 0;
    const size_t skipped = sizeof said - 1, added = sizeof event - 1, size = length - skipped + added;
    memcpy(frame + 4, event, added);
    for (size_t i = skipped; i < length; i++) frame[4 + added + i - skipped] = in[head + i] ^ in[head - 4 + (i & 3)];
    frame[2] = (unsigned char)(size >> 8), frame[3] = (unsigned char)size;
    frame_size = 4 + size;
    return head + length;
}

int main(int argument_count, char **arguments) {
    int count = argument_count > 2 ? atoi(arguments[1]) : 0, rooms = argument_count > 2 ? atoi(arguments[2]) : 0, on = 1;
    struct client *clients = calloc((size_t)count + 1, sizeof *clients);
    int listener = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (rooms < 1 || count < rooms || !clients || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096))
        return 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("floor ready on http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        clients[i].fd = accept(listener, NULL, NULL);
        setsockopt(clients[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (epoll_ctl(poll, EPOLL_CTL_ADD, clients[i].fd, &event)) return 1;
    }
    for (int per_room = count / rooms;;) {
        struct epoll_event events[256];
        int n = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct client *from = events[i].data.ptr, *first = clients + (from - clients) / per_room * per_room;
            ssize_t got = recv(from->fd, from->in + from->held, sizeof from->in - from->held, 0);
            if (got <= 0) pause(); /* the clients have gone; whoever measures ends this */
            size_t at = 0, length;
            from->held += (size_t)got;
            for (; (length = take(from->in + at, from->held - at)); at += length)
                for (struct client *to = first; to < first + per_room; to++)
                    if (send(to->fd, frame, frame_size, MSG_NOSIGNAL) != (ssize_t)frame_size) return 1;
            memmove(from->in, from->in + at, from->held -= at);
        }
    }
}
