// Every function of a client, called as a host would call it from anywhere. run.py checks that none is missing.
#pragma once
#include "check.h"

static inline void ignore_state(const tidings_state_info *state, void *user_data) {
    (void)state, (void)user_data;
}

static inline void ignore_disconnect(const tidings_strings *topics, void *user_data) {
    (void)topics, (void)user_data;
}

static inline void ignore_event(const tidings_event *event, void *user_data) {
    (void)event, (void)user_data;
}

static inline void ignore_changes(const tidings_changes *changes, void *user_data) {
    (void)changes, (void)user_data;
}

static inline void ignore_url(const char *address, void *user_data) {
    (void)address, (void)user_data;
}

// Calls all but close and free. What it is answered depends on where it is called; that it comes back is what counts.
static inline void call_everything(tidings_client *client) {
    tidings_error *wrong = NULL;
#define CALL(call)                                                                                                     \
    do {                                                                                                               \
        tidings_status status = (call);                                                                                \
        CHECK((status == TIDINGS_OK) == (wrong == NULL));                                                              \
        CHECK(status != TIDINGS_ERR_PANIC && status != TIDINGS_ERR_NULL_ARGUMENT);                                     \
        CHECK(tidings_error_status(wrong) == status);                                                                  \
        tidings_error_free(wrong);                                                                                     \
        wrong = NULL;                                                                                                  \
    } while (0)

    // Where the client waits for us, the server's word cannot come.
    tidings_subscribe_options *options = tidings_subscribe_options_new();
    tidings_subscribe_options_set_timeout(options, 300);
    uint64_t id = 0;
    CALL(tidings_client_subscribe(client, "posts", "everywhere", options, NULL, NULL, NULL, &id, &wrong));
    (void)tidings_client_subscription_state(client, id);
    tidings_error_free(tidings_client_subscription_denial(client, id));
    (void)tidings_client_subscription_lost(client, id);
    CALL(tidings_client_unsubscribe(client, id, &wrong));
    CALL(tidings_client_subscribe_topic(client, "everywhere", options, ignore_event, NULL, NULL, NULL, &wrong));
    tidings_subscribe_options_free(options);
    CALL(tidings_client_unsubscribe_topic(client, "everywhere", NULL, &wrong));
    CALL(tidings_client_unsubscribe_collection(client, "nothing", NULL, NULL, &wrong));
    CALL(tidings_client_unsubscribe_prefix(client, "everywhere", NULL, &wrong));

    tidings_batch *batch = tidings_batch_new();
    CALL(tidings_client_next(client, batch, 10, 1, &wrong));
    tidings_batch_free(batch);
    (void)tidings_client_fd(client);

    tidings_state_info *state = NULL;
    CALL(tidings_client_state_info(client, &state, &wrong));
    tidings_state_info_free(state);
    (void)tidings_client_state(client);
    CALL(tidings_client_on_state(client, ignore_state, NULL, NULL, &wrong));
    CALL(tidings_client_on_disconnect(client, ignore_disconnect, NULL, NULL, &wrong));
    CALL(tidings_client_network_changed(client, &wrong));

    char *text = NULL;
    CALL(tidings_client_id(client, &text, &wrong));
    tidings_string_free(text);
    tidings_strings *topics = NULL;
    CALL(tidings_client_active_subscriptions(client, &topics, &wrong));
    tidings_strings_free(topics);
    tidings_stats stats;
    CALL(tidings_client_stats(client, &stats, sizeof stats, &wrong));

    size_t count = 0, wanted = 0;
    uint64_t ids[8], room[64];
    tidings_batch *packed = tidings_batch_new();
    CALL(tidings_client_next_packed(client, packed, 10, 0, room, sizeof room, &count, &wanted, &wrong));
    CALL(tidings_client_ready(client, ids, 8, &count, &wrong));
    CALL(tidings_client_take(client, id, packed, 10, &wrong));
    tidings_batch_free(packed);
    CALL(tidings_client_pause(client, id, true, &wrong));
    CALL(tidings_client_pause(client, id, false, &wrong));
    CALL(tidings_client_send_async(client, "GET", "/api/health", NULL, NULL, NULL, NULL, &id, &wrong));
    CALL(tidings_client_cancel(client, id, NULL, &wrong));
    CALL(tidings_client_auth_with_password_async(client, "users", "ada@example.com", "wrong", NULL, NULL, &id, &wrong));
    CALL(tidings_client_cancel(client, id, NULL, &wrong));
    CALL(tidings_client_auth_refresh_async(client, "users", NULL, NULL, &id, &wrong));
    CALL(tidings_client_cancel(client, id, NULL, &wrong));
    CALL(tidings_client_subscribe_async(client, "posts", "async", NULL, NULL, NULL, &id, &wrong));
    CALL(tidings_client_unsubscribe(client, id, &wrong));

    tidings_watch_options *watched = tidings_watch_options_new();
    tidings_watch_options_set_timeout(watched, 300);
    tidings_view *view = NULL;
    CALL(tidings_client_watch(client, "posts", watched, NULL, NULL, NULL, &view, &wrong));
    tidings_view_free(view);
    tidings_watch_options_set_wait(watched, false);
    CALL(tidings_client_watch(client, "posts", watched, ignore_changes, NULL, NULL, &view, &wrong));
    tidings_watch_options_free(watched);
    if (view) {
        tidings_rows *rows = NULL;
        CALL(tidings_view_rows(view, &rows, &wrong));
        tidings_rows_free(rows);
        tidings_error_free(tidings_view_error(view));
        CALL(tidings_client_prove_async(client, view, NULL, NULL, &id, &wrong));
        CALL(tidings_client_cancel(client, id, NULL, &wrong));
        CALL(tidings_view_prove(view, 1, &wrong));
        CALL(tidings_view_close(view, &wrong));
        tidings_view_free(view);
    }

    CALL(tidings_client_send(client, "GET", "/api/health", NULL, NULL, NULL, &wrong));
    CALL(tidings_client_auth_with_password(client, "users", "ada@example.com", "wrong", NULL, &wrong));
    CALL(tidings_client_auth_with_oauth2(client, "users", "nowhere", ignore_url, NULL, NULL, NULL, &wrong));
    CALL(tidings_client_auth_refresh(client, "users", NULL, &wrong));
    CALL(tidings_client_token(client, &text, &wrong));
    tidings_string_free(text);
    CALL(tidings_client_auth_record(client, &text, &wrong));
    tidings_string_free(text);
    (void)tidings_client_auth_is_valid(client);
    CALL(tidings_client_set_token(client, NULL, NULL, &wrong));

    tidings_client *another = NULL;
    CALL(tidings_client_new(url, NULL, &another, &wrong));
    CALL(tidings_client_subscribe(another, "posts", "*", NULL, ignore_event, NULL, NULL, NULL, &wrong));
    tidings_client_free(another);
    CALL(tidings_client_unsubscribe_all(client, NULL, &wrong));
#undef CALL
}
