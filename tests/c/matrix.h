// What the program that matrix.py writes is made of.
#pragma once
#include "check.h"

#define URL url
#define BYTES bytes
#define LONG long_text

static const char bytes[16] = "\x00\xff{[\"'\r\n\x7f\x80\xc0\xf5";
static char long_text[70000];
static uint64_t room_of_ids[64];
static union { uint64_t aligned; char bytes[65536]; } room_for_events;
#define room (room_for_events.bytes)
static struct counter counter;
static int wanted_drops;
static const char *volatile here = "";
static tidings_stats stats;
static volatile size_t touched;

#define HERE(name) (here = (name))
#undef CHECK
#define CHECK(condition) ((condition) ? (void)0 : failed(here, __LINE__, #condition))
#define WANTED(is, wanted)                                                                                             \
    ((is) == (wanted) ? (void)0                                                                                        \
                      : (fprintf(stderr, "%s: %s\n", here, tidings_status_name(is)), failed(here, __LINE__, #wanted)))

// Reads a text that was lent, to the end if it is one.
static inline void touch(const char *text) {
    touched += text ? (size_t)(unsigned char)text[0] : 0;
}

static inline void ignore_event(const tidings_event *event, void *user_data) {
    (void)event, (void)user_data;
}
static inline void ignore_state(const tidings_state_info *state, void *user_data) {
    (void)state, (void)user_data;
}
static inline void ignore_disconnect(const tidings_strings *topics, void *user_data) {
    (void)topics, (void)user_data;
}
static inline void ignore_open(const char *address, void *user_data) {
    (void)address, (void)user_data;
}
static inline void ignore_log(tidings_log_level level, const char *line, void *user_data) {
    (void)level, (void)line, (void)user_data;
}
static inline bool ignore_status(int status, void *user_data) {
    (void)status, (void)user_data;
    return false;
}
static inline void ignore_token(tidings_token_request *request, void *user_data) {
    (void)user_data;
    tidings_token_request_free(request);
}

static inline void ignore_changes(const tidings_changes *changes, void *user_data) {
    (void)changes, (void)user_data;
}

static inline void ignore_connect(tidings_source_request *request, void *user_data) {
    (void)request, (void)user_data;
}

static inline tidings_client *new_client(void) {
    return connect_with(NULL);
}

static inline tidings_client *new_closed_client(void) {
    tidings_client *client = new_client();
    CHECK_OK(tidings_client_close(client, &error));
    return client;
}

// Not for ever, whatever the topic is.
static inline tidings_subscribe_options *new_subscribe_options(void) {
    tidings_subscribe_options *options = tidings_subscribe_options_new();
    CHECK_OK(tidings_subscribe_options_set_timeout(options, 5000));
    return options;
}

static inline tidings_watch_options *new_watch_options(void) {
    tidings_watch_options *options = tidings_watch_options_new();
    CHECK_OK(tidings_watch_options_set_limit(options, 3));
    CHECK_OK(tidings_watch_options_set_timeout(options, 5000));
    return options;
}

static tidings_client *watched;

static inline tidings_view *new_view(void) {
    tidings_view *view = NULL;
    if (!watched) {
        watched = new_client();
        post(watched, "something to watch");
    }
    tidings_watch_options *options = new_watch_options();
    CHECK_OK(tidings_client_watch(watched, "posts", options, NULL, NULL, NULL, &view, &error));
    tidings_watch_options_free(options);
    return view;
}

static inline tidings_view *new_closed_view(void) {
    tidings_view *view = new_view();
    CHECK_OK(tidings_view_close(view, &error));
    return view;
}

static inline tidings_rows *new_rows(void) {
    tidings_view *view = new_view();
    tidings_rows *rows = NULL;
    CHECK_OK(tidings_view_rows(view, &rows, &error));
    CHECK(tidings_rows_len(rows) > 0);
    tidings_view_free(view);
    return rows;
}

static inline tidings_changes *new_changes(void) {
    tidings_view *view = new_view();
    tidings_changes *changes = NULL;
    CHECK_OK(tidings_view_next(view, 60000, &changes, &error));
    CHECK(changes != NULL);
    tidings_view_free(view);
    return changes;
}

static inline tidings_batch *new_full_batch(void) {
    tidings_client *client = new_client();
    tidings_batch *batch = tidings_batch_new();
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", NULL, NULL, NULL, NULL, NULL, &error));
    CHECK_OK(tidings_client_unsubscribe_all(client, NULL, &error));
    CHECK_OK(tidings_client_next(client, batch, 10, 60000, &error));
    CHECK(tidings_batch_len(batch) == 1);
    tidings_client_free(client);
    return batch;
}

static inline tidings_event *new_event(void) {
    tidings_batch *batch = new_full_batch();
    tidings_event *event = tidings_event_clone(tidings_batch_event(batch, 0));
    tidings_batch_free(batch);
    return event;
}

static inline tidings_error *new_error(void) {
    tidings_error *made = NULL;
    CHECK(tidings_client_new(NULL, NULL, NULL, &made) != TIDINGS_OK);
    return made;
}

static inline tidings_strings *new_strings(void) {
    tidings_client *client = new_client();
    tidings_strings *strings = NULL;
    CHECK_OK(tidings_client_active_subscriptions(client, &strings, &error));
    tidings_client_free(client);
    return strings;
}

static inline char *new_string(void) {
    char *string = NULL;
    CHECK_OK(tidings_filter("a = 1", "{}", &string, &error));
    return string;
}

static inline tidings_state_info *new_state(void) {
    tidings_client *client = new_client();
    tidings_state_info *state = NULL;
    CHECK_OK(tidings_client_state_info(client, &state, &error));
    tidings_client_free(client);
    return state;
}

static inline tidings_response *new_response(void) {
    tidings_client *client = new_client();
    tidings_response *response = NULL;
    CHECK_OK(tidings_client_send(client, "GET", "/api/health", NULL, NULL, &response, &error));
    tidings_client_free(client);
    return response;
}

static inline tidings_source *new_source(void) {
    tidings_source *source = NULL;
    CHECK_OK(tidings_source_new(url, NULL, &source, &error));
    return source;
}

static inline tidings_source *new_closed_source(void) {
    tidings_source *source = new_source();
    CHECK_OK(tidings_source_close(source, &error));
    return source;
}

static inline tidings_source_event *new_source_event(void) {
    tidings_source *source = new_source();
    tidings_source_event *event = NULL;
    CHECK_OK(tidings_source_next(source, 60000, &event, &error));
    CHECK(event != NULL);
    tidings_source_free(source);
    return event;
}

static tidings_token_request *_Atomic given;

static inline void keep_request(tidings_token_request *request, void *user_data) {
    (void)user_data;
    atomic_store(&given, request);
}

static inline tidings_token_request *new_token_request(void) {
    tidings_client_options *options = tidings_client_options_new();
    CHECK_OK(tidings_client_options_on_token(options, keep_request, NULL, NULL));
    tidings_client *client = connect_with(options);
    tidings_client_options_free(options);
    tidings_subscribe_options *at_once = tidings_subscribe_options_new();
    CHECK_OK(tidings_subscribe_options_set_wait(at_once, false));
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", at_once, NULL, NULL, NULL, NULL, &error));
    tidings_subscribe_options_free(at_once);
    AWAIT(atomic_load(&given) != NULL);
    tidings_client_free(client);
    return atomic_exchange(&given, NULL);
}

static tidings_source_request *volatile lent_request;
static atomic_bool is_lent;
static tidings_source *lender;

// Lends the request until the end: a callback of this kind has a thread of its own.
static inline void lend(tidings_source_request *request, void *user_data) {
    (void)user_data;
    lent_request = request;
    atomic_store(&is_lent, true);
    while (atomic_load(&is_lent)) {
        nap();
    }
}

static inline void begin(void) {
    signal(SIGALRM, on_alarm);
    alarm(240);
    url = getenv("TIDINGS_HUB");
    CHECK(url != NULL);
    memset(long_text, 'x', sizeof long_text - 1);
    tidings_source_options *options = tidings_source_options_new();
    CHECK_OK(tidings_source_options_on_connect(options, lend, NULL, NULL));
    CHECK_OK(tidings_source_new(url, options, &lender, &error));
    tidings_source_options_free(options);
    AWAIT(atomic_load(&is_lent));
}

static inline int end(void) {
    HERE("the end");
    atomic_store(&is_lent, false);
    tidings_source_free(lender);
    tidings_client_free(watched);
    CHECK_OK(tidings_log_set(TIDINGS_LOG_LEVEL_OFF, NULL, NULL, NULL, &error));
    AWAIT(atomic_load(&counter.drops) >= wanted_drops);
    AWAIT(is_alone());
    CHECK(atomic_load(&counter.drops) == wanted_drops);
    fprintf(stderr, "  ok %d drops\n", wanted_drops);
    return 0;
}
