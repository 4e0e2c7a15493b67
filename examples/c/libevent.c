// The client in a libevent program: one loop, one thread, a timer beside.
//
//     cc libevent.c $(pkg-config --cflags --libs tidings libevent) -o libevent && ./libevent http://127.0.0.1:8090
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <tidings.h>

struct program {
    struct event_base *base;
    tidings_client *client;
    tidings_batch *batch;
    // How many events to show before the end; no limit if negative.
    long left;
};

static void on_readable(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct program *program = arg;
    tidings_error *error = NULL;
    // A hundred at most, so that other parts of the program get their turn; the descriptor stays readable.
    if (tidings_client_next(program->client, program->batch, 100, 0, &error) != TIDINGS_OK) {
        fprintf(stderr, "%s\n", tidings_error_message(error));
        tidings_error_free(error);
        event_base_loopbreak(program->base);
        return;
    }
    for (size_t i = 0; i < tidings_batch_len(program->batch) && program->left != 0; i++, program->left--) {
        const tidings_event *event = tidings_batch_event(program->batch, i);
        const char *id = tidings_event_record_id(event);
        printf("%s %s\n", tidings_action_name(tidings_event_action(event)), id ? id : "");
        fflush(stdout);
    }
    if (program->left == 0) {
        event_base_loopbreak(program->base);
    }
}

static void on_second(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct program *program = arg;
    tidings_stats stats;
    if (tidings_client_stats(program->client, &stats, sizeof stats, NULL) == TIDINGS_OK) {
        printf("[%s, %llu messages]\n", tidings_state_name(tidings_client_state(program->client)),
               (unsigned long long)stats.messages);
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    struct program program = {.left = argc > 2 ? atol(argv[2]) : -1};
    tidings_error *error = NULL;
    if (tidings_client_new(argc > 1 ? argv[1] : "http://127.0.0.1:8090", NULL, &program.client, &error) != TIDINGS_OK
        || tidings_client_subscribe(program.client, "posts", "*", NULL, NULL, NULL, NULL, NULL, &error)
               != TIDINGS_OK) {
        fprintf(stderr, "%s\n", tidings_error_message(error));
        tidings_error_free(error);
        tidings_client_free(program.client);
        return 1;
    }
    program.batch = tidings_batch_new();
    program.base = event_base_new();
    struct timeval second = {1, 0};
    struct event *readable =
        event_new(program.base, tidings_client_fd(program.client), EV_READ | EV_PERSIST, on_readable, &program);
    struct event *timer = event_new(program.base, -1, EV_PERSIST, on_second, &program);
    event_add(readable, NULL);
    event_add(timer, &second);
    event_base_dispatch(program.base);

    // Before the client: its descriptor goes with it.
    event_free(readable);
    event_free(timer);
    event_base_free(program.base);
    tidings_batch_free(program.batch);
    tidings_client_free(program.client);
    return 0;
}
