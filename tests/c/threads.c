// Many threads, forked processes, and many subscriptions.
#include "everywhere.h"

#include <poll.h>
#include <sys/wait.h>

static void *wait_for_ever(void *arg) {
    tidings_batch *batch = tidings_batch_new();
    tidings_status status;
    while ((status = tidings_client_next(arg, batch, 10, -1, NULL)) == TIDINGS_OK) {
    }
    tidings_batch_free(batch);
    return (void *)(intptr_t)status;
}

static void close_ends_every_wait(void) {
    tidings_client *client = connect_with(NULL);
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", NULL, NULL, NULL, NULL, NULL, &error));
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&threads[i], NULL, wait_for_ever, client) == 0);
    }
    post(client, "for one of them");
    CHECK_OK(tidings_client_close(client, &error));
    for (int i = 0; i < 4; i++) {
        void *status = NULL;
        waits_for = "a thread in next()";
        pthread_join(threads[i], &status);
        CHECK((intptr_t)status == TIDINGS_ERR_CLOSED);
    }
    tidings_client_free(client);
}

static void *send_for_ever(void *arg) {
    tidings_status status;
    while ((status = tidings_client_send(arg, "GET", "/api/health", NULL, NULL, NULL, NULL)) != TIDINGS_ERR_CLOSED) {
    }
    return (void *)(intptr_t)status;
}

static void close_ends_requests(void) {
    tidings_client *client = connect_with(NULL);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, send_for_ever, client) == 0);
    CHECK_OK(tidings_client_send(client, "GET", "/api/health", NULL, NULL, NULL, &error));
    CHECK_OK(tidings_client_close(client, &error));
    waits_for = "a thread in send()";
    pthread_join(thread, NULL);
    tidings_client_free(client);
}

enum { ROUNDS = 40 };

struct worker {
    tidings_client *client;
    int number;
    struct counter counter;
};

static void *subscribe_and_unsubscribe(void *arg) {
    struct worker *worker = arg;
    for (int i = 0; i < ROUNDS; i++) {
        char topic[32];
        snprintf(topic, sizeof topic, "r%d", (worker->number + i) % 5);
        uint64_t id = 0;
        // Half of them with a callback, half of them through the queue.
        CHECK(tidings_client_subscribe(worker->client, "posts", topic, NULL, i % 2 ? count_event : NULL,
                                       &worker->counter, i % 2 ? count_drop : NULL, &id, NULL)
              == TIDINGS_OK);
        CHECK(tidings_client_subscription_state(worker->client, id) != TIDINGS_SUBSCRIPTION_STATE_PENDING);
        CHECK(tidings_client_unsubscribe(worker->client, id, NULL) == TIDINGS_OK);
    }
    return NULL;
}

static void eight_threads_subscribe_and_unsubscribe(void) {
    tidings_client *client = connect_with(NULL);
    pthread_t threads[8], reader;
    struct worker workers[8] = {0};
    CHECK(pthread_create(&reader, NULL, wait_for_ever, client) == 0);
    for (int i = 0; i < 8; i++) {
        workers[i].client = client;
        workers[i].number = i;
        CHECK(pthread_create(&threads[i], NULL, subscribe_and_unsubscribe, &workers[i]) == 0);
    }
    for (int i = 0; i < 8; i++) {
        waits_for = "a thread that subscribes";
        pthread_join(threads[i], NULL);
    }
    tidings_stats stats;
    CHECK_OK(tidings_client_stats(client, &stats, sizeof stats, &error));
    CHECK(stats.listeners == 0 && stats.topics == 0);
    CHECK_OK(tidings_client_close(client, &error));
    pthread_join(reader, NULL);
    tidings_client_free(client);
    for (int i = 0; i < 8; i++) {
        AWAIT(workers[i].counter.drops == ROUNDS / 2);
    }
}

static void ten_thousand_subscriptions_come_and_go(void) {
    enum { MANY = 10000 };
    tidings_client *client = connect_with(NULL);
    tidings_subscribe_options *at_once = tidings_subscribe_options_new();
    CHECK_OK(tidings_subscribe_options_set_wait(at_once, false));
    struct counter counter = {0};
    for (int i = 0; i < MANY; i++) {
        uint64_t id = 0;
        CHECK_OK(tidings_client_subscribe(client, "posts", "*", at_once, count_event, &counter, count_drop, &id, NULL));
        CHECK_OK(tidings_client_unsubscribe(client, id, NULL));
    }
    // All at the same time, on 100 topics.
    uint64_t *ids = calloc(MANY, sizeof *ids);
    for (int i = 0; i < MANY; i++) {
        char topic[32];
        snprintf(topic, sizeof topic, "r%d", i % 100);
        CHECK_OK(tidings_client_subscribe(client, "posts", topic, at_once, count_event, &counter, count_drop, &ids[i], NULL));
    }
    tidings_stats stats;
    CHECK_OK(tidings_client_stats(client, &stats, sizeof stats, &error));
    CHECK(stats.listeners == MANY && stats.topics == 100);
    for (int i = 0; i < MANY; i++) {
        CHECK_OK(tidings_client_unsubscribe(client, ids[i], NULL));
    }
    AWAIT(counter.drops == 2 * MANY);
    free(ids);
    tidings_subscribe_options_free(at_once);
    tidings_client_free(client);
}

