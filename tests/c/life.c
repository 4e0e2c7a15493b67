// What a client does from its making to its end.
#include "check.h"

#include <sys/resource.h>

static void a_client_that_was_never_used_goes_away(void) {
    tidings_client *client = connect_with(NULL);
    CHECK(tidings_client_state(client) == TIDINGS_STATE_IDLE);
    tidings_client_free(client);
}

static tidings_batch *take(tidings_client *client, size_t wanted) {
    tidings_batch *batch = tidings_batch_new();
    CHECK_OK(tidings_client_next(client, batch, wanted, 60000, &error));
    CHECK(tidings_batch_len(batch) >= 1 && tidings_batch_len(batch) <= wanted);
    CHECK(tidings_batch_event(batch, tidings_batch_len(batch)) == NULL);
    return batch;
}

static void an_event_tells_all_of_a_change(void) {
    tidings_client *client = connect_with(NULL);
    uint64_t id = 0;
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", NULL, NULL, NULL, NULL, &id, &error));
    CHECK(id != 0);
    CHECK(tidings_client_state(client) == TIDINGS_STATE_LIVE);
    CHECK(tidings_client_subscription_state(client, id) == TIDINGS_SUBSCRIPTION_STATE_LIVE);
    CHECK(tidings_client_subscription_denial(client, id) == NULL);
    post(client, "an event");
    tidings_batch *batch = take(client, 10);
    tidings_event *event = tidings_event_clone(tidings_batch_event(batch, 0));
    tidings_batch_free(batch);

    CHECK(tidings_event_action(event) == TIDINGS_ACTION_CREATE);
    CHECK(tidings_event_subscription(event) == id);
    CHECK(!tidings_event_is_notice(event));
    CHECK(strcmp(tidings_event_topic(event), "posts/*") == 0);
    CHECK(strcmp(tidings_event_name(event), "posts/*") == 0);
    CHECK(strlen(tidings_event_record_id(event)) == 15);
    CHECK(strstr(tidings_event_record(event), "\"title\":\"an event\"") != NULL);
    CHECK(tidings_event_record(event)[0] == '{');
    size_t len = 0;
    const char *data = tidings_event_data(event, &len);
    // A NUL stands behind it, which the length does not count.
    CHECK(strcmp(data, tidings_event_json(event)) == 0 && strlen(data) == len);
    CHECK(tidings_event_json_len(event) == len);
    CHECK(tidings_event_record_len(event) == strlen(tidings_event_record(event)));
    CHECK(tidings_event_error(event) == NULL && tidings_event_state(event) == NULL);
    CHECK(tidings_event_lagged(event) == 0 && tidings_event_gap_duration_ms(event) == -1);
    CHECK(tidings_event_gap_reason(event) == TIDINGS_GAP_REASON_NONE && tidings_event_gap_until_ms(event) == -1);
    // It outlives what it came from.
    tidings_client_free(client);
    CHECK(strstr(tidings_event_json(event), "create") != NULL);
    tidings_event_free(event);
}

static void a_subscription_that_is_ended_says_so_last(void) {
    tidings_client *client = connect_with(NULL);
    uint64_t id = 0;
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", NULL, NULL, NULL, NULL, &id, &error));
    CHECK_OK(tidings_client_unsubscribe(client, id, &error));
    tidings_batch *batch = take(client, 10);
    const tidings_event *event = tidings_batch_event(batch, 0);
    CHECK(tidings_event_action(event) == TIDINGS_ACTION_ENDED && tidings_event_subscription(event) == id);
    CHECK(tidings_event_error(event) == NULL && tidings_event_json(event) == NULL);
    CHECK(tidings_event_json_len(event) == 0 && tidings_event_record_len(event) == 0);
    size_t len = 1;
    CHECK(tidings_event_data(event, &len) == NULL && len == 0);
    // The time is up: no error, and nothing in it.
    CHECK_OK(tidings_client_next(client, batch, 10, 1, &error));
    CHECK(tidings_batch_len(batch) == 0);
    // Spent ids, and those that never were.
    CHECK_OK(tidings_client_unsubscribe(client, id, &error));
    CHECK_OK(tidings_client_unsubscribe(client, 0, &error));
    CHECK_OK(tidings_client_unsubscribe(client, UINT64_MAX, &error));
    CHECK(tidings_client_subscription_state(client, id) == TIDINGS_SUBSCRIPTION_STATE_ENDED);
    tidings_batch_free(batch);
    tidings_client_free(client);
}

