// Live views: by waiting for them, by the queue, and by a callback.
#include "check.h"

static tidings_watch_options *of(const char *title) {
    char filter[128];
    snprintf(filter, sizeof filter, "title ~ '%s'", title);
    tidings_watch_options *options = tidings_watch_options_new();
    CHECK_OK(tidings_watch_options_set_filter(options, filter));
    CHECK_OK(tidings_watch_options_set_sort(options, "title"));
    return options;
}

static tidings_view *watch(tidings_client *client, const char *title) {
    tidings_watch_options *options = of(title);
    tidings_view *view = NULL;
    CHECK_OK(tidings_client_watch(client, "posts", options, NULL, NULL, NULL, &view, &error));
    tidings_watch_options_free(options);
    return view;
}

static size_t count(tidings_view *view) {
    tidings_rows *rows = NULL;
    CHECK_OK(tidings_view_rows(view, &rows, &error));
    size_t count = tidings_rows_len(rows);
    tidings_rows_free(rows);
    return count;
}

static tidings_changes *next(tidings_view *view) {
    tidings_changes *changes = NULL;
    CHECK_OK(tidings_view_next(view, 60000, &changes, &error));
    CHECK(changes != NULL);
    return changes;
}

// The next batch with something in it: others say that the freshness has changed.
static tidings_changes *next_deltas(tidings_view *view) {
    for (;;) {
        tidings_changes *changes = next(view);
        if (tidings_changes_len(changes) > 0) {
            return changes;
        }
        tidings_changes_free(changes);
    }
}

static void send_to(tidings_client *client, const char *method, const char *id, const char *body) {
    char path[128];
    snprintf(path, sizeof path, "/api/collections/posts/records/%s", id);
    CHECK_OK(tidings_client_send(client, method, path, body, NULL, NULL, &error));
}

static void a_view_tells_what_has_happened_to_its_rows(void) {
    tidings_client *client = connect_with(NULL);
    post(client, "rows b");
    tidings_view *view = watch(client, "rows ");
    CHECK(tidings_view_id(view) != 0 && tidings_view_freshness(view) == TIDINGS_FRESHNESS_PROVEN);
    CHECK(tidings_view_error(view) == NULL && tidings_view_since_ms(view) >= 0);

    tidings_changes *changes = next_deltas(view);
    CHECK(tidings_changes_len(changes) == 1 && tidings_changes_kind(changes, 0) == TIDINGS_DELTA_KIND_RESET);
    CHECK(tidings_changes_from(changes, 0) == SIZE_MAX && tidings_changes_to(changes, 0) == SIZE_MAX);
    CHECK(tidings_changes_id(changes, 0) == NULL && tidings_changes_record(changes, 0, NULL) == NULL);
    CHECK(tidings_changes_freshness(changes) == TIDINGS_FRESHNESS_PROVEN && tidings_changes_error(changes) == NULL);
    const tidings_rows *rows = tidings_changes_rows(changes);
    size_t len = 0;
    const char *record = tidings_rows_record(rows, 0, &len);
    CHECK(tidings_rows_len(rows) == 1 && strstr(record, "\"rows b\"") && strlen(record) == len);
    CHECK(tidings_rows_record(rows, 1, &len) == NULL && len == 0 && tidings_rows_id(rows, 1) == NULL);
    const char *array = tidings_rows_array(rows, &len);
    CHECK(array[0] == '[' && array[len - 1] == ']' && strlen(array) == len && strstr(array, record));
    char id[64];
    snprintf(id, sizeof id, "%s", tidings_rows_id(rows, 0));
    tidings_changes_free(changes);

    post(client, "rows a");
    changes = next_deltas(view);
    CHECK(tidings_changes_kind(changes, 0) == TIDINGS_DELTA_KIND_INSERT && tidings_changes_to(changes, 0) == 0);
    CHECK(tidings_changes_from(changes, 0) == SIZE_MAX && tidings_changes_old(changes, 0, NULL) == NULL);
    CHECK(strstr(tidings_changes_record(changes, 0, NULL), "\"rows a\""));
    CHECK(tidings_rows_len(tidings_changes_rows(changes)) == 2);
    tidings_changes_free(changes);

    send_to(client, "PATCH", id, "{\"title\": \"rows 0\"}");
    changes = next_deltas(view);
    CHECK(tidings_changes_kind(changes, 0) == TIDINGS_DELTA_KIND_UPDATE);
    CHECK(tidings_changes_from(changes, 0) == 1 && tidings_changes_to(changes, 0) == 0);
    CHECK(strcmp(tidings_changes_id(changes, 0), id) == 0);
    CHECK(strstr(tidings_changes_old(changes, 0, &len), "\"rows b\"") && len > 0);
    tidings_changes_free(changes);

    send_to(client, "PATCH", id, "{\"title\": \"elsewhere\"}");
    changes = next_deltas(view);
    CHECK(tidings_changes_kind(changes, 0) == TIDINGS_DELTA_KIND_REMOVE && tidings_changes_from(changes, 0) == 0);
    CHECK(tidings_changes_why(changes, 0) == TIDINGS_REMOVE_REASON_LEFT_FILTER);
    CHECK(strcmp(tidings_remove_reason_name(tidings_changes_why(changes, 0)), "left_filter") == 0);
    // They outlive the view.
    tidings_view_free(view);
    CHECK(strcmp(tidings_changes_id(changes, 0), id) == 0);
    tidings_changes_free(changes);
    tidings_client_free(client);
}

