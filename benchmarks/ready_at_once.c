/* A stand-in of `python -m sglang.launch_server` that is ready at once: it answers /health, what the router asks of a
 * worker, and chats of one token. For benchmarks/scale.py, where an engine's own start must not count.
 *
 *     cc -O1 -o ready_at_once ready_at_once.c; ./ready_at_once ... --host ADDRESS --port PORT ...
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void answer(int to, const char *kind, const char *body) {
    char head[256];
    int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                     kind, strlen(body));
    if (write(to, head, n) < 0 || write(to, body, strlen(body)) < 0) return;
}

static void serve(int peer, const char *model) {
    static char request[1 << 20], body[4096];
    size_t have = 0;
    char *end = NULL;
    while (have < sizeof request - 1) {
        ssize_t n = read(peer, request + have, sizeof request - 1 - have);
        if (n <= 0) return;
        request[have += n] = 0;
        if (!end) end = strstr(request, "\r\n\r\n");
        if (!end) continue;
        char *length = strcasestr(request, "\r\ncontent-length:");
        size_t wanted = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
        if (have >= (size_t)(end + 4 - request) + wanted) break;
    }
    if (strstr(request, "/completions")) {
        const char *piece = strstr(request, "/chat/") ? "\"delta\":{\"role\":\"assistant\",\"content\":\"yes\"}" : "\"text\":\"yes\"";
        if (strstr(end, "\"stream\":true") || strstr(end, "\"stream\": true")) {
            snprintf(body, sizeof body, "data: {\"id\":\"x\",\"object\":\"c\",\"created\":1,\"model\":\"%s\",\"choices\":[{\"index\":0,\"finish_reason\":null,%s}]}\n\n"
                     "data: {\"id\":\"x\",\"object\":\"c\",\"created\":1,\"model\":\"%s\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",%s}],"
                     "\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":2,\"total_tokens\":10}}\n\ndata: [DONE]\n\n", model, piece, model, piece);
            answer(peer, "text/event-stream", body);
        } else {
            snprintf(body, sizeof body, "{\"id\":\"x\",\"object\":\"c\",\"created\":1,\"model\":\"%s\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":{\"role\":\"assistant\",\"content\":\"yes\"},%s}],"
                     "\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":2,\"total_tokens\":10}}", model, piece);
            answer(peer, "application/json", body);
        }
    } else if (strstr(request, "/v1/models")) {
        snprintf(body, sizeof body, "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"object\":\"model\",\"owned_by\":\"sglang\",\"max_model_len\":4096}]}", model);
        answer(peer, "application/json", body);
    } else if (strstr(request, "info")) {
        snprintf(body, sizeof body, "{\"model_path\":\"/m\",\"served_model_name\":\"%s\",\"tp_size\":1,\"dp_size\":1,\"is_generation\":true}", model);
        answer(peer, "application/json", body);
    } else {
        answer(peer, "text/plain", "");
    }
}

int main(int argc, char **argv) {
    const char *host = "127.0.0.1", *model = "m";
    int port = 0, on = 1;
    for (int i = 1; i < argc - 1; i++) {
        if (!strcmp(argv[i], "--host")) host = argv[i + 1];
        if (!strcmp(argv[i], "--port")) port = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--served-model-name")) model = argv[i + 1];
    }
    signal(SIGPIPE, SIG_IGN);
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &at.sin_addr);
    if (bind(listening, (struct sockaddr *)&at, sizeof at) || listen(listening, 128)) { perror("ready_at_once"); return 1; }
    for (;;) {
        int peer = accept(listening, NULL, NULL);
        if (peer < 0) continue;
        serve(peer, model);
        shutdown(peer, SHUT_WR);
        close(peer);
    }
}