struct last {
    tidings_action action;
    uint16_t http_status;
    atomic_int drops;
};

static void keep_last(const tidings_event *event, void *user_data) {
    struct last *last = user_data;
    last->action = tidings_event_action(event);
    last->http_status = tidings_error_http_status(tidings_event_error(event));
}

static void count_last(void *user_data) {
    atomic_fetch_add(&((struct last *)user_data)->drops, 1);
}

// No server of this kind is there: all connects are refused for good.
static void a_callback_learns_why_its_subscription_ended(void) {
    char nowhere[256];
    snprintf(nowhere, sizeof nowhere, "%s/nowhere", url);
    tidings_client *client = NULL;
    CHECK_OK(tidings_client_new(nowhere, NULL, &client, &error));
    tidings_subscribe_options *at_once = tidings_subscribe_options_new();
    CHECK_OK(tidings_subscribe_options_set_wait(at_once, false));
    struct last last = {.action = TIDINGS_ACTION_UNKNOWN};
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", at_once, keep_last, &last, count_last, NULL, &error));
    AWAIT(atomic_load(&last.drops) == 1);
    CHECK(last.action == TIDINGS_ACTION_REFUSED && last.http_status == 404);
    tidings_subscribe_options_free(at_once);
    tidings_client_free(client);
}

static void without_descriptors_there_is_no_client(void) {
    struct rlimit before, none = {0};
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    none.rlim_max = before.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    tidings_client *client = NULL;
    tidings_status status = tidings_client_new(url, NULL, &client, &error);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK_STATUS(status, TIDINGS_ERR_NETWORK);
}

static void options_reach_the_server(void) {
    tidings_client *client = connect_with(NULL);
    tidings_subscribe_options *options = tidings_subscribe_options_new();
    char *filter = NULL;
    CHECK_OK(tidings_filter("title = {:title}", "{\"title\": \"it's me\"}", &filter, &error));
    CHECK(strcmp(filter, "title = 'it\\'s me'") == 0);
    CHECK_OK(tidings_subscribe_options_set_filter(options, filter));
    CHECK_OK(tidings_subscribe_options_set_expand(options, "author"));
    CHECK_OK(tidings_subscribe_options_set_fields(options, "title"));
    CHECK_OK(tidings_subscribe_options_add_query(options, "room", "7"));
    CHECK_OK(tidings_subscribe_options_add_header(options, "X-Room", "7"));
    CHECK_OK(tidings_subscribe_options_set_queue(options, 10, TIDINGS_OVERFLOW_CONFLATE));
    CHECK_OK(tidings_subscribe_options_set_timeout(options, 60000));
    tidings_string_free(filter);
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", options, NULL, NULL, NULL, NULL, &error));
    tidings_subscribe_options_free(options);

    tidings_strings *topics = NULL;
    CHECK_OK(tidings_client_active_subscriptions(client, &topics, &error));
    CHECK(tidings_strings_len(topics) == 1);
    CHECK(strstr(tidings_strings_get(topics, 0), "posts/*?options=") == tidings_strings_get(topics, 0));
    CHECK(tidings_strings_get(topics, 1) == NULL);
    tidings_strings_free(topics);

    post(client, "another");
    post(client, "it's me");
    tidings_batch *batch = take(client, 10);
    const tidings_event *event = tidings_batch_event(batch, 0);
    CHECK(strcmp(tidings_event_record(event), "{\"title\":\"it's me\"}") == 0);
    CHECK(tidings_event_record_id(event) == NULL);
    tidings_batch_free(batch);
    tidings_client_free(client);
}

