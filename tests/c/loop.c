// What a program with an event loop does: calls that do not wait, packed batches, and one subscription at a time.
#include "check.h"

#include <poll.h>

static union {
    uint64_t aligned;
    char bytes[1 << 16];
} room;

static const tidings_packed_event *heads(void) {
    return (const tidings_packed_event *)(const void *)room.bytes;
}

// Waits for the descriptor, never in the library, until there are events.
static size_t take(tidings_client *client, tidings_batch *batch, size_t size) {
    size_t count = 0, wanted = 0;
    do {
        struct pollfd readable = {.fd = tidings_client_fd(client), .events = POLLIN};
        CHECK(poll(&readable, 1, 60000) >= 0);
        CHECK_OK(tidings_client_next_packed(client, batch, 256, 0, room.bytes, size, &count, &wanted, &error));
    } while (count == 0 && wanted == 0);
    return count ? count : wanted;
}

static bool is(const char *wanted, uint32_t at, uint32_t len) {
    return strlen(wanted) == len && memcmp(room.bytes + at, wanted, len) == 0;
}

static void a_login_a_request_and_a_subscription_do_not_wait(void) {
    struct counter user = {0};
    tidings_client *client = connect_with(NULL);
    tidings_batch *batch = tidings_batch_new();
    uint64_t login = 0, sent = 0, id = 0;
    CHECK_OK(tidings_client_auth_with_password_async(client, "users", "ada@example.com", "secret", &user, count_drop, &login, &error));
    CHECK(take(client, batch, sizeof room) == 1);
    CHECK(heads()->action == TIDINGS_ACTION_COMPLETED && heads()->call == login && heads()->user_data == &user);
    CHECK(heads()->subscription == 0 && heads()->flags == 1);
    CHECK(strstr(tidings_event_record(tidings_batch_event(batch, heads()->index)), "ada@example.com"));
    CHECK(heads()->record_len == tidings_event_record_len(tidings_batch_event(batch, 0)));
    CHECK(tidings_client_auth_is_valid(client));

    CHECK_OK(tidings_client_subscribe_async(client, "posts", "*", NULL, &user, count_drop, &id, &error));
    CHECK(take(client, batch, sizeof room) == 1);
    CHECK(heads()->action == TIDINGS_ACTION_ACKNOWLEDGED && heads()->subscription == id && heads()->user_data == &user);
    CHECK(atomic_load(&user.drops) == 1); // that of the login, whose completion is freed

    const char *body = "{\"id\": \"abcdefghijklmno\", \"title\": \"a\"}";
    CHECK_OK(tidings_client_send_async(client, "POST", "/api/collections/posts/records", body, NULL, &user, count_drop, &sent, &error));
    bool has_answer = false, has_event = false;
    while (!has_answer || !has_event) {
        size_t count = take(client, batch, sizeof room);
        for (const tidings_packed_event *head = heads(); head < heads() + count; head++) {
            const tidings_event *event = tidings_batch_event(batch, head->index);
            CHECK(tidings_event_action(event) == head->action && tidings_event_user_data(event) == &user);
            if (head->action == TIDINGS_ACTION_COMPLETED) {
                has_answer = true;
                CHECK(head->call == sent && tidings_event_call(event) == sent && tidings_event_error(event) == NULL);
                CHECK(tidings_response_status(tidings_event_response(event)) == 200);
                continue;
            }
            has_event = true;
            CHECK(head->action == TIDINGS_ACTION_CREATE && head->subscription == id && head->flags == 0);
            CHECK(is("posts/*", head->topic, head->topic_len) && is("abcdefghijklmno", head->record_id, head->record_id_len));
            CHECK(is(tidings_event_record(event), head->record, head->record_len));
            CHECK(is(tidings_event_data(event, NULL), head->data, head->data_len));
            CHECK(room.bytes[head->topic + head->topic_len] == 0 && room.bytes[head->data + head->data_len] == 0);
            CHECK(head->record > head->data && head->record + head->record_len <= head->data + head->data_len);
        }
    }
    tidings_client_free(client);
    tidings_batch_free(batch);
    AWAIT(atomic_load(&user.drops) == 3);
}

static void what_fails_completes_with_its_error(void) {
    tidings_client *client = connect_with(NULL);
    tidings_batch *batch = tidings_batch_new();
    uint64_t call = 0;
    CHECK_OK(tidings_client_auth_with_password_async(client, "users", "ada@example.com", "wrong", NULL, NULL, &call, &error));
    CHECK(take(client, batch, sizeof room) == 1 && heads()->call == call);
    const tidings_error *why = tidings_event_error(tidings_batch_event(batch, 0));
    CHECK(tidings_error_status(why) == TIDINGS_ERR_REFUSED && tidings_error_http_status(why) == 400);
    CHECK_STATUS(tidings_client_subscribe_async(client, "posts", "", NULL, NULL, NULL, &call, &error), TIDINGS_ERR_INVALID_TOPIC);
    CHECK(call == 0);
    tidings_batch_free(batch);
    tidings_client_free(client);
}

