// The client in a program that lives on GLib: it logs in, watches a list, makes a record, changes it, and quits, and its
// loop never waits for the network.
//
//     cc glib.c $(pkg-config --cflags --libs tidings glib-2.0) -o glib
//     ./glib http://127.0.0.1:8090 posts ada@example.com secret
//
// It says how long its longest turn of the loop took.
#include <glib-unix.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidings.h>

struct program {
    GMainLoop *loop;
    tidings_client *client;
    tidings_batch *batch;
    tidings_view *view;
    const char *collection;
    char id[64];
    // The calls that run.
    uint64_t login, create;
    gint64 longest;
    int failed;
};

static void fail(struct program *program, const char *what, const tidings_error *error) {
    fprintf(stderr, "%s: %s\n", what, tidings_error_message(error));
    program->failed = 1;
    g_main_loop_quit(program->loop);
}

// Nothing here waits: what a call results in comes through the queue.
static void check(struct program *program, const char *what, tidings_status status, tidings_error *error) {
    if (status != TIDINGS_OK) {
        fail(program, what, error);
    }
    tidings_error_free(error);
}

static void watch(struct program *program) {
    tidings_error *error = NULL;
    tidings_watch_options *options = tidings_watch_options_new();
    tidings_watch_options_set_sort(options, "-title");
    tidings_watch_options_set_wait(options, false);
    tidings_status status =
        tidings_client_watch(program->client, program->collection, options, NULL, NULL, NULL, &program->view, &error);
    check(program, "watch", status, error);
    tidings_watch_options_free(options);
}

static void create(struct program *program) {
    char path[256];
    tidings_error *error = NULL;
    snprintf(path, sizeof path, "/api/collections/%s/records", program->collection);
    tidings_status status = tidings_client_send_async(
        program->client, "POST", path, "{\"title\": \"from GLib\"}", NULL, NULL, NULL, &program->create, &error);
    check(program, "create", status, error);
}

static void rename_it(struct program *program) {
    char path[256];
    tidings_error *error = NULL;
    snprintf(path, sizeof path, "/api/collections/%s/records/%s", program->collection, program->id);
    tidings_status status = tidings_client_send_async(
        program->client, "PATCH", path, "{\"title\": \"from GLib, changed\"}", NULL, NULL, NULL, NULL, &error);
    check(program, "rename", status, error);
}

static void on_completed(struct program *program, const tidings_event *event) {
    const tidings_error *error = tidings_event_error(event);
    if (error) {
        fail(program, "a call", error);
    } else if (tidings_event_call(event) == program->login) {
        printf("logged in\n");
        watch(program);
    } else if (tidings_event_call(event) == program->create) {
        // A program would use its JSON library; ids of PocketBase have 15 characters.
        const char *body = tidings_response_body(tidings_event_response(event), NULL);
        const char *id = body ? strstr(body, "\"id\":\"") : NULL;
        snprintf(program->id, sizeof program->id, "%.15s", id ? id + 6 : "");
        rename_it(program);
    }
}

static void on_changed(struct program *program) {
    tidings_changes *changes = NULL;
    tidings_error *error = NULL;
    if (tidings_view_next(program->view, 0, &changes, &error) != TIDINGS_OK) {
        fail(program, "the view has ended", error);
        tidings_error_free(error);
        return;
    }
    for (size_t i = 0; i < tidings_changes_len(changes); i++) {
        tidings_delta_kind kind = tidings_changes_kind(changes, i);
        const char *record = tidings_changes_record(changes, i, NULL);
        printf("%s, %zu rows %s\n", tidings_delta_kind_name(kind), tidings_rows_len(tidings_changes_rows(changes)),
               tidings_freshness_name(tidings_changes_freshness(changes)));
        if (kind == TIDINGS_DELTA_KIND_RESET) {
            create(program);
        } else if (record && strstr(record, "from GLib, changed")) {
            g_main_loop_quit(program->loop);
        }
    }
    tidings_changes_free(changes);
}

static gboolean on_readable(gint fd, GIOCondition condition, gpointer data) {
    (void)fd, (void)condition;
    struct program *program = data;
    tidings_error *error = NULL;
    gint64 began = g_get_monotonic_time();
    if (tidings_client_next(program->client, program->batch, 100, 0, &error) != TIDINGS_OK) {
        fail(program, "the queue", error);
        tidings_error_free(error);
        return G_SOURCE_REMOVE;
    }
    for (size_t i = 0; i < tidings_batch_len(program->batch); i++) {
        const tidings_event *event = tidings_batch_event(program->batch, i);
        switch (tidings_event_action(event)) {
        case TIDINGS_ACTION_COMPLETED: on_completed(program, event); break;
        case TIDINGS_ACTION_CHANGED: on_changed(program); break;
        default: break;
        }
    }
    gint64 took = g_get_monotonic_time() - began;
    program->longest = took > program->longest ? took : program->longest;
    return G_SOURCE_CONTINUE;
}

int main(int argc, char **argv) {
    struct program program = {.collection = argc > 2 ? argv[2] : "posts"};
    tidings_error *error = NULL;
    if (tidings_client_new(argc > 1 ? argv[1] : "http://127.0.0.1:8090", NULL, &program.client, &error) != TIDINGS_OK) {
        fprintf(stderr, "%s\n", tidings_error_message(error));
        tidings_error_free(error);
        return 1;
    }
    program.loop = g_main_loop_new(NULL, FALSE);
    program.batch = tidings_batch_new();
    guint source = g_unix_fd_add(tidings_client_fd(program.client), G_IO_IN, on_readable, &program);
    if (argc > 4) {
        tidings_status status = tidings_client_auth_with_password_async(
            program.client, "users", argv[3], argv[4], NULL, NULL, &program.login, &error);
        check(&program, "log in", status, error);
    } else {
        watch(&program);
    }
    if (!program.failed) {
        g_main_loop_run(program.loop);
    }
    printf("the loop was held up for %.3f ms at most\n", (double)program.longest / 1000);

    // Before the client: its descriptor goes with it.
    g_source_remove(source);
    g_main_loop_unref(program.loop);
    tidings_view_free(program.view);
    tidings_batch_free(program.batch);
    tidings_client_free(program.client);
    return program.failed;
}
