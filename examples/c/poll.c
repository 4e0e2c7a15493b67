// One thread that waits for the client and for something else: here, for lines on the standard input.
//
//     cc poll.c $(pkg-config --cflags --libs tidings) -o poll && ./poll http://127.0.0.1:8090
//
// Each line becomes the title of a new post, which then comes back as an event. An empty line or the end of the input
// ends the program.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <tidings.h>
#include <unistd.h>

static int say(tidings_error *error) {
    fprintf(stderr, "%s\n", tidings_error_message(error));
    tidings_error_free(error);
    return 1;
}

static void show(const tidings_event *event) {
    const char *record = tidings_event_record(event);
    switch (tidings_event_action(event)) {
    case TIDINGS_ACTION_STATE:
        printf("[%s]\n", tidings_state_info_text(tidings_event_state(event)));
        break;
    case TIDINGS_ACTION_ACKNOWLEDGED:
        printf("[subscribed]\n");
        break;
    case TIDINGS_ACTION_ENDED:
        printf("no more of this: %s\n", tidings_error_message(tidings_event_error(event)));
        break;
    default:
        printf("%s %s\n", tidings_action_name(tidings_event_action(event)), record ? record : "");
    }
    fflush(stdout);
}

// A post with this title. A program would use its JSON library; this one takes no quotes and no backslashes.
static tidings_status post(tidings_client *client, const char *title, tidings_error **error) {
    char body[1200];
    snprintf(body, sizeof body, "{\"title\": \"%.*s\"}", (int)strcspn(title, "\"\\\r\n"), title);
    return tidings_client_send(client, "POST", "/api/collections/posts/records", body, NULL, NULL, error);
}

int main(int argc, char **argv) {
    tidings_error *error = NULL;
    tidings_client *client = NULL;
    tidings_client_options *options = tidings_client_options_new();
    tidings_client_options_set_notices(options, true);
    tidings_status status =
        tidings_client_new(argc > 1 ? argv[1] : "http://127.0.0.1:8090", options, &client, &error);
    tidings_client_options_free(options);
    if (status != TIDINGS_OK) {
        return say(error);
    }
    // Not waiting for the server: if there is no network yet, events come as soon as there is.
    tidings_subscribe_options *at_once = tidings_subscribe_options_new();
    tidings_subscribe_options_set_wait(at_once, false);
    status = tidings_client_subscribe(client, "posts", "*", at_once, NULL, NULL, NULL, NULL, &error);
    tidings_subscribe_options_free(at_once);
    if (status != TIDINGS_OK) {
        tidings_client_free(client);
        return say(error);
    }

    tidings_batch *batch = tidings_batch_new();
    struct pollfd fds[2] = {
        {.fd = tidings_client_fd(client), .events = POLLIN},
        {.fd = STDIN_FILENO, .events = POLLIN},
    };
    char line[1024];
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            perror("poll");
            break;
        }
        if (fds[0].revents & POLLIN) {
            if (tidings_client_next(client, batch, 100, 0, &error) != TIDINGS_OK) {
                say(error);
                break;
            }
            for (size_t i = 0; i < tidings_batch_len(batch); i++) {
                show(tidings_batch_event(batch, i));
            }
        }
        if (fds[1].revents & (POLLIN | POLLHUP)) {
            // read() and not fgets(), whose buffer poll() does not know.
            ssize_t len = read(STDIN_FILENO, line, sizeof line - 1);
            if (len <= 0 || line[0] == '\n') {
                break;
            }
            line[len] = 0;
            if (post(client, line, &error) != TIDINGS_OK) {
                say(error);
            }
        }
    }
    tidings_batch_free(batch);
    tidings_client_free(client);
    return 0;
}