static void the_descriptor_is_readable_while_there_is_something(void) {
    tidings_client *client = connect_with(NULL);
    struct pollfd fd = {.fd = tidings_client_fd(client), .events = POLLIN};
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", NULL, NULL, NULL, NULL, NULL, &error));
    CHECK(poll(&fd, 1, 0) == 0);
    post(client, "one");
    post(client, "two");
    tidings_batch *batch = tidings_batch_new();
    for (int left = 2; left > 0; left--) {
        CHECK(poll(&fd, 1, 60000) == 1);
        CHECK_OK(tidings_client_next(client, batch, 1, 0, &error));
        CHECK(tidings_batch_len(batch) == 1);
    }
    CHECK(poll(&fd, 1, 0) == 0);
    CHECK_OK(tidings_client_close(client, &error));
    CHECK(poll(&fd, 1, 60000) == 1);
    tidings_batch_free(batch);
    tidings_client_free(client);
}

// How many other threads have a name of the library; a new one gives it to itself. All must block these signals.
static int named_threads(uint64_t must_block) {
    int named = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char path[300], line[256], name[64] = "";
        if (task->d_name[0] == '.' || atoi(task->d_name) == getpid()) {
            continue;
        }
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *status = fopen(path, "r");
        if (!status) {
            // It has ended since.
            continue;
        }
        unsigned long long blocked = 0;
        while (fgets(line, sizeof line, status)) {
            (void)!sscanf(line, "Name: %63s", name);
            (void)!sscanf(line, "SigBlk: %llx", &blocked);
        }
        fclose(status);
        CHECK((blocked & must_block) == must_block);
        named += strncmp(name, "tidings", 7) == 0;
    }
    closedir(tasks);
    return named;
}

static void ignore_line(tidings_log_level level, const char *line, void *user_data) {
    (void)level, (void)line, (void)user_data;
}

static void signals_are_for_the_hosts_threads(void) {
    struct counter counter = {0};
    CHECK(tidings_thread_count() == 0);
    tidings_client *client = connect_with(NULL);
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", NULL, count_event, &counter, count_drop, NULL, &error));
    CHECK_OK(tidings_log_set(TIDINGS_LOG_LEVEL_TRACE, ignore_line, NULL, NULL, &error));
    tidings_source *source = NULL;
    char stream[256];
    snprintf(stream, sizeof stream, "%s/api/realtime", url);
    CHECK_OK(tidings_source_new(stream, NULL, &source, &error));
    AWAIT(tidings_source_state(source) == TIDINGS_STATE_LIVE);
    CHECK(tidings_thread_count() == 4);

    // This thread alone could take it, and waits for it: delivered to another, it would end the process.
    sigset_t mine, before;
    sigemptyset(&mine);
    sigaddset(&mine, SIGTERM);
    sigaddset(&mine, SIGUSR1);
    sigaddset(&mine, SIGCHLD);
    CHECK(pthread_sigmask(SIG_BLOCK, &mine, &before) == 0);
    for (int i = 0; i < 20; i++) {
        CHECK(kill(getpid(), i % 2 ? SIGTERM : SIGUSR1) == 0);
        int taken = 0;
        waits_for = "a signal";
        CHECK(sigwait(&mine, &taken) == 0 && taken == (i % 2 ? SIGTERM : SIGUSR1));
    }
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    CHECK(!sigismember(&before, SIGTERM));
    AWAIT(named_threads(1ULL << (SIGTERM - 1) | 1ULL << (SIGCHLD - 1) | 1ULL << (SIGALRM - 1)) == 4);

    tidings_source_free(source);
    tidings_client_free(client);
    CHECK_OK(tidings_log_set(TIDINGS_LOG_LEVEL_OFF, NULL, NULL, NULL, &error));
    AWAIT(tidings_thread_count() == 0);
}