static void a_proof_shows_what_was_written_before_it(void) {
    tidings_client *client = connect_with(NULL);
    tidings_view *view = watch(client, "proof ");
    CHECK(count(view) == 0);
    for (int i = 0; i < 20; i++) {
        post(client, "proof of it");
    }
    CHECK_OK(tidings_view_prove(view, -1, &error));
    CHECK(count(view) == 20);

    // And without waiting.
    post(client, "proof of it");
    uint64_t id = 0;
    struct counter counter = {0, 0};
    CHECK_OK(tidings_client_prove_async(client, view, &counter, count_drop, &id, &error));
    tidings_batch *batch = tidings_batch_new();
    bool done = false;
    while (!done) {
        CHECK_OK(tidings_client_next(client, batch, 10, 60000, &error));
        for (size_t i = 0; i < tidings_batch_len(batch); i++) {
            const tidings_event *event = tidings_batch_event(batch, i);
            bool is_ours = tidings_event_action(event) == TIDINGS_ACTION_COMPLETED;
            CHECK(!is_ours || (tidings_event_call(event) == id && tidings_event_error(event) == NULL));
            done |= is_ours;
        }
    }
    CHECK(count(view) == 21);
    tidings_batch_free(batch);
    AWAIT(atomic_load(&counter.drops) == 1);
    tidings_view_free(view);
    tidings_client_free(client);
}

static void the_queue_tells_of_a_view_until_it_is_freed(void) {
    tidings_client *client = connect_with(NULL);
    struct counter counter = {0, 0};
    tidings_watch_options *options = of("queue ");
    CHECK_OK(tidings_watch_options_set_wait(options, false));
    tidings_view *view = NULL;
    CHECK_OK(tidings_client_watch(client, "posts", options, NULL, &counter, count_drop, &view, &error));
    tidings_watch_options_free(options);

    tidings_batch *batch = tidings_batch_new();
    size_t rows = 0;
    for (int round = 0; round < 3; round++) {
        size_t wanted = rows + (round > 0);
        bool is_there = false;
        while (!is_there) {
            CHECK_OK(tidings_client_next(client, batch, 10, 60000, &error));
            for (size_t i = 0; i < tidings_batch_len(batch); i++) {
                const tidings_event *event = tidings_batch_event(batch, i);
                CHECK(tidings_event_action(event) == TIDINGS_ACTION_CHANGED);
                CHECK(tidings_event_subscription(event) == tidings_view_id(view));
                CHECK(tidings_event_user_data(event) == &counter);
                tidings_changes *changes = NULL;
                CHECK_OK(tidings_view_next(view, 0, &changes, &error));
                if (changes && tidings_changes_len(changes) > 0) {
                    rows = tidings_rows_len(tidings_changes_rows(changes));
                    is_there = rows == wanted;
                }
                tidings_changes_free(changes);
            }
        }
        post(client, "queue it");
    }
    tidings_batch_free(batch);
    CHECK(atomic_load(&counter.drops) == 0);
    tidings_view_free(view);
    tidings_client_free(client);
    AWAIT(atomic_load(&counter.drops) == 1);
}

struct watcher {
    struct counter counter;
    atomic_size_t rows;
    atomic_int freshness;
    atomic_int http_status;
    _Atomic(tidings_view *) view;
};

static void on_changes(const tidings_changes *changes, void *user_data) {
    struct watcher *watcher = user_data;
    CHECK(atomic_load(&watcher->counter.drops) == 0);
    atomic_store(&watcher->rows, tidings_rows_len(tidings_changes_rows(changes)));
    atomic_store(&watcher->http_status, tidings_error_http_status(tidings_changes_error(changes)));
    atomic_store(&watcher->freshness, (int)tidings_changes_freshness(changes));
    atomic_fetch_add(&watcher->counter.calls, 1);
    tidings_view *view = atomic_exchange(&watcher->view, NULL);
    // Freed by the callback itself.
    tidings_view_free(view);
}

