/* The floor of scripts/bench.py: a server that answers each message with one frame to each client, one send() each.
 *
 *     floor CLIENTS
 *
 * It shakes no hands and reads the first client only, which sends. What it costs per send is what one system call per
 * delivery costs on this machine. Prints its address in the form of the other servers' ready line.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int argument_count, char **arguments) {
    int count = argument_count > 1 ? atoi(arguments[1]) : 0, on = 1;
    int *clients = calloc((size_t)count + 1, sizeof *clients), listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (count < 1 || !clients || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) return 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("floor ready on http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (int i = 0; i < count; i++) {
        clients[i] = accept(listener, NULL, NULL);
        setsockopt(clients[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    static unsigned char in[65536], frame[260] = {0x81, 126, 1, 0}; /* a text frame of 256 bytes */
    memset(frame + 4, 'x', sizeof frame - 4);
    memcpy(frame + 4, "42[\"new_message\",", 17);
    for (size_t held = 0, at = 0;; memmove(in, in + at, held -= at), at = 0) {
        ssize_t n = recv(clients[0], in + held, sizeof in - held, 0);
        if (n <= 0) return 0;
        held += (size_t)n;
        while (held - at >= 8) {
            size_t length = in[at + 1] & 127, head = length == 126 ? 8 : 6;
            if (length == 126) length = (size_t)in[at + 2] << 8 | in[at + 3];
            if (held - at < head + length) break;
            at += head + length;
            for (int i = 0; i < count; i++)
                if (send(clients[i], frame, sizeof frame, MSG_NOSIGNAL) != sizeof frame) return 1;
        }
    }
}
