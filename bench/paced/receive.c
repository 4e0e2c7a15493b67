// Receives EVENTS events of posts/* in a callback of the C library, and prints what that took, as bench/python/receive.py does.
//
//     receive URL EVENTS WORK      WORK: "count", or "latency" by the record's field `sent`
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidings.h>
#include <time.h>

struct meter {
    pthread_mutex_t lock;
    pthread_cond_t done;
    size_t events, seen;
    double *latencies; // in microseconds; NULL if nobody asks
    double began, began_cpu, ended, ended_cpu;
};

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void on_event(const tidings_event *event, void *user_data) {
    struct meter *meter = user_data;
    if (tidings_event_is_notice(event) || meter->seen == meter->events) {
        return;
    }
    if (meter->latencies) {
        const char *sent = strstr(tidings_event_json(event), "\"sent\":\"");
        meter->latencies[meter->seen] = now(CLOCK_MONOTONIC) - (sent ? strtod(sent + 8, NULL) / 1e3 : 0);
    }
    if (meter->seen++ == 0) {
        meter->began = now(CLOCK_MONOTONIC);
        meter->began_cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    }
    if (meter->seen == meter->events) {
        pthread_mutex_lock(&meter->lock);
        meter->ended = now(CLOCK_MONOTONIC);
        meter->ended_cpu = now(CLOCK_PROCESS_CPUTIME_ID);
        pthread_cond_signal(&meter->done);
        pthread_mutex_unlock(&meter->lock);
    }
}

static void check(tidings_status status, tidings_error *error) {
    if (status != TIDINGS_OK) {
        fprintf(stderr, "%s: %s\n", tidings_status_name(status), tidings_error_message(error));
        exit(1);
    }
}

static int ascending(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "receive URL EVENTS WORK\n");
        return 2;
    }
    size_t events = strtoul(argv[2], NULL, 10);
    struct meter meter = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER, .events = events};
    if (strcmp(argv[3], "latency") == 0) {
        meter.latencies = calloc(events, sizeof *meter.latencies);
    }
    tidings_error *error = NULL;
    tidings_client *client = NULL;
    tidings_client_options *options = tidings_client_options_new();
    check(tidings_client_options_set_queue(options, events, TIDINGS_OVERFLOW_DROP_OLDEST), NULL);
    check(tidings_client_new(argv[1], options, &client, &error), error);
    tidings_client_options_free(options);
    check(tidings_client_subscribe(client, "posts", "*", NULL, on_event, &meter, NULL, NULL, &error), error);

    pthread_mutex_lock(&meter.lock);
    while (meter.ended == 0) {
        pthread_cond_wait(&meter.done, &meter.lock);
    }
    pthread_mutex_unlock(&meter.lock);
    tidings_client_free(client);
    double gaps = (double)(events - 1), p50 = 0, p99 = 0;
    if (meter.latencies) {
        qsort(meter.latencies, events, sizeof *meter.latencies, ascending);
        p50 = meter.latencies[(events - 1) / 2], p99 = meter.latencies[(events - 1) * 99 / 100];
    }
    printf("{\"events_per_s\": %f, \"cpu_us_per_event\": %f, \"p50_us\": %f, \"p99_us\": %f}\n",
           gaps / (meter.ended - meter.began) * 1e6, (meter.ended_cpu - meter.began_cpu) / gaps, p50, p99);
    free(meter.latencies);
    return 0;
}