static void what_does_not_fit_is_counted_and_told(void) {
    tidings_client *client = connect_with(NULL);
    tidings_subscribe_options *options = tidings_subscribe_options_new();
    CHECK_OK(tidings_subscribe_options_set_queue(options, 1, TIDINGS_OVERFLOW_DROP_OLDEST));
    uint64_t id = 0, all = 0;
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", options, NULL, NULL, NULL, &id, &error));
    // A second listener of the same topic, which has room, tells when all have come.
    struct counter counter = {0};
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", NULL, count_event, &counter, count_drop, &all, &error));
    for (int i = 0; i < 5; i++) {
        post(client, "x");
    }
    AWAIT(counter.calls == 5);
    CHECK(tidings_client_subscription_lost(client, id) == 4);
    tidings_batch *batch = take(client, 10);
    const tidings_event *event = tidings_batch_event(batch, 0);
    CHECK(tidings_event_action(event) == TIDINGS_ACTION_LAGGED && tidings_event_lagged(event) == 4);
    CHECK(tidings_event_is_notice(event) && tidings_event_json(event) == NULL);
    CHECK(strcmp(tidings_event_topic(event), "posts/*") == 0);
    CHECK(tidings_event_action(tidings_batch_event(batch, 1)) == TIDINGS_ACTION_CREATE);
    tidings_stats stats;
    CHECK_OK(tidings_client_stats(client, &stats, sizeof stats, &error));
    CHECK(stats.lost == 4 && stats.topics == 1 && stats.listeners == 2 && stats.streams == 1);
    // What an older program would ask for, and a newer one.
    uint64_t many[100];
    memset(many, 0xff, sizeof many);
    CHECK_OK(tidings_client_stats(client, (tidings_stats *)many, 8, &error));
    CHECK(many[0] == 1 && many[1] == UINT64_MAX);
    CHECK_OK(tidings_client_stats(client, (tidings_stats *)many, sizeof many, &error));
    CHECK(many[0] == 1 && many[99] == 0);
    tidings_batch_free(batch);
    tidings_subscribe_options_free(options);
    tidings_client_free(client);
    AWAIT(counter.drops == 1);
}

static void an_error_says_what_the_server_said(void) {
    tidings_client *client = connect_with(NULL);
    tidings_response *response = (tidings_response *)&client;
    CHECK(tidings_client_send(client, "GET", "/api/nothing", NULL, NULL, &response, &error) == TIDINGS_ERR_REFUSED);
    CHECK(response == NULL);
    CHECK(tidings_error_status(error) == TIDINGS_ERR_REFUSED && tidings_error_http_status(error) == 404);
    CHECK(strstr(tidings_error_message(error), "404") != NULL);
    size_t len = 0;
    CHECK(tidings_error_body(error, &len) != NULL && len > 0 && tidings_error_body(error, NULL)[0] == '{');
    CHECK(strlen(tidings_error_body(error, NULL)) == len);
    CHECK(tidings_error_retry_after_ms(error) == -1);
    tidings_error_free(error);

    char *record = (char *)&client;
    CHECK(tidings_client_auth_with_password(client, "users", "ada@example.com", "wrong", &record, &error)
          == TIDINGS_ERR_REFUSED);
    CHECK(tidings_error_http_status(error) == 400 && record == NULL);
    tidings_error_free(error);
    CHECK(tidings_client_send(client, "GET", "/", "{no json", NULL, NULL, &error) == TIDINGS_ERR_INVALID_ARGUMENT);
    CHECK(tidings_error_http_status(error) == 0 && tidings_error_body(error, &len) == NULL && len == 0);
    tidings_error_free(error);
    CHECK(tidings_client_subscribe(client, "posts", "a b", NULL, NULL, NULL, NULL, NULL, &error)
          == TIDINGS_ERR_INVALID_TOPIC);
    tidings_error_free(error);
    tidings_client *none = client;
    CHECK(tidings_client_new("localhost", NULL, &none, &error) == TIDINGS_ERR_INVALID_URL && none == NULL);
    CHECK_STATUS(tidings_client_send(client, "GET", "/api/nothing", NULL, NULL, NULL, NULL), TIDINGS_ERR_REFUSED);
    tidings_client_free(client);

    CHECK_OK(tidings_client_new("http://127.0.0.1:1", NULL, &client, &error));
    CHECK_STATUS(tidings_client_subscribe(client, "posts", "*", NULL, NULL, NULL, NULL, NULL, &error),
                 TIDINGS_ERR_NETWORK);
    tidings_state_info *state = NULL;
    tidings_subscribe_options *options = tidings_subscribe_options_new();
    CHECK_OK(tidings_subscribe_options_set_wait(options, false));
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", options, NULL, NULL, NULL, NULL, &error));
    AWAIT(tidings_client_state(client) == TIDINGS_STATE_WAITING);
    CHECK_OK(tidings_client_state_info(client, &state, &error));
    if (tidings_state_info_state(state) == TIDINGS_STATE_WAITING) {
        CHECK(tidings_state_info_reason(state) == TIDINGS_REASON_LOST);
        CHECK(tidings_error_status(tidings_state_info_error(state)) == TIDINGS_ERR_NETWORK);
        CHECK(tidings_state_info_retry_in_ms(state) >= 0 && tidings_state_info_offline_ms(state) == -1);
        CHECK(strstr(tidings_state_info_text(state), "waiting: ") == tidings_state_info_text(state));
    }
    tidings_state_info_free(state);
    CHECK_OK(tidings_subscribe_options_set_wait(options, true));
    CHECK_OK(tidings_subscribe_options_set_timeout(options, 10));
    // What was in the way, and not that the time was up.
    CHECK_STATUS(tidings_client_subscribe(client, "posts", "x", options, NULL, NULL, NULL, NULL, &error),
                 TIDINGS_ERR_NETWORK);
    tidings_subscribe_options_free(options);
    tidings_client_free(client);
}

