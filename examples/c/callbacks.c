// Events in a callback, which is called on a thread of the client.
//
//     cc callbacks.c $(pkg-config --cflags --libs tidings) -o callbacks && ./callbacks http://127.0.0.1:8090
//
// It makes a record, changes it and deletes it, sees the three events, and ends. With a collection and a user's e-mail
// address and password it logs in first: ./callbacks URL posts ada@example.com secret
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidings.h>

// What callbacks and main share. The library passes it to the callback, and to on_over() after the last call.
struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int events;
    int is_over;
};

static void on_event(const tidings_event *event, void *user_data) {
    struct seen *seen = user_data;
    const char *id = tidings_event_record_id(event), *json = tidings_event_json(event);
    printf("%s %s\n    %s\n", tidings_action_name(tidings_event_action(event)), id ? id : "-", json ? json : "");
    if (tidings_event_is_notice(event)) {
        return;
    }
    pthread_mutex_lock(&seen->lock);
    seen->events++;
    pthread_cond_signal(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static void on_over(void *user_data) {
    struct seen *seen = user_data;
    pthread_mutex_lock(&seen->lock);
    seen->is_over = 1;
    pthread_cond_signal(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static void on_state(const tidings_state_info *state, void *user_data) {
    (void)user_data;
    printf("[%s]\n", tidings_state_info_text(state));
}

static void check(tidings_status status, tidings_error *error) {
    if (status != TIDINGS_OK) {
        fprintf(stderr, "%s: %s\n", tidings_status_name(status), tidings_error_message(error));
        exit(1);
    }
}

int main(int argc, char **argv) {
    const char *url = argc > 1 ? argv[1] : "http://127.0.0.1:8090", *collection = argc > 2 ? argv[2] : "posts";
    struct seen seen = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    tidings_error *error = NULL;
    tidings_client *client = NULL;
    check(tidings_client_new(url, NULL, &client, &error), error);
    check(tidings_client_on_state(client, on_state, NULL, NULL, &error), error);
    if (argc > 4) {
        check(tidings_client_auth_with_password(client, "users", argv[3], argv[4], NULL, &error), error);
    }

    // A value from outside goes into a filter by its name, so that it cannot change what the filter means.
    char *filter = NULL;
    check(tidings_filter("title != {:title}", "{\"title\": \"it's a secret\"}", &filter, &error), error);
    tidings_subscribe_options *options = tidings_subscribe_options_new();
    tidings_subscribe_options_set_filter(options, filter);
    tidings_string_free(filter);
    uint64_t id = 0;
    check(tidings_client_subscribe(client, collection, "*", options, on_event, &seen, on_over, &id, &error), error);
    tidings_subscribe_options_free(options);

    char path[256], record[512];
    snprintf(path, sizeof path, "/api/collections/%s/records", collection);
    tidings_response *response = NULL;
    check(tidings_client_send(client, "POST", path, "{\"title\": \"Hello\"}", NULL, &response, &error), error);
    // A program would use its JSON library; ids of PocketBase have 15 characters.
    const char *made = strstr(tidings_response_body(response, NULL), "\"id\":\"");
    snprintf(record, sizeof record, "%s/%.15s", path, made ? made + 6 : "");
    tidings_response_free(response);
    check(tidings_client_send(client, "PATCH", record, "{\"title\": \"Hello, C\"}", NULL, NULL, &error), error);
    check(tidings_client_send(client, "DELETE", record, NULL, NULL, NULL, &error), error);

    pthread_mutex_lock(&seen.lock);
    while (seen.events < 3) {
        pthread_cond_wait(&seen.changed, &seen.lock);
    }
    pthread_mutex_unlock(&seen.lock);

    // `seen` lives on this stack: it must stay until the library no longer uses it.
    check(tidings_client_unsubscribe(client, id, &error), error);
    pthread_mutex_lock(&seen.lock);
    while (!seen.is_over) {
        pthread_cond_wait(&seen.changed, &seen.lock);
    }
    pthread_mutex_unlock(&seen.lock);
    tidings_client_free(client);
    return 0;
}
