// Prints what happens in a collection, one line for each change, until the program is interrupted.
//
//     cc tail.c $(pkg-config --cflags --libs tidings) -o tail && ./tail http://127.0.0.1:8090 posts
#include <stdio.h>
#include <tidings.h>

static int give_up(tidings_error *error) {
    fprintf(stderr, "%s\n", tidings_error_message(error));
    tidings_error_free(error);
    return 1;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s URL [COLLECTION [RECORD_ID]]\n", argv[0]);
        return 2;
    }
    tidings_error *error = NULL;
    tidings_client *client = NULL;
    if (tidings_client_new(argv[1], NULL, &client, &error) != TIDINGS_OK) {
        return give_up(error);
    }
    // Without a callback: the events go into the client's queue.
    const char *collection = argc > 2 ? argv[2] : "posts", *topic = argc > 3 ? argv[3] : "*";
    if (tidings_client_subscribe(client, collection, topic, NULL, NULL, NULL, NULL, NULL, &error) != TIDINGS_OK) {
        tidings_client_free(client);
        return give_up(error);
    }
    tidings_batch *batch = tidings_batch_new();
    while (tidings_client_next(client, batch, 100, -1, &error) == TIDINGS_OK) {
        for (size_t i = 0; i < tidings_batch_len(batch); i++) {
            const tidings_event *event = tidings_batch_event(batch, i);
            tidings_action action = tidings_event_action(event);
            const char *record = tidings_event_record(event);
            printf("%s %s\n", tidings_action_name(action), record ? record : "");
            if (action == TIDINGS_ACTION_GAP || action == TIDINGS_ACTION_LAGGED) {
                printf("(something may be missing above: list the records)\n");
            }
            fflush(stdout);
        }
    }
    tidings_batch_free(batch);
    tidings_client_free(client);
    return give_up(error);
}
