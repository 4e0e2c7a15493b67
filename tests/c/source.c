// Event sources, and the log. The stream is the hub's own: the first message of a realtime stream is PB_CONNECT.
#include "check.h"

static char stream[256];

static tidings_source *open_stream(const tidings_source_options *options) {
    snprintf(stream, sizeof stream, "%s/api/realtime", url);
    tidings_source *source = NULL;
    CHECK_OK(tidings_source_new(stream, options, &source, &error));
    return source;
}

static tidings_source_event *take(tidings_source *source, tidings_source_kind kind) {
    tidings_source_event *event = NULL;
    CHECK_OK(tidings_source_next(source, 60000, &event, &error));
    CHECK(tidings_source_event_kind(event) == kind);
    return event;
}

static void messages_come_with_name_data_and_id(void) {
    tidings_source_options *options = tidings_source_options_new();
    CHECK_OK(tidings_source_options_add_header(options, "X-Test", "1"));
    CHECK_OK(tidings_source_options_set_comments(options, true));
    CHECK_OK(tidings_source_options_set_read_timeout(options, 60000));
    CHECK_OK(tidings_source_options_set_retry(options, 1));
    CHECK_OK(tidings_source_options_set_backoff(options, 1, 10));
    tidings_source *source = open_stream(options);
    tidings_source_options_free(options);
    CHECK((tidings_source_fd(source) >= 0) == HAS_DESCRIPTORS);
    tidings_source_event *event = take(source, TIDINGS_SOURCE_KIND_OPEN);
    CHECK(strcmp(tidings_source_event_header(event, "content-type"), "text/event-stream") == 0);
    CHECK(tidings_source_event_header(event, "x-none") == NULL && tidings_source_event_header(event, NULL) == NULL);
    CHECK(tidings_source_event_data(event, NULL) == NULL && tidings_source_event_id(event) == NULL);
    tidings_source_event_free(event);

    event = take(source, TIDINGS_SOURCE_KIND_MESSAGE);
    CHECK(strcmp(tidings_source_event_name(event), "PB_CONNECT") == 0);
    size_t len = 0;
    const char *data = tidings_source_event_data(event, &len);
    CHECK(strstr(data, "clientId") != NULL && strlen(data) == len);
    CHECK(strlen(tidings_source_event_id(event)) > 0);
    char *id = NULL;
    CHECK_OK(tidings_source_last_event_id(source, &id, &error));
    CHECK(strcmp(id, tidings_source_event_id(event)) == 0);
    CHECK(strstr(data, id) != NULL);
    tidings_string_free(id);
    tidings_source_event_free(event);

    // Nothing more comes from this server by itself.
    event = (tidings_source_event *)source;
    CHECK_OK(tidings_source_next(source, 1, &event, &error));
    CHECK(event == NULL && tidings_source_state(source) == TIDINGS_STATE_LIVE);
    CHECK_OK(tidings_source_restart(source, &error));
    tidings_source_event_free(take(source, TIDINGS_SOURCE_KIND_OPEN));
    tidings_source_event_free(take(source, TIDINGS_SOURCE_KIND_MESSAGE));
    tidings_source_free(source);
}

static bool again_twice(int status, void *user_data) {
    struct counter *counter = user_data;
    CHECK(status == 404);
    return atomic_fetch_add(&counter->calls, 1) < 2;
}

static void an_answer_that_is_no_stream_is_asked_about(void) {
    struct counter counter = {0};
    tidings_source_options *options = tidings_source_options_new();
    CHECK_OK(tidings_source_options_on_status(options, again_twice, &counter, count_drop));
    CHECK_OK(tidings_source_options_set_backoff(options, 1, 2));
    CHECK_OK(tidings_source_options_set_retry(options, 1));
    snprintf(stream, sizeof stream, "%s/api/nothing", url);
    tidings_source *source = NULL;
    CHECK_OK(tidings_source_new(stream, options, &source, &error));
    for (int i = 0; i < 2; i++) {
        tidings_source_event *event = take(source, TIDINGS_SOURCE_KIND_DISCONNECTED);
        CHECK(tidings_source_event_reason(event) == TIDINGS_REASON_REFUSED);
        CHECK(tidings_error_http_status(tidings_source_event_error(event)) == 404);
        CHECK(tidings_source_event_retry_in_ms(event) >= 0);
        tidings_source_event_free(event);
    }
    tidings_source_event *event = take(source, TIDINGS_SOURCE_KIND_CLOSED);
    CHECK(tidings_error_http_status(tidings_source_event_error(event)) == 404);
    tidings_source_event_free(event);
    CHECK_STATUS(tidings_source_next(source, -1, &event, &error), TIDINGS_ERR_CLOSED);
    CHECK(counter.calls == 3 && counter.drops == 0);
    tidings_source_options_free(options);
    tidings_source_free(source);
    AWAIT(counter.drops == 1);
}

