// Every call from inside every callback, the end of the client included; and that user data is dropped once, whatever
// happens.
#include "everywhere.h"

enum ending { STAYS, CLOSES, FREES };

// What a callback does when it is called for the first time, and that it has.
struct guest {
    tidings_client *client;
    enum ending ending;
    atomic_int done, drops;
};

static void act(struct guest *guest) {
    static atomic_int busy;
    if (atomic_load(&guest->done) || atomic_exchange(&busy, 1)) {
        return;
    }
    call_everything(guest->client);
    if (guest->ending == CLOSES) {
        CHECK_OK(tidings_client_close(guest->client, NULL));
        call_everything(guest->client);
    } else if (guest->ending == FREES) {
        tidings_client_free(guest->client);
    }
    atomic_store(&busy, 0);
    atomic_store(&guest->done, 1);
}

static void on_event(const tidings_event *event, void *user_data) {
    act(user_data);
    // What was given to the callback holds until it returns, even when the client is gone.
    CHECK(tidings_event_json(event) != NULL || tidings_event_is_notice(event));
}

static void on_state(const tidings_state_info *state, void *user_data) {
    act(user_data);
    CHECK(tidings_state_info_text(state) != NULL);
}

static void on_disconnect(const tidings_strings *topics, void *user_data) {
    act(user_data);
    (void)tidings_strings_get(topics, 0);
}

static void on_token(tidings_token_request *request, void *user_data) {
    act(user_data);
    CHECK_OK(tidings_token_request_answer(request, NULL));
}

static void on_drop(void *user_data) {
    struct guest *guest = user_data;
    CHECK(atomic_fetch_add(&guest->drops, 1) == 0);
}

static void acting_drop(void *user_data) {
    on_drop(user_data);
    act(user_data);
}

// Waits for the callback and for its drop, and leaves nothing of the client.
static void finish(struct guest *guest) {
    AWAIT(guest->done);
    if (guest->ending != FREES) {
        tidings_client_free(guest->client);
    }
    AWAIT(guest->drops == 1);
}

static void with_every_ending(void (*run)(struct guest *guest)) {
    for (enum ending ending = STAYS; ending <= FREES; ending++) {
        struct guest guest = {.ending = ending};
        run(&guest);
        finish(&guest);
    }
}

static void start(struct guest *guest) {
    guest->client = connect_with(NULL);
}

static void run_event(struct guest *guest) {
    start(guest);
    tidings_client *other = connect_with(NULL);
    CHECK_OK(tidings_client_subscribe(guest->client, "posts", "*", NULL, on_event, guest, on_drop, NULL, &error));
    post(other, "for the callback");
    tidings_client_free(other);
}

static void from_an_event_callback(void) {
    with_every_ending(run_event);
}

static void run_state(struct guest *guest) {
    start(guest);
    CHECK_OK(tidings_client_on_state(guest->client, on_state, guest, on_drop, &error));
    tidings_subscribe_options *at_once = tidings_subscribe_options_new();
    CHECK_OK(tidings_subscribe_options_set_wait(at_once, false));
    CHECK_OK(tidings_client_subscribe(guest->client, "posts", "*", at_once, NULL, NULL, NULL, NULL, &error));
    tidings_subscribe_options_free(at_once);
}

static void from_a_state_callback(void) {
    with_every_ending(run_state);
}

static void run_disconnect(struct guest *guest) {
    start(guest);
    CHECK_OK(tidings_client_on_disconnect(guest->client, on_disconnect, guest, on_drop, &error));
    CHECK_OK(tidings_client_subscribe(guest->client, "posts", "*", NULL, NULL, NULL, NULL, NULL, &error));
    CHECK_OK(tidings_client_unsubscribe_all(guest->client, NULL, &error));
}

static void from_a_disconnect_callback(void) {
    with_every_ending(run_disconnect);
}

static void run_token(struct guest *guest) {
    tidings_client_options *options = tidings_client_options_new();
    CHECK_OK(tidings_client_options_on_token(options, on_token, guest, on_drop));
    guest->client = connect_with(options);
    tidings_client_options_free(options);
    tidings_subscribe_options *at_once = tidings_subscribe_options_new();
    CHECK_OK(tidings_subscribe_options_set_wait(at_once, false));
    CHECK_OK(tidings_client_subscribe(guest->client, "posts", "*", at_once, NULL, NULL, NULL, NULL, &error));
    tidings_subscribe_options_free(at_once);
}

static void from_a_token_callback(void) {
    with_every_ending(run_token);
}

static void run_drop(struct guest *guest) {
    start(guest);
    uint64_t id = 0;
    CHECK_OK(tidings_client_subscribe(guest->client, "posts", "*", NULL, ignore_event, guest, acting_drop, &id, &error));
    CHECK_OK(tidings_client_unsubscribe(guest->client, id, &error));
}

static void from_a_drop(void) {
    with_every_ending(run_drop);
}