static void a_callback_is_called_until_the_view_is_freed_also_by_itself(void) {
    tidings_client *client = connect_with(NULL);
    static struct watcher watcher;
    tidings_watch_options *options = of("callback ");
    tidings_view *view = NULL;
    CHECK_OK(tidings_client_watch(client, "posts", options, on_changes, &watcher, count_drop, &view, &error));
    tidings_watch_options_free(options);
    AWAIT(atomic_load(&watcher.counter.calls) > 0);
    post(client, "callback 1");
    AWAIT(atomic_load(&watcher.rows) == 1);
    atomic_store(&watcher.view, view);
    post(client, "callback 2");
    AWAIT(atomic_load(&watcher.counter.drops) == 1);
    CHECK(atomic_load(&watcher.view) == NULL);
    int calls = atomic_load(&watcher.counter.calls);
    post(client, "callback 3");
    tidings_client_free(client);
    CHECK(atomic_load(&watcher.counter.calls) == calls);
}

static void what_the_server_refuses_is_told(void) {
    tidings_client *client = connect_with(NULL);
    struct counter counter = {0, 0};
    tidings_view *view = NULL;
    tidings_watch_options *options = tidings_watch_options_new();
    CHECK_OK(tidings_watch_options_set_filter(options, "title ="));
    CHECK_STATUS(tidings_client_watch(client, "posts", options, on_changes, &counter, count_drop, &view, NULL),
                 TIDINGS_ERR_INVALID_ARGUMENT);
    // Before the call has returned.
    CHECK(view == NULL && atomic_load(&counter.drops) == 1);
    CHECK_OK(tidings_watch_options_set_filter(options, "title = 'a'"));
    CHECK_OK(tidings_watch_options_set_limit(options, 0));
    CHECK_STATUS(tidings_client_watch(client, "posts", options, NULL, &counter, count_drop, &view, NULL),
                 TIDINGS_ERR_INVALID_ARGUMENT);
    AWAIT(atomic_load(&counter.drops) == 2);
    tidings_watch_options_free(options);

    CHECK_STATUS(tidings_client_watch(client, "", NULL, NULL, NULL, NULL, &view, NULL), TIDINGS_ERR_INVALID_TOPIC);
    CHECK_STATUS(tidings_client_watch(client, "posts", NULL, NULL, NULL, NULL, NULL, NULL), TIDINGS_ERR_NULL_ARGUMENT);
    tidings_client_free(client);
}

static void a_closed_client_ends_its_views(void) {
    tidings_client *client = connect_with(NULL);
    post(client, "closed it");
    tidings_view *view = watch(client, "closed ");
    static struct watcher watcher;
    tidings_view *other = NULL;
    CHECK_OK(tidings_client_watch(client, "posts", NULL, on_changes, &watcher, count_drop, &other, &error));
    tidings_client_free(client);
    AWAIT(atomic_load(&watcher.counter.drops) == 1);
    CHECK(tidings_view_freshness(view) == TIDINGS_FRESHNESS_ENDED);
    tidings_error *why = tidings_view_error(view);
    CHECK(tidings_error_status(why) == TIDINGS_ERR_CLOSED);
    tidings_error_free(why);
    // What it showed last.
    CHECK(count(view) == 1);
    tidings_changes *changes = NULL;
    while (tidings_view_next(view, 0, &changes, NULL) == TIDINGS_OK) {
        CHECK(changes != NULL);
        tidings_changes_free(changes);
    }
    CHECK_STATUS(tidings_view_next(view, -1, &changes, NULL), TIDINGS_ERR_CLOSED);
    CHECK_STATUS(tidings_view_prove(view, -1, NULL), TIDINGS_ERR_CLOSED);
    tidings_view_free(view);
    tidings_view_free(other);
}

static void *close_soon(void *view) {
    nap();
    CHECK_OK(tidings_view_close(view, NULL));
    return NULL;
}

static void a_view_that_is_closed_wakes_who_waits_for_it(void) {
    tidings_client *client = connect_with(NULL);
    tidings_view *view = watch(client, "nobody writes this");
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, close_soon, view) == 0);
    tidings_changes *changes = NULL;
    tidings_status status;
    while ((status = tidings_view_next(view, -1, &changes, NULL)) == TIDINGS_OK) {
        tidings_changes_free(changes);
    }
    CHECK(status == TIDINGS_ERR_CLOSED && changes == NULL);
    pthread_join(thread, NULL);
    tidings_view_free(view);
    tidings_client_free(client);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"rows", a_view_tells_what_has_happened_to_its_rows},
        {"proof", a_proof_shows_what_was_written_before_it},
        {"queue", the_queue_tells_of_a_view_until_it_is_freed},
        {"callback", a_callback_is_called_until_the_view_is_freed_also_by_itself},
        {"refused", what_the_server_refuses_is_told},
        {"client", a_closed_client_ends_its_views},
        {"closed", a_view_that_is_closed_wakes_who_waits_for_it},
        {NULL, NULL},
    };
    return run_tests(tests, argc, argv);
}
