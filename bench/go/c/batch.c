// The same with the C library's packed batches, from which Go takes its events: what is left is Go's border.
//
//     batch URL EVENTS
#include <stdio.h>
#include <stdlib.h>
#include <tidings.h>
#include <time.h>

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        return 2;
    }
    size_t events = strtoul(argv[2], NULL, 10), seen = 0, size = 1 << 20;
    tidings_client *client = NULL;
    tidings_error *error = NULL;
    tidings_client_options *options = tidings_client_options_new();
    tidings_client_options_set_queue(options, events, TIDINGS_OVERFLOW_DROP_OLDEST);
    if (tidings_client_new(argv[1], options, &client, &error) != TIDINGS_OK
        || tidings_client_subscribe(client, "posts", "*", NULL, NULL, NULL, NULL, NULL, &error) != TIDINGS_OK) {
        fprintf(stderr, "%s\n", tidings_error_message(error));
        return 1;
    }
    tidings_client_options_free(options);
    tidings_batch *batch = tidings_batch_new();
    char *room = malloc(size);
    double began = 0, began_cpu = 0;
    while (seen < events) {
        size_t count = 0, wanted = 0;
        if (tidings_client_next_packed(client, batch, 256, -1, room, size, &count, &wanted, &error) != TIDINGS_OK) {
            fprintf(stderr, "%s\n", tidings_error_message(error));
            return 1;
        }
        const tidings_packed_event *heads = (const void *)room;
        for (size_t i = 0; i < count; i++) {
            if (!room[heads[i].record_id]) {
                return 1;
            }
            if (seen++ == 0) {
                began = now(CLOCK_MONOTONIC), began_cpu = now(CLOCK_PROCESS_CPUTIME_ID);
            }
        }
    }
    double gaps = (double)(events - 1);
    printf("{\"events_per_s\": %f, \"cpu_us_per_event\": %f}\n", gaps / (now(CLOCK_MONOTONIC) - began) * 1e6,
           (now(CLOCK_PROCESS_CPUTIME_ID) - began_cpu) / gaps);
    tidings_batch_free(batch);
    tidings_client_free(client);
    free(room);
    return 0;
}