static void a_replaced_callback_is_dropped_at_once(void) {
    struct counter first = {0}, second = {0}, none = {0}, kept = {0};
    tidings_source_options *options = tidings_source_options_new();
    CHECK_OK(tidings_source_options_on_status(options, again_twice, &first, count_drop));
    CHECK(first.drops == 0);
    CHECK_OK(tidings_source_options_on_status(options, again_twice, &second, count_drop));
    CHECK(first.drops == 1 && second.drops == 0);
    CHECK_OK(tidings_source_options_on_status(options, NULL, &none, count_drop));
    CHECK(second.drops == 1 && none.drops == 1);

    // A source that was made with it keeps it, also when the options have another one by then.
    CHECK_OK(tidings_source_options_on_status(options, again_twice, &kept, count_drop));
    tidings_source *source = open_stream(options);
    CHECK_OK(tidings_source_options_on_status(options, NULL, NULL, NULL));
    CHECK(kept.drops == 0);
    tidings_source_free(source);
    AWAIT(kept.drops == 1);

    // Without a callback the status decides.
    snprintf(stream, sizeof stream, "%s/api/nothing", url);
    CHECK_OK(tidings_source_new(stream, options, &source, &error));
    tidings_source_event *event = take(source, TIDINGS_SOURCE_KIND_CLOSED);
    CHECK(tidings_error_http_status(tidings_source_event_error(event)) == 404);
    tidings_source_event_free(event);
    tidings_source_free(source);
    tidings_source_options_free(options);
    CHECK(first.drops == 1 && second.drops == 1 && none.drops == 1 && first.calls + second.calls + kept.calls == 0);
}

static void *wait_for_ever(void *arg) {
    tidings_source_event *event = NULL;
    tidings_status status;
    while ((status = tidings_source_next(arg, -1, &event, NULL)) == TIDINGS_OK) {
        tidings_source_event_free(event);
    }
    return (void *)(intptr_t)status;
}

static void close_ends_the_wait(void) {
    tidings_source *source = open_stream(NULL);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, wait_for_ever, source) == 0);
    AWAIT(tidings_source_state(source) == TIDINGS_STATE_LIVE);
    CHECK_OK(tidings_source_close(source, &error));
    CHECK_OK(tidings_source_close(source, &error));
    void *status = NULL;
    waits_for = "a thread in next()";
    pthread_join(thread, &status);
    CHECK((intptr_t)status == TIDINGS_ERR_CLOSED);
    CHECK(tidings_source_state(source) == TIDINGS_STATE_CLOSED);
    tidings_source_free(source);
}

struct log {
    pthread_mutex_t lock;
    atomic_int lines, drops, is_held;
    size_t len;
    char text[1 << 18];
};

static void on_line(tidings_log_level level, const char *line, void *user_data) {
    struct log *log = user_data;
    CHECK(level <= TIDINGS_LOG_LEVEL_DEBUG && atomic_load(&log->drops) == 0);
    pthread_mutex_lock(&log->lock);
    int len = snprintf(log->text + log->len, sizeof log->text - log->len, "%s\n", line);
    CHECK(len > 0 && log->len + (size_t)len < sizeof log->text);
    log->len += (size_t)len;
    pthread_mutex_unlock(&log->lock);
    atomic_fetch_add(&log->lines, 1);
    while (atomic_load(&log->is_held)) {
        nap();
    }
}

static void drop_log(void *user_data) {
    struct log *log = user_data;
    atomic_fetch_add(&log->drops, 1);
}

static void make_lines(void) {
    tidings_client *client = connect_with(NULL);
    CHECK_OK(tidings_client_set_token(client, "s3cret", NULL, &error));
    CHECK_OK(tidings_client_subscribe(client, "posts", "s3cret", NULL, NULL, NULL, NULL, NULL, &error));
    tidings_client_free(client);
}

static void the_log_tells_what_happens_and_no_secret(void) {
    static struct log log = {.lock = PTHREAD_MUTEX_INITIALIZER}, errors = {.lock = PTHREAD_MUTEX_INITIALIZER};
    make_lines();
    CHECK_OK(tidings_log_set(TIDINGS_LOG_LEVEL_DEBUG, on_line, &log, drop_log, &error));
    make_lines();
    AWAIT(log.lines >= 3);
    // A callback that is stuck holds up nobody; what does not fit is dropped, and counted.
    atomic_store(&log.is_held, 1);
    for (int i = 0; i < 300; i++) {
        make_lines();
    }
    atomic_store(&log.is_held, 0);
    CHECK_OK(tidings_log_set(TIDINGS_LOG_LEVEL_ERROR, on_line, &errors, drop_log, &error));
    AWAIT(log.drops == 1);
    CHECK(strstr(log.text, "state") != NULL && strstr(log.text, "submitting topics") != NULL);
    CHECK(strstr(log.text, "s3cret") == NULL);
    CHECK(strstr(log.text, "lines were dropped") != NULL);
    make_lines();
    CHECK_OK(tidings_log_set(TIDINGS_LOG_LEVEL_OFF, NULL, NULL, NULL, &error));
    AWAIT(errors.drops == 1);
    CHECK(errors.lines == 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"messages", messages_come_with_name_data_and_id},
        {"status", an_answer_that_is_no_stream_is_asked_about},
        {"replaced", a_replaced_callback_is_dropped_at_once},
        {"close", close_ends_the_wait},
        {"log", the_log_tells_what_happens_and_no_secret},
        {NULL, NULL},
    };
    return run_tests(tests, argc, argv);
}