static void a_cancelled_call_is_dropped_and_says_nothing(void) {
    struct counter user = {0};
    tidings_client *client = connect_with(NULL);
    tidings_batch *batch = tidings_batch_new();
    uint64_t call = 0;
    bool was_running = false;
    CHECK_OK(tidings_client_send_async(client, "GET", "/api/health", NULL, NULL, &user, count_drop, &call, &error));
    CHECK_OK(tidings_client_cancel(client, call, &was_running, &error));
    CHECK(was_running && atomic_load(&user.drops) == 1);
    CHECK_OK(tidings_client_cancel(client, call, &was_running, &error));
    CHECK(!was_running);
    CHECK_OK(tidings_client_next(client, batch, 10, 0, &error));
    CHECK(tidings_batch_len(batch) == 0);
    tidings_batch_free(batch);
    tidings_client_free(client);
}

static void a_buffer_that_is_too_small_loses_nothing(void) {
    tidings_client *client = connect_with(NULL);
    tidings_batch *batch = tidings_batch_new();
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", NULL, NULL, NULL, NULL, NULL, &error));
    char title[8];
    for (int n = 0; n < 5; n++) {
        snprintf(title, sizeof title, "%d", n);
        post(client, title);
    }
    // A subscription that waits for its acknowledgement has no event of it.
    size_t count = 0, wanted = 0, seen = 0, size = 8;
    while (seen < 5) {
        CHECK_OK(tidings_client_next_packed(client, batch, 256, 60000, room.bytes, size, &count, &wanted, &error));
        CHECK(count > 0 || wanted > size);
        for (size_t n = 0; n < count; n++, seen++) {
            char found[32];
            snprintf(found, sizeof found, "\"title\":\"%d\"", (int)seen);
            CHECK(strstr(room.bytes + heads()[n].data, found));
        }
        size = count ? size : size + 500; // room for one, and then the next
    }
    CHECK_STATUS(tidings_client_next_packed(client, batch, 1, 0, room.bytes + 1, 100, NULL, NULL, &error),
                 TIDINGS_ERR_INVALID_ARGUMENT);
    tidings_batch_free(batch);
    tidings_client_free(client);
}

static void a_paused_subscription_keeps_its_events(void) {
    tidings_client *client = connect_with(NULL);
    tidings_batch *batch = tidings_batch_new();
    tidings_subscribe_options *options = tidings_subscribe_options_new();
    CHECK_OK(tidings_subscribe_options_set_queue(options, 2, TIDINGS_OVERFLOW_DROP_OLDEST));
    uint64_t slow = 0, fast = 0, ready[4];
    size_t count = 0;
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", options, NULL, NULL, NULL, &slow, &error));
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", NULL, NULL, NULL, NULL, &fast, &error));
    CHECK_OK(tidings_client_pause(client, slow, true, &error));
    for (int n = 0; n < 4; n++) {
        post(client, "x");
    }
    for (size_t seen = 0; seen < 4; seen += tidings_batch_len(batch)) {
        CHECK_OK(tidings_client_next(client, batch, 10, 60000, &error));
        CHECK(tidings_event_subscription(tidings_batch_event(batch, 0)) == fast);
    }
    CHECK_OK(tidings_client_ready(client, ready, 4, &count, &error));
    CHECK(count == 0);
    CHECK_OK(tidings_client_pause(client, slow, false, &error));
    CHECK_OK(tidings_client_ready(client, ready, 4, &count, &error));
    CHECK(count == 1 && ready[0] == slow);
    CHECK_OK(tidings_client_take(client, fast, batch, 10, &error));
    CHECK(tidings_batch_len(batch) == 0);
    CHECK_OK(tidings_client_take(client, slow, batch, 10, &error));
    CHECK(tidings_batch_len(batch) == 3 && tidings_event_lagged(tidings_batch_event(batch, 0)) == 2);
    tidings_subscribe_options_free(options);
    tidings_batch_free(batch);
    tidings_client_free(client);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"async", a_login_a_request_and_a_subscription_do_not_wait},
        {"fails", what_fails_completes_with_its_error},
        {"cancel", a_cancelled_call_is_dropped_and_says_nothing},
        {"small", a_buffer_that_is_too_small_loses_nothing},
        {"pause", a_paused_subscription_keeps_its_events},
        {NULL, NULL},
    };
    return run_tests(tests, argc, argv);
}