static void on_line(tidings_log_level level, const char *line, void *user_data) {
    CHECK(level >= TIDINGS_LOG_LEVEL_ERROR && level <= TIDINGS_LOG_LEVEL_TRACE);
    CHECK(strncmp(line, "tidings", 7) == 0);
    CHECK(strstr(line, "secret") == NULL);
    act(user_data);
}

static void run_log(struct guest *guest) {
    start(guest);
    CHECK_OK(tidings_log_set(TIDINGS_LOG_LEVEL_TRACE, on_line, guest, on_drop, &error));
    tidings_client *other = connect_with(NULL);
    CHECK_OK(tidings_client_set_token(other, "secret", NULL, &error));
    CHECK_OK(tidings_client_subscribe(other, "posts", "secret", NULL, NULL, NULL, NULL, NULL, &error));
    tidings_client_free(other);
    AWAIT(guest->done);
    CHECK_OK(tidings_log_set(TIDINGS_LOG_LEVEL_OFF, NULL, NULL, NULL, &error));
}

static void from_a_log_callback(void) {
    with_every_ending(run_log);
}

static void once(const tidings_event *event, void *user_data) {
    struct guest *guest = user_data;
    atomic_fetch_add(&guest->done, 1);
    CHECK_OK(tidings_client_unsubscribe(guest->client, tidings_event_subscription(event), NULL));
}

static void a_callback_that_unsubscribes_itself_is_not_called_again(void) {
    struct guest guest = {.ending = STAYS};
    start(&guest);
    CHECK_OK(tidings_client_subscribe(guest.client, "posts", "*", NULL, once, &guest, on_drop, NULL, &error));
    for (int i = 0; i < 20; i++) {
        post(guest.client, "again and again");
    }
    AWAIT(guest.drops == 1);
    CHECK(guest.done == 1);
    tidings_client_free(guest.client);
}

// Each way in which a call that is given user data can fail.
static void user_data_is_dropped_when_the_call_fails(void) {
    struct counter counter = {0};
    int drops = 0;
    tidings_client *client = connect_with(NULL);
#define FAILS(call)                                                                                                    \
    do {                                                                                                               \
        CHECK((call) != TIDINGS_OK);                                                                                   \
        CHECK(atomic_load(&counter.drops) == ++drops);                                                                 \
    } while (0)
    FAILS(tidings_client_subscribe(NULL, "posts", "*", NULL, ignore_event, &counter, count_drop, NULL, NULL));
    FAILS(tidings_client_subscribe(client, NULL, "*", NULL, ignore_event, &counter, count_drop, NULL, NULL));
    FAILS(tidings_client_subscribe(client, "posts", "\xff", NULL, ignore_event, &counter, count_drop, NULL, NULL));
    FAILS(tidings_client_subscribe(client, "posts", "", NULL, ignore_event, &counter, count_drop, NULL, NULL));
    FAILS(tidings_client_subscribe_topic(client, "", NULL, ignore_event, &counter, count_drop, NULL, NULL));
    FAILS(tidings_client_subscribe_topic(client, NULL, NULL, NULL, &counter, count_drop, NULL, NULL));
    FAILS(tidings_client_on_state(NULL, ignore_state, &counter, count_drop, NULL));
    FAILS(tidings_client_on_disconnect(NULL, ignore_disconnect, &counter, count_drop, NULL));
    FAILS(tidings_client_auth_with_oauth2(client, "users", "x", ignore_url, &counter, count_drop, NULL, NULL));
    FAILS(tidings_client_auth_with_oauth2(client, "users", "x", NULL, &counter, count_drop, NULL, NULL));
    FAILS(tidings_client_options_on_token(NULL, on_token, &counter, count_drop));
    FAILS(tidings_source_options_on_status(NULL, NULL, &counter, count_drop));
    FAILS(tidings_log_set((tidings_log_level)77, on_line, &counter, count_drop, NULL));
#undef FAILS
    // Without a callback it is kept for the queue.
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", NULL, NULL, &counter, count_drop, NULL, &error));
    CHECK(counter.drops == drops);
    // A refusal comes late, from the server.
    tidings_subscribe_options *options = tidings_subscribe_options_new();
    CHECK_OK(tidings_subscribe_options_set_timeout(options, 0));
    CHECK_STATUS(
        tidings_client_subscribe(client, "posts", "late", options, ignore_event, &counter, count_drop, NULL, &error),
        TIDINGS_ERR_TIMEOUT);
    CHECK(counter.drops == drops + 1);
    tidings_subscribe_options_free(options);
    tidings_client_free(client);
    AWAIT(counter.drops == drops + 2);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"event", from_an_event_callback},
        {"state", from_a_state_callback},
        {"disconnect", from_a_disconnect_callback},
        {"token", from_a_token_callback},
        {"drop", from_a_drop},
        {"log", from_a_log_callback},
        {"itself", a_callback_that_unsubscribes_itself_is_not_called_again},
        {"failure", user_data_is_dropped_when_the_call_fails},
        {NULL, NULL},
    };
    return run_tests(tests, argc, argv);
}