// In the child of a process that has a client, with callbacks, a log and an event source.
static void be_a_child(tidings_client *client, tidings_source *source, struct counter *counter, int told) {
    alarm(60);
    tidings_error *wrong = NULL;
    tidings_batch *batch = tidings_batch_new();
    CHECK(tidings_client_next(client, batch, 1, -1, &wrong) == TIDINGS_ERR_FORKED);
    CHECK(strstr(tidings_error_message(wrong), "fork") != NULL);
    tidings_error_free(wrong);
    CHECK_STATUS(tidings_client_subscribe(client, "posts", "*", NULL, NULL, NULL, NULL, NULL, NULL), TIDINGS_ERR_FORKED);
    CHECK_STATUS(tidings_client_unsubscribe_all(client, NULL, NULL), TIDINGS_ERR_FORKED);
    CHECK_STATUS(tidings_client_send(client, "GET", "/", NULL, NULL, NULL, NULL), TIDINGS_ERR_FORKED);
    CHECK_STATUS(tidings_client_set_token(client, "a", NULL, NULL), TIDINGS_ERR_FORKED);
    CHECK_STATUS(tidings_client_close(client, NULL), TIDINGS_ERR_FORKED);
    CHECK(tidings_client_fd(client) == -1 && tidings_client_state(client) == TIDINGS_STATE_UNKNOWN);
    call_everything(client);
    tidings_source_event *event = NULL;
    CHECK_STATUS(tidings_source_next(source, -1, &event, NULL), TIDINGS_ERR_FORKED);
    CHECK_STATUS(tidings_source_restart(source, NULL), TIDINGS_ERR_FORKED);
    CHECK_STATUS(tidings_source_close(source, NULL), TIDINGS_ERR_FORKED);
    tidings_source_free(source);
    tidings_client_free(client);
    CHECK(counter->drops == 0);

    CHECK(tidings_thread_count() == 0);
    tidings_client *own = connect_with(NULL);
    CHECK(tidings_thread_count() == 1);
    CHECK_OK(tidings_log_set(TIDINGS_LOG_LEVEL_DEBUG, ignore_line, NULL, NULL, &error));
    CHECK_OK(tidings_client_subscribe(own, "posts", "*", NULL, NULL, NULL, NULL, NULL, &error));
    post(own, "from the child");
    CHECK_OK(tidings_client_next(own, batch, 1, 60000, &error));
    CHECK(tidings_batch_len(batch) == 1);
    CHECK_OK(tidings_source_new(url, NULL, &source, &error));
    tidings_source_free(source);
    tidings_batch_free(batch);
    tidings_client_free(own);
    // By a pipe and not by exit(): what the parent has registered is the parent's, and to valgrind all that the child
    // has left alone is lost.
    CHECK(write(told, "k", 1) == 1);
    kill(getpid(), SIGKILL);
}

static void a_forked_child_is_told_and_can_begin_anew(void) {
    struct counter counter = {0};
    CHECK_OK(tidings_log_set(TIDINGS_LOG_LEVEL_TRACE, ignore_line, NULL, NULL, &error));
    tidings_client *client = connect_with(NULL);
    CHECK(tidings_client_fd(client) >= 0);
    CHECK_OK(tidings_client_on_state(client, ignore_state, &counter, count_drop, &error));
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", NULL, count_event, &counter, count_drop, NULL, &error));
    CHECK_OK(tidings_client_subscribe(client, "posts", "*", NULL, NULL, NULL, NULL, NULL, &error));
    tidings_source *source = NULL;
    char stream[256];
    snprintf(stream, sizeof stream, "%s/api/realtime", url);
    CHECK_OK(tidings_source_new(stream, NULL, &source, &error));
    AWAIT(tidings_source_state(source) == TIDINGS_STATE_LIVE);

    int told[2];
    CHECK(pipe(told) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        be_a_child(client, source, &counter, told[1]);
    }
    close(told[1]);
    char word = 0;
    waits_for = "the child";
    CHECK(read(told[0], &word, 1) == 1);
    close(told[0]);
    CHECK(waitpid(child, NULL, 0) == child);
    // Nothing that the child did has reached the parent's connection.
    AWAIT(counter.calls == 1);
    post(client, "from the parent");
    AWAIT(counter.calls == 2);
    tidings_stats stats;
    CHECK_OK(tidings_client_stats(client, &stats, sizeof stats, &error));
    CHECK(stats.connects == 1 && stats.streams == 1);
    CHECK(tidings_source_state(source) == TIDINGS_STATE_LIVE);
    tidings_source_free(source);
    tidings_client_free(client);
    AWAIT(counter.drops == 2);
    CHECK_OK(tidings_log_set(TIDINGS_LOG_LEVEL_OFF, NULL, NULL, NULL, &error));
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"next", close_ends_every_wait},
        {"send", close_ends_requests},
        {"eight", eight_threads_subscribe_and_unsubscribe},
        {"many", ten_thousand_subscriptions_come_and_go},
        {"fd", the_descriptor_is_readable_while_there_is_something},
        {"signals", signals_are_for_the_hosts_threads},
        {"fork", a_forked_child_is_told_and_can_begin_anew},
        {NULL, NULL},
    };
    return run_tests(tests, argc, argv);
}
