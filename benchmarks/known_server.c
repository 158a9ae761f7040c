/* A server of known speed, lighter than what measures it: it computes nothing.
 *
 *     cc -O2 -o known_server known_server.c -lm
 *     known_server ttft=0.05 rate=1e12 itl=0.02 jitter=0 prefill=1 decode=1 cold=0 seed=1
 *
 * Speaks a Dynamo frontend's /v1/models, /health and streamed /v1/completions on a free port of the
 * loopback, which it prints. The first token leaves `ttft` seconds plus the prompt's tokens over
 * `rate` after a request's last byte was read, times a chance of standard deviation `jitter` (of the
 * logarithm), plus `cold` seconds at a worker's first request; further ones at every tick of `itl`
 * seconds, as where all running requests are one batch. A prompt's words have three letters each.
 * A request with "pad": N also gets N blanks with each token (64 KiB at most), as far as its client reads.
 * /truth gives, and forgets, for each request since: last byte read, first token written (seconds of
 * the monotonic clock), tokens of the prompt.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 20000 /* connections, and so requests at once */
#define DECODE_BASE 100001
#define TOKEN "data: {\"choices\": [{\"index\": 0, \"text\": \" the\", \"finish_reason\": null}], \"usage\": null"

struct connection {
    char *data;
    size_t have, room, need; /* bytes of the request read so far, and in all once its header is there */
    double received;
    long tokens, wanted, left, prefill, decode, pad;
};
struct due { double at; int fd; };

static struct connection all[MOST];
static struct due heap[MOST];
static int waiting, running[MOST], count_running;
static struct { double received, first; long tokens; } *truth;
static size_t count_truth, room_truth;
static double ttft = 0.05, rate = 1e12, itl = 0.02, jitter = 0, cold = 0, prefill = 1, decode = 1, seed = 1;
static char *met;
static int epoll;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double chance(void) { /* Box and Muller */
    double u = (random() + 1.0) / (RAND_MAX + 2.0), v = (random() + 1.0) / (RAND_MAX + 2.0);
    return jitter ? exp(jitter * sqrt(-2 * log(u)) * cos(2 * M_PI * v)) : 1;
}

static void push(double at, int fd) {
    int i = waiting++;
    for (; i && heap[(i - 1) / 2].at > at; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = (struct due){at, fd};
}

static int pop(void) {
    int fd = heap[0].fd, i = 0, child;
    struct due last = heap[--waiting];
    for (; (child = 2 * i + 1) < waiting; i = child) {
        if (child + 1 < waiting && heap[child + 1].at < heap[child].at) child++;
        if (heap[child].at >= last.at) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return fd;
}

static void put(int fd, const char *data, size_t size) {
    while (size) { /* answers are small: a full socket is waited for */
        ssize_t done = send(fd, data, size, MSG_NOSIGNAL);
        if (done < 0 && (errno != EAGAIN || all[fd].pad)) return;
        if (done > 0) data += done, size -= done;
    }
}

static void chunk(int fd, const char *head, const char *piece, int last) {
    char out[1500];
    int size = snprintf(out, sizeof out, "%s%zx\r\n%s\r\n%s", head, strlen(piece), piece, last ? "0\r\n\r\n" : "");
    put(fd, out, size);
}

static void token(int fd, int first) {
    struct connection *c = &all[fd];
    char piece[700];
    int last = --c->left <= 0, size;
    if (first)
        size = snprintf(piece, sizeof piece, TOKEN ", \"nvext\": {\"worker_id\": {\"prefill_worker_id\": %ld, "
                        "\"decode_worker_id\": %ld}}}\n\n", c->prefill, c->decode);
    else
        size = snprintf(piece, sizeof piece, TOKEN "}\n\n");
    if (last)
        snprintf(piece + size, sizeof piece - size, "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": %ld, "
                 "\"completion_tokens\": %ld}}\n\ndata: [DONE]\n\n", c->tokens, c->wanted);
    chunk(fd, first ? "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                      "transfer-encoding: chunked\r\n\r\n" : "", piece, last);
    if (c->pad && !last) {
        static char blanks[65540];
        memset(blanks, ' ', sizeof blanks);
        snprintf(piece, sizeof piece, "%lx\r\n", c->pad);
        put(fd, piece, strlen(piece));
        memcpy(blanks + c->pad, "\r\n", 2);
        put(fd, blanks, c->pad + 2);
    }
}

static long number(const char *text, const char *key, long otherwise) {
    const char *at = strstr(text, key);
    return at ? atol(at + strlen(key)) : otherwise;
}

static void page(int fd, const char *path) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!strncmp(path, "/v1/models", 10)) {
        fputs("{\"object\": \"list\", \"data\": [{\"id\": \"known\", \"owned_by\": \"nvidia\"}]}", out);
    } else if (!strncmp(path, "/truth", 6)) {
        for (size_t i = 0; i < count_truth; i++)
            fprintf(out, "%c[%.6f, %.6f, %ld]", i ? ',' : '[', truth[i].received, truth[i].first, truth[i].tokens);
        fputs(count_truth ? "]" : "[]", out);
        count_truth = 0;
    } else {
        fputs("{\"instances\": [", out);
        for (int i = 0; i < prefill + decode; i++)
            fprintf(out, "%s{\"component\": \"%s\", \"endpoint\": \"generate\", \"instance_id\": %d, \"transport\": {}}",
                    i ? ", " : "", i < prefill ? "prefill" : "backend",
                    i < prefill ? i + 1 : DECODE_BASE + i - (int)prefill);
        fputs("]}", out);
    }
    fclose(out);
    char head[200];
    int length = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                          "content-length: %zu\r\n\r\n", size);
    put(fd, head, length);
    put(fd, text, size);
    free(text);
}