static void a_request_has_query_headers_and_a_body(void) {
    tidings_client *client = connect_with(NULL);
    tidings_request_options *options = tidings_request_options_new();
    CHECK_OK(tidings_request_options_add_query(options, "fields", "title"));
    CHECK_OK(tidings_request_options_add_header(options, "X-Test", "1"));
    CHECK_OK(tidings_request_options_set_timeout(options, 60000));
    static const char body[] = "{\"title\": \"bytes\"}";
    CHECK_OK(tidings_request_options_set_body(options, body, sizeof body - 1, "application/json"));
    tidings_response *response = NULL;
    CHECK_OK(tidings_client_send(client, "POST", "/api/collections/posts/records", NULL, options, &response, &error));
    tidings_request_options_free(options);
    CHECK(tidings_response_status(response) == 200);
    CHECK(strstr(tidings_response_header(response, "content-type"), "application/json") != NULL);
    CHECK(tidings_response_header(response, "content-type") == tidings_response_header(response, "Content-Type"));
    CHECK(tidings_response_header(response, "x-none") == NULL);
    size_t len = 0;
    CHECK(strstr(tidings_response_body(response, &len), "\"title\":\"bytes\"") != NULL);
    CHECK(strlen(tidings_response_body(response, NULL)) == len);
    tidings_response_free(response);
    tidings_client_free(client);
}

