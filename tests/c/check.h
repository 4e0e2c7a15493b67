// What the tests in C have in common: checks that say where they failed, a limit on time, and things to wait for.
#pragma once

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidings.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition) ((condition) ? (void)0 : failed(__FILE__, __LINE__, #condition))
#define CHECK_STATUS(call, wanted) check_status(__FILE__, __LINE__, #call, call, wanted)
#define CHECK_OK(call) CHECK_STATUS(call, TIDINGS_OK)
// Waits until it is so; a test that waits in vain is ended by the alarm.
#define AWAIT(condition)                                                                                               \
    do {                                                                                                               \
        waits_for = #condition;                                                                                        \
        while (!(condition)) nap();                                                                                    \
    } while (0)

// tidings_client_fd() and tidings_source_fd() are -1 on Windows.
#ifdef _WIN32
#define HAS_DESCRIPTORS 0
#else
#define HAS_DESCRIPTORS 1
#endif

static const char *volatile waits_for = "";
// The URL of a hub, and the e-mail address and the password of its users "ada" and "bob".
static const char *url;
static tidings_error *error;

static inline _Noreturn void failed(const char *file, int line, const char *what) {
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    if (error) {
        fprintf(stderr, "the last error: %s\n", tidings_error_message(error));
    }
    _exit(1);
}

static inline void check_status(const char *file, int line, const char *call, tidings_status is, tidings_status wanted) {
    if (is != wanted) {
        fprintf(stderr, "%s instead of %s\n", tidings_status_name(is), tidings_status_name(wanted));
        failed(file, line, call);
    }
    // A call without `&error` leaves the one before.
    tidings_error_free(error);
    error = NULL;
}

static inline void nap(void) {
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

// Whether no thread is left but this one. close() waits for them a second at most, and under valgrind that is short.
static inline bool is_alone(void) {
    int entries = 0;
    DIR *tasks = opendir("/proc/self/task");
    while (tasks && readdir(tasks)) {
        entries++;
    }
    if (tasks) {
        closedir(tasks);
    }
    return entries <= 3; // "." and ".." and this one
}

static inline void on_alarm(int signal) {
    (void)signal;
    static const char text[] = "it hangs, waiting for: ";
    (void)!write(2, text, sizeof text - 1);
    (void)!write(2, waits_for, strlen(waits_for));
    (void)!write(2, "\n", 1);
    _exit(1);
}

static inline tidings_client *connect_with(const tidings_client_options *options) {
    tidings_client *client = NULL;
    CHECK_OK(tidings_client_new(url, options, &client, &error));
    return client;
}

// A post, made with a client of the test, and so an event.
static inline void post(tidings_client *client, const char *title) {
    char body[128];
    snprintf(body, sizeof body, "{\"title\": \"%s\"}", title);
    CHECK_OK(tidings_client_send(client, "POST", "/api/collections/posts/records", body, NULL, NULL, &error));
}

// Callbacks that count.
struct counter {
    atomic_int calls;
    atomic_int drops;
};

static inline void count_drop(void *user_data) {
    struct counter *counter = user_data;
    atomic_fetch_add(&counter->drops, 1);
}

static inline void count_event(const tidings_event *event, void *user_data) {
    struct counter *counter = user_data;
    CHECK(tidings_event_topic(event) != NULL);
    // After the drop there must be no call.
    CHECK(atomic_load(&counter->drops) == 0);
    atomic_fetch_add(&counter->calls, 1);
}

struct test {
    const char *name;
    void (*run)(void);
};

// Runs all tests, or those whose names are given.
static inline int run_tests(const struct test *tests, int argc, char **argv) {
    signal(SIGALRM, on_alarm);
    url = getenv("TIDINGS_HUB");
    CHECK(url != NULL);
    for (const struct test *test = tests; test->name; test++) {
        int wanted = argc < 2;
        for (int i = 1; i < argc; i++) {
            wanted |= strcmp(argv[i], test->name) == 0;
        }
        if (wanted) {
            alarm(300);
            test->run();
            AWAIT(is_alone());
            fprintf(stderr, "  ok %s\n", test->name);
        }
    }
    return 0;
}