static void answer(int fd) {
    static long number_of_request;
    struct connection *c = &all[fd];
    c->received = now();
    c->data[c->have] = 0;
    char *path = strchr(c->data, ' ') + 1;
    c->have = c->need = 0;
    if (strncmp(path, "/v1/completions", 15)) {
        page(fd, path);
        return;
    }
    char *start = strstr(path, "\"prompt\": \"") + 11, *stop = strchr(start, '"');
    long turn = number_of_request++;
    c->tokens = (stop - start + 1) / 4;
    c->left = c->wanted = number(stop, "\"max_tokens\": ", 1);
    c->pad = number(stop, "\"pad\": ", 0);
    if (c->pad > 65536) c->pad = 65536;
    c->prefill = number(stop, "\"prefill_worker_id\": ", 1 + turn % (long)prefill);
    c->decode = number(stop, "\"decode_worker_id\": ", DECODE_BASE + turn % (long)decode);
    double wait = (ttft + c->tokens / rate) * chance();
    if (!met[c->prefill]) wait += cold;
    met[c->prefill] = 1;
    push(c->received + wait, fd);
}

static int take(int fd) {
    struct connection *c = &all[fd];
    for (;;) {
        if (c->room - c->have < 1 << 16) c->data = realloc(c->data, (c->room = 2 * c->room + (1 << 17)));
        ssize_t got = recv(fd, c->data + c->have, c->room - c->have - 1, 0);
        if (got <= 0) return got < 0 && errno == EAGAIN;
        c->have += got;
        if (!c->need) {
            char *end = memmem(c->data, c->have, "\r\n\r\n", 4);
            if (!end) continue;
            *end = 0;
            char *length = strcasestr(c->data, "content-length: ");
            c->need = end + 4 - c->data + (length ? atol(length + 16) : 0);
            *end = '\r';
        }
        if (c->have >= c->need) {
            answer(fd);
            return 1;
        }
    }
}

static void drop(int fd) { /* a request of a client that is gone ends */
    for (int i = 0; i < count_running; i++) if (running[i] == fd) running[i--] = running[--count_running];
    for (int i = 0; i < waiting; i++) if (heap[i].fd == fd) heap[i].fd = -1;
    free(all[fd].data);
    all[fd] = (struct connection){0};
    close(fd);
}

static void first_tokens(double until) {
    while (waiting && heap[0].at <= until) {
        int fd = pop();
        if (fd < 0) continue;
        if (count_truth == room_truth) truth = realloc(truth, (room_truth = 2 * room_truth + 1024) * sizeof *truth);
        truth[count_truth].received = all[fd].received, truth[count_truth].tokens = all[fd].tokens;
        int at = all[fd].left > 1;
        truth[count_truth++].first = now();
        token(fd, 1);
        if (at) running[count_running++] = fd;
    }
}

static void step(void) {
    int kept = 0;
    for (int i = 0; i < count_running; i++) {
        token(running[i], 0);
        if (all[running[i]].left > 0) running[kept++] = running[i];
    }
    count_running = kept;
}

int main(int argc, char **argv) {
    struct { const char *name; double *value; } given[] = {{"ttft=", &ttft}, {"rate=", &rate}, {"itl=", &itl},
        {"jitter=", &jitter}, {"prefill=", &prefill}, {"decode=", &decode}, {"cold=", &cold}, {"seed=", &seed}};
    for (int i = 1; i < argc; i++)
        for (size_t j = 0; j < sizeof given / sizeof *given; j++)
            if (!strncmp(argv[i], given[j].name, strlen(given[j].name))) *given[j].value = atof(strchr(argv[i], '=') + 1);
    srandom(seed);
    met = calloc(1, 2 * DECODE_BASE);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < MOST ? files.rlim_max : MOST;
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) return perror("listen"), 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    static struct epoll_event ready[1024];
    double tick = now() + itl;
    for (;;) {
        double next = waiting && heap[0].at < tick ? heap[0].at : tick, left = next - now();
        struct timespec wait = {left > 0 ? (time_t)left : 0, left > 0 ? fmod(left, 1) * 1e9 : 0};
        int found = epoll_pwait2(epoll, ready, 1024, &wait, NULL);
        for (int i = 0; i < found; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (fd >= MOST) { close(fd); continue; }
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
                }
            } else if (!take(fd)) drop(fd);
        }
        first_tokens(now());
        if (now() >= tick) {
            step();
            tick = fmax(tick + itl, now());
        }
    }
}