static void a_user_logs_in_and_out(void) {
    tidings_client *client = connect_with(NULL);
    char *record = NULL, *token = NULL;
    CHECK_OK(tidings_client_token(client, &token, &error));
    CHECK(token == NULL && !tidings_client_auth_is_valid(client));
    CHECK_OK(tidings_client_auth_with_password(client, "users", "ada@example.com", "secret", &record, &error));
    CHECK(strstr(record, "ada@example.com") != NULL);
    tidings_string_free(record);
    CHECK_OK(tidings_client_auth_refresh(client, "users", NULL, &error));
    CHECK_OK(tidings_client_token(client, &token, &error));
    CHECK(token != NULL && tidings_client_auth_is_valid(client));
    CHECK_OK(tidings_client_auth_record(client, &record, &error));
    CHECK(strstr(record, "ada@example.com") != NULL);

    // Another client of the same user; then somebody else, which listeners are told of.
    tidings_client *other = connect_with(NULL);
    CHECK_OK(tidings_client_set_token(other, token, record, &error));
    CHECK_OK(tidings_client_subscribe(other, "posts", "*", NULL, NULL, NULL, NULL, NULL, &error));
    CHECK_OK(tidings_client_auth_with_password(other, "users", "bob@example.com", "secret", NULL, &error));
    tidings_batch *batch = take(other, 10);
    const tidings_event *gap = tidings_batch_event(batch, 0);
    CHECK(tidings_event_action(gap) == TIDINGS_ACTION_GAP);
    CHECK(tidings_event_gap_reason(gap) == TIDINGS_GAP_REASON_IDENTITY_CHANGED);
    CHECK(tidings_event_gap_duration_ms(gap) >= 0);
    CHECK(llabs((long long)time(NULL) * 1000 - tidings_event_gap_since_ms(gap)) < 120000);
    int64_t lasted = tidings_event_gap_until_ms(gap) - tidings_event_gap_since_ms(gap);
    CHECK(llabs(lasted - tidings_event_gap_duration_ms(gap)) < 1000);
    tidings_batch_free(batch);
    tidings_client_free(other);

    CHECK_OK(tidings_client_set_token(client, NULL, NULL, &error));
    tidings_string_free(token);
    CHECK_OK(tidings_client_token(client, &token, &error));
    CHECK(token == NULL);
    CHECK_STATUS(tidings_client_set_token(client, "", NULL, &error), TIDINGS_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(tidings_client_set_token(client, "a", "{", &error), TIDINGS_ERR_INVALID_ARGUMENT);
    CHECK_STATUS(tidings_client_set_token(client, NULL, "{}", &error), TIDINGS_ERR_INVALID_ARGUMENT);
    tidings_client_free(client);

    // What a program kept when it ended.
    tidings_client_options *options = tidings_client_options_new();
    CHECK_STATUS(tidings_client_options_set_token_record(options, "a", "{"), TIDINGS_ERR_INVALID_ARGUMENT);
    CHECK_OK(tidings_client_options_set_token_record(options, "a.b.c", record));
    tidings_string_free(record);
    client = connect_with(options);
    CHECK_OK(tidings_client_token(client, &token, &error));
    CHECK_OK(tidings_client_auth_record(client, &record, &error));
    CHECK(strcmp(token, "a.b.c") == 0 && strstr(record, "ada@example.com") != NULL);
    tidings_string_free(token);
    tidings_string_free(record);
    tidings_client_free(client);
    // Another token is another's.
    CHECK_OK(tidings_client_options_set_token(options, "d.e.f"));
    client = connect_with(options);
    tidings_client_options_free(options);
    CHECK_OK(tidings_client_auth_record(client, &record, &error));
    CHECK(record == NULL);
    tidings_client_free(client);
}

static char *fresh_token;
static atomic_int asked;

static void on_token(tidings_token_request *request, void *user_data) {
    struct counter *counter = user_data;
    atomic_fetch_add(&counter->calls, 1);
    switch (atomic_fetch_add(&asked, 1)) {
    case 0: CHECK_OK(tidings_token_request_fail(request, "not yet")); break;
    case 1: tidings_token_request_free(request); break;
    default: CHECK_OK(tidings_token_request_answer(request, fresh_token));
    }
}

static void a_token_callback_is_asked_until_it_answers(void) {
    tidings_client *client = connect_with(NULL);
    CHECK_OK(tidings_client_auth_with_password(client, "users", "ada@example.com", "secret", NULL, &error));
    CHECK_OK(tidings_client_token(client, &fresh_token, &error));
    tidings_client_free(client);

    struct counter counter = {0};
    tidings_client_options *options = tidings_client_options_new();
    CHECK_OK(tidings_client_options_on_token(options, on_token, &counter, count_drop));
    client = connect_with(options);
    tidings_client_options_free(options);
    CHECK(tidings_client_subscribe(client, "posts", "*", NULL, NULL, NULL, NULL, NULL, &error)
          == TIDINGS_ERR_TOKEN_PROVIDER);
    CHECK(strstr(tidings_error_message(error), "not yet") != NULL);
    tidings_subscribe_options *at_once = tidings_subscribe_options_new();
    CHECK_OK(tidings_subscribe_options_set_wait(at_once, false));
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", at_once, NULL, NULL, NULL, NULL, &error));
    AWAIT(tidings_client_auth_is_valid(client));
    CHECK(counter.calls == 3 && counter.drops == 0);
    tidings_subscribe_options_free(at_once);
    tidings_client_free(client);
    AWAIT(counter.drops == 1);
    tidings_string_free(fresh_token);
}

static void unsubscribes_by_topic_prefix_collection_and_all(void) {
    tidings_client *client = connect_with(NULL);
    size_t count = 0;
    for (int round = 0; round < 5; round++) {
        CHECK_OK(tidings_client_unsubscribe_all(client, NULL, &error));
        CHECK_OK(tidings_client_subscribe(client, "posts", "*", NULL, NULL, NULL, NULL, NULL, &error));
        CHECK_OK(tidings_client_subscribe(client, "posts", "abc", NULL, NULL, NULL, NULL, NULL, &error));
        CHECK_OK(tidings_client_subscribe_topic(client, "post_office", NULL, NULL, NULL, NULL, NULL, &error));
        switch (round) {
        case 0:
            CHECK_OK(tidings_client_unsubscribe_collection(client, "posts", "abc", &count, &error));
            CHECK(count == 1);
            break;
        case 1:
            CHECK_OK(tidings_client_unsubscribe_collection(client, "posts", NULL, &count, &error));
            CHECK(count == 2);
            break;
        case 2:
            CHECK_OK(tidings_client_unsubscribe_topic(client, "posts/*", &count, &error));
            CHECK(count == 1);
            break;
        case 3:
            CHECK_OK(tidings_client_unsubscribe_prefix(client, "post", &count, &error));
            CHECK(count == 3);
            break;
        case 4:
            CHECK_OK(tidings_client_unsubscribe_all(client, &count, &error));
            CHECK(count == 3);
        }
    }
    tidings_client_free(client);
}

static void on_state(const tidings_state_info *state, void *user_data) {
    struct counter *counter = user_data;
    CHECK(atomic_load(&counter->drops) == 0);
    if (tidings_state_info_state(state) == TIDINGS_STATE_LIVE) {
        CHECK(strcmp(tidings_state_info_text(state), "live") == 0);
        atomic_fetch_add(&counter->calls, 1);
    }
}

static void on_disconnect(const tidings_strings *topics, void *user_data) {
    struct counter *counter = user_data;
    CHECK(tidings_strings_len(topics) == 0);
    atomic_fetch_add(&counter->calls, 1);
}

static void states_come_by_callback_and_by_queue(void) {
    tidings_client_options *options = tidings_client_options_new();
    CHECK_OK(tidings_client_options_set_notices(options, true));
    tidings_client *client = connect_with(options);
    tidings_client_options_free(options);
    struct counter states = {0}, replaced = {0}, disconnects = {0};
    CHECK_OK(tidings_client_on_state(client, on_state, &replaced, count_drop, &error));
    CHECK_OK(tidings_client_on_state(client, on_state, &states, count_drop, &error));
    CHECK(replaced.drops == 1);
    CHECK_OK(tidings_client_on_disconnect(client, on_disconnect, &disconnects, count_drop, &error));
    uint64_t id = 0;
    CHECK_OK(tidings_client_subscribe_topic(client, "PB_CONNECT", NULL, NULL, NULL, NULL, &id, &error));
    char *name = NULL;
    CHECK_OK(tidings_client_id(client, &name, &error));
    CHECK(strlen(name) > 10);
    tidings_string_free(name);

    int seen = 0;
    tidings_batch *batch = tidings_batch_new();
    while (seen != 15) {
        CHECK_OK(tidings_client_next(client, batch, 1, 60000, &error));
        const tidings_event *event = tidings_batch_event(batch, 0);
        switch (tidings_event_action(event)) {
        case TIDINGS_ACTION_STATE:
            seen |= tidings_state_info_state(tidings_event_state(event)) == TIDINGS_STATE_CONNECTING ? 1 : 0;
            seen |= tidings_state_info_state(tidings_event_state(event)) == TIDINGS_STATE_LIVE ? 2 : 0;
            CHECK(tidings_event_topic(event) == NULL && tidings_event_is_notice(event));
            break;
        case TIDINGS_ACTION_CONNECT:
            seen |= 4;
            CHECK(strstr(tidings_event_json(event), "clientId") != NULL);
            CHECK_OK(tidings_client_unsubscribe(client, id, &error));
            break;
        case TIDINGS_ACTION_DISCONNECTED:
            seen |= 8;
            CHECK(tidings_event_topics(event) != NULL && tidings_strings_len(tidings_event_topics(event)) == 0);
            break;
        default: CHECK(tidings_event_action(event) == TIDINGS_ACTION_ENDED);
        }
    }
    tidings_batch_free(batch);
    AWAIT(states.calls >= 1 && disconnects.calls == 1);
    CHECK_OK(tidings_client_network_changed(client, &error));
    CHECK_OK(tidings_client_on_disconnect(client, NULL, NULL, NULL, &error));
    CHECK(disconnects.drops == 1);
    tidings_client_free(client);
    AWAIT(states.drops == 1);
}

static void a_closed_client_says_so(void) {
    tidings_client *client = connect_with(NULL);
    struct counter counter = {0};
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", NULL, count_event, &counter, count_drop, NULL, &error));
    int fd = tidings_client_fd(client);
    CHECK(fd >= 0);
    CHECK_OK(tidings_client_close(client, &error));
    CHECK_OK(tidings_client_close(client, &error));
    AWAIT(counter.drops == 1);
    CHECK(tidings_client_state(client) == TIDINGS_STATE_CLOSED);
    CHECK(tidings_client_fd(client) == fd);
    tidings_batch *batch = tidings_batch_new();
    CHECK_STATUS(tidings_client_next(client, batch, 1, -1, &error), TIDINGS_ERR_CLOSED);
    tidings_batch_free(batch);
    CHECK_STATUS(tidings_client_subscribe(client, "posts", "*", NULL, count_event, &counter, count_drop, NULL, &error),
                 TIDINGS_ERR_CLOSED);
    CHECK(counter.drops == 2);
    CHECK_STATUS(tidings_client_send(client, "GET", "/", NULL, NULL, NULL, &error), TIDINGS_ERR_CLOSED);
    CHECK_STATUS(tidings_client_auth_refresh(client, "users", NULL, &error), TIDINGS_ERR_CLOSED);
    CHECK_STATUS(tidings_client_set_token(client, "a", NULL, &error), TIDINGS_ERR_CLOSED);
    CHECK_STATUS(tidings_client_network_changed(client, &error), TIDINGS_ERR_CLOSED);
    CHECK_STATUS(tidings_client_on_state(client, on_state, &counter, count_drop, &error), TIDINGS_ERR_CLOSED);
    CHECK_STATUS(tidings_client_on_disconnect(client, on_disconnect, &counter, count_drop, &error), TIDINGS_ERR_CLOSED);
    CHECK(counter.drops == 4);
    CHECK_OK(tidings_client_unsubscribe_all(client, NULL, &error));
    tidings_client_free(client);
}

static void options_that_cannot_be_used_are_told(void) {
    tidings_client_options *options = tidings_client_options_new();
    tidings_client *client = NULL;
    CHECK_STATUS(tidings_client_options_set_queue(options, 1, (tidings_overflow)7), TIDINGS_ERR_INVALID_ARGUMENT);
    CHECK_OK(tidings_client_options_set_ca_pem(options, "no certificate", 14));
    CHECK_STATUS(tidings_client_new(url, options, &client, &error), TIDINGS_ERR_INVALID_ARGUMENT);
    tidings_client_options_free(options);
    options = tidings_client_options_new();
    CHECK_OK(tidings_client_options_set_backoff(options, 10, 5));
    CHECK_STATUS(tidings_client_new(url, options, &client, &error), TIDINGS_ERR_INVALID_ARGUMENT);
    tidings_client_options_free(options);
    options = tidings_client_options_new();
    CHECK_OK(tidings_client_options_set_queue(options, 0, TIDINGS_OVERFLOW_DROP_OLDEST));
    CHECK_STATUS(tidings_client_new(url, options, &client, &error), TIDINGS_ERR_INVALID_ARGUMENT);
    tidings_client_options_free(options);
    options = tidings_client_options_new();
    CHECK_OK(tidings_client_options_set_heartbeat(options, 1000));
    CHECK_STATUS(tidings_client_new(url, options, &client, &error), TIDINGS_ERR_UNSUPPORTED);
    tidings_client_options_free(options);
    options = tidings_client_options_new();
    CHECK_OK(tidings_client_options_set_token_in_query(options));
    CHECK_STATUS(tidings_client_new(url, options, &client, &error), TIDINGS_ERR_UNSUPPORTED);
    CHECK_OK(tidings_client_options_set_rustbaas(options, "acme", "web"));
    CHECK_OK(tidings_client_options_set_heartbeat(options, 1000));
    CHECK_OK(tidings_client_options_set_token(options, "Bearer abc"));
    CHECK_OK(tidings_client_options_add_header(options, "X-Test", "1"));
    CHECK_OK(tidings_client_options_set_user_agent(options, "test"));
    CHECK_OK(tidings_client_options_set_proxy(options, NULL));
    CHECK_OK(tidings_client_options_set_connect_timeout(options, 5000));
    CHECK_OK(tidings_client_options_set_subscribe_timeout(options, 5000));
    CHECK_OK(tidings_client_options_set_backoff(options, 5, 10));
    CHECK_OK(tidings_client_options_set_queue(options, 5, TIDINGS_OVERFLOW_DROP_NEWEST));
    CHECK_OK(tidings_client_options_set_message_limit(options, 100000));
    CHECK_OK(tidings_client_new(url, options, &client, &error));
    tidings_client *none = NULL;
    CHECK_OK(tidings_client_options_set_identity_check(options, 100000));
    CHECK_STATUS(tidings_client_new(url, options, &none, &error), TIDINGS_ERR_UNSUPPORTED);
    tidings_client_options_free(options);
    tidings_subscribe_options *filtered = tidings_subscribe_options_new();
    CHECK_OK(tidings_subscribe_options_set_filter(filtered, "a = 1"));
    CHECK_STATUS(tidings_client_subscribe(client, "posts", "*", filtered, NULL, NULL, NULL, NULL, &error),
                 TIDINGS_ERR_UNSUPPORTED);
    tidings_client_free(client);
    // The last kind of server counts; in a workspace filters are for the server.
    options = tidings_client_options_new();
    CHECK_OK(tidings_client_options_set_rustbaas(options, "acme", "web"));
    CHECK_OK(tidings_client_options_set_rustbaas_workspace(options, "acme", "web"));
    CHECK_OK(tidings_client_new(url, options, &client, &error));
    tidings_client_options_free(options);
    CHECK_OK(tidings_subscribe_options_set_wait(filtered, false));
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", filtered, NULL, NULL, NULL, NULL, &error));
    tidings_subscribe_options_free(filtered);
    tidings_client_free(client);
}

static void names_are_known(void) {
    CHECK(strcmp(tidings_version(), TIDINGS_VERSION) == 0);
    CHECK(strcmp(tidings_status_name(TIDINGS_ERR_OTHER), "TIDINGS_ERR_OTHER") == 0);
    CHECK(strcmp(tidings_action_name(TIDINGS_ACTION_DISCONNECTED), "disconnected") == 0);
    CHECK(strcmp(tidings_state_name(TIDINGS_STATE_CLOSED), "closed") == 0);
    CHECK(strcmp(tidings_source_kind_name(TIDINGS_SOURCE_KIND_CLOSED), "closed") == 0);
    CHECK(strcmp(tidings_gap_reason_name(TIDINGS_GAP_REASON_OTHER), "other") == 0);
    CHECK(strcmp(tidings_gap_reason_name(TIDINGS_GAP_REASON_IDENTITY_CHANGED), "identity_changed") == 0);
    CHECK(strcmp(tidings_reason_name(TIDINGS_REASON_NONE), "none") == 0);
    CHECK(strcmp(tidings_reason_name(TIDINGS_REASON_OTHER), "other") == 0);
    CHECK(strcmp(tidings_reason_name((tidings_reason)11), "unknown") == 0);
    CHECK(strcmp(tidings_subscription_state_name(TIDINGS_SUBSCRIPTION_STATE_ENDED), "ended") == 0);
    CHECK(strcmp(tidings_action_name((tidings_action)99), "unknown") == 0);
    CHECK(strcmp(tidings_action_name((tidings_action)-1), "unknown") == 0);
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", TIDINGS_VERSION_MAJOR, TIDINGS_VERSION_MINOR, TIDINGS_VERSION_PATCH);
    CHECK(strcmp(version, TIDINGS_VERSION) == 0);
#if TIDINGS_VERSION_NUMBER != TIDINGS_VERSION_MAJOR * 10000 + TIDINGS_VERSION_MINOR * 100 + TIDINGS_VERSION_PATCH
#error "the number is not that of the version"
#endif
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"never_used", a_client_that_was_never_used_goes_away},
        {"event", an_event_tells_all_of_a_change},
        {"ended", a_subscription_that_is_ended_says_so_last},
        {"ended_callback", a_callback_learns_why_its_subscription_ended},
        {"descriptors", without_descriptors_there_is_no_client},
        {"options", options_reach_the_server},
        {"lagged", what_does_not_fit_is_counted_and_told},
        {"error", an_error_says_what_the_server_said},
        {"request", a_request_has_query_headers_and_a_body},
        {"login", a_user_logs_in_and_out},
        {"token", a_token_callback_is_asked_until_it_answers},
        {"unsubscribe", unsubscribes_by_topic_prefix_collection_and_all},
        {"states", states_come_by_callback_and_by_queue},
        {"closed", a_closed_client_says_so},
        {"bad_options", options_that_cannot_be_used_are_told},
        {"names", names_are_known},
        {NULL, NULL},
    };
    return run_tests(tests, argc, argv);
}
