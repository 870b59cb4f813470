/* What a load client says and measures: failures, clocks, CPU time and memory of the servers, samples. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

struct usage {
    double at, server, client, server_core, load_core; /* s */
};

static const char *server_pids = ""; /* 12,13 */
static int server_core, load_core;
static float *samples; /* ms */
static size_t sample_count, sample_size;

static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    exit(1);
}

static int64_t clock_ns(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time) != 0) die("the server has ended");
    return time.tv_sec * SECOND + time.tv_nsec;
}

static void *grow(void *memory, size_t *size, size_t needed) {
    if (needed <= *size) return memory;
    *size = needed + needed / 2 + 64;
    memory = realloc(memory, *size);
    if (!memory) die("out of memory");
    return memory;
}

static double server_cpu_s(void) {
    int64_t total = 0;
    for (const char *list = server_pids; *list; list += strspn(list, ",")) {
        clockid_t clock;
        if (clock_getcpuclockid((pid_t)strtol(list, (char **)&list, 10), &clock) != 0) die("the server has ended");
        total += clock_ns(clock);
    }
    return (double)total / SECOND;
}

static double server_rss_mb(void) {
    double total = 0;
    for (const char *list = server_pids; *list; list += strspn(list, ",")) {
        char path[64];
        long size, resident;
        snprintf(path, sizeof path, "/proc/%ld/statm", strtol(list, (char **)&list, 10));
        FILE *file = fopen(path, "r");
        if (!file || fscanf(file, "%ld %ld", &size, &resident) != 2) die("the server has ended");
        fclose(file);
        total += (double)resident * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
    }
    return total;
}

/* Seconds that a core was busy or taken away, for anybody; interrupts are nobody's. */
static double core_busy_s(int core) {
    char line[512], name[32];
    unsigned long long user = 0, nice = 0, system = 0, steal = 0;
    snprintf(name, sizeof name, "cpu%d ", core);
    FILE *file = fopen("/proc/stat", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name)))
            sscanf(line + strlen(name), "%llu %llu %llu %*u %*u %*u %*u %llu", &user, &nice, &system, &steal);
    if (file) fclose(file);
    return (double)(user + nice + system + steal) / (double)sysconf(_SC_CLK_TCK);
}

static struct usage take_usage(void) {
    return (struct usage){(double)clock_ns(CLOCK_MONOTONIC) / SECOND, server_cpu_s(),
                          (double)clock_ns(CLOCK_PROCESS_CPUTIME_ID) / SECOND, core_busy_s(server_core),
                          core_busy_s(load_core)};
}

/* Print what was used since `from`; others: on the core where they used more. */
static void print_usage(struct usage from) {
    struct usage to = take_usage();
    double server = to.server - from.server, client = to.client - from.client;
    double beside_server = to.server_core - from.server_core - server, beside_load = to.load_core - from.load_core - client;
    double others = beside_server > beside_load ? beside_server : beside_load;
    printf("\"seconds\":%.4f,\"server_cpu_s\":%.4f,\"client_cpu_s\":%.4f,\"others_cpu_s\":%.2f", to.at - from.at, server,
           client, others > 0 ? others : 0);
}

static int compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Print p50, p99 and the greatest of the samples in ms, and forget them. */
static void print_samples(void) {
    qsort(samples, sample_count, sizeof *samples, compare);
    size_t n = sample_count;
    printf("\"samples\":%zu,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f", n, n ? samples[n / 2] : 0.0,
           n ? samples[n * 99 / 100] : 0.0, n ? samples[n - 1] : 0.0);
    sample_count = 0;
}

static void add_sample(int64_t ns) {
    size_t size = sample_size * sizeof *samples;
    samples = grow(samples, &size, (sample_count + 1) * sizeof *samples);
    sample_size = size / sizeof *samples;
    samples[sample_count++] = (float)ns / 1e6f;
}
