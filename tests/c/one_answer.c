// Requests that must not be repeated: how often the server sees them, what the end was, what a refusal says.
#include "check.h"

#include <netinet/in.h>
#include <sys/socket.h>

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
#define WHOLE STREAM "Content-Length: 41\r\n\r\ndata: Hel\n\ndata: lo\n\ndata: [DONE]\n\nid: 7\n"
// It says that more is to come.
#define CUT STREAM "Content-Length: 1000\r\n\r\ndata: a\n\ndata: b\n\ndata: c"
#define BUSY "HTTP/1.1 429 Busy\r\nRetry-After: 1\r\nX-Request-Id: r1\r\nContent-Length: 32\r\n\r\n{\"error\":{\"message\":\"Too busy\"}}"

// Gives the answers in turn, and the last one to everybody after. One connection at a time.
struct server {
    const char *answers[4];
    bool holds; // the first one, until the end
    int listener, held;
    atomic_int posts;
    char request[4096]; // the last one
    char url[64];
    pthread_t thread;
};

static void *serve(void *arg) {
    struct server *server = arg;
    for (int next = 0;;) {
        int peer = accept(server->listener, NULL, NULL);
        if (peer < 0) {
            return NULL;
        }
        size_t len = 0;
        ssize_t count;
        char request[sizeof server->request] = "", *end = NULL, *body;
        while (!end && (count = recv(peer, request + len, sizeof request - 1 - len, 0)) > 0) {
            len += (size_t)count;
            request[len] = 0;
            // The bodies of these tests come with the head, or at once after it.
            body = strstr(request, "\r\n\r\n");
            end = body && (strncmp(request, "POST", 4) || strlen(body) > 4) ? body : NULL;
        }
        if (strncmp(request, "END", 3) == 0) {
            close(peer);
            continue;
        }
        memcpy(server->request, request, sizeof request);
        atomic_fetch_add(&server->posts, 1);
        const char *answer = server->answers[next];
        next += server->answers[next + 1] != NULL;
        (void)!send(peer, answer, strlen(answer), MSG_NOSIGNAL);
        if (server->holds && server->held < 0) {
            server->held = peer;
        } else {
            close(peer);
        }
    }
}

static void begin(struct server *server) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    server->held = -1;
    server->listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(server->listener, (struct sockaddr *)&address, len) == 0 && listen(server->listener, 16) == 0);
    CHECK(getsockname(server->listener, (struct sockaddr *)&address, &len) == 0);
    snprintf(server->url, sizeof server->url, "http://127.0.0.1:%d/chat?key=k", ntohs(address.sin_port));
    CHECK(pthread_create(&server->thread, NULL, serve, server) == 0);
}

// How many requests were made up to now.
static int posts(struct server *server) {
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    CHECK(getsockname(server->listener, (struct sockaddr *)&address, &len) == 0);
    // Connections are served in order, so when this one is closed all before it have been.
    int last = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(last, (struct sockaddr *)&address, len) == 0);
    CHECK(send(last, "END\r\n\r\n", 7, MSG_NOSIGNAL) == 7);
    char byte;
    CHECK(recv(last, &byte, 1, 0) == 0);
    close(last);
    return atomic_load(&server->posts);
}

static void end(struct server *server) {
    shutdown(server->listener, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listener);
    if (server->held >= 0) {
        close(server->held);
    }
}

static tidings_source_options *new_prompt(void) {
    tidings_source_options *options = tidings_source_options_new();
    CHECK_OK(tidings_source_options_set_body(options, "{}", 2));
    CHECK_OK(tidings_source_options_add_header(options, "Content-Type", "application/json"));
    CHECK_OK(tidings_source_options_set_proxy(options, NULL));
    CHECK_OK(tidings_source_options_set_retry(options, 1));
    CHECK_OK(tidings_source_options_set_backoff(options, 1, 1));
    return options;
}

static tidings_source *ask(const struct server *server, tidings_source_options *options) {
    tidings_source *source = NULL;
    CHECK_OK(tidings_source_new(server->url, options, &source, &error));
    tidings_source_options_free(options);
    return source;
}

static tidings_source_event *take(tidings_source *source, tidings_source_kind kind) {
    tidings_source_event *event = NULL;
    CHECK_OK(tidings_source_next(source, 60000, &event, &error));
    CHECK(tidings_source_event_kind(event) == kind);
    return event;
}

static void skip(tidings_source *source, tidings_source_kind kind) {
    tidings_source_event_free(take(source, kind));
}

static void message(tidings_source *source, const char *text) {
    tidings_source_event *event = take(source, TIDINGS_SOURCE_KIND_MESSAGE);
    CHECK(strcmp(tidings_source_event_data(event, NULL), text) == 0);
    tidings_source_event_free(event);
}

static void whole(tidings_source *source) {
    skip(source, TIDINGS_SOURCE_KIND_OPEN);
    message(source, "Hel");
    message(source, "lo");
    message(source, "[DONE]");
}

static void a_whole_answer_is_asked_for_once(void) {
    struct server server = {.answers = {WHOLE}};
    begin(&server);
    tidings_source *source = ask(&server, new_prompt());
    whole(source);
    tidings_source_event *event = take(source, TIDINGS_SOURCE_KIND_CLOSED);
    CHECK(tidings_source_event_error(event) == NULL);
    tidings_source_event_free(event);
    CHECK(posts(&server) == 1 && strncmp(server.request, "POST /chat?key=k HTTP/1.1\r\n", 27) == 0);
    tidings_source_free(source);
    CHECK(posts(&server) == 1);
    end(&server);
}

static void a_slow_host_that_stops_at_the_mark_does_not_ask_again(void) {
    struct server server = {.answers = {WHOLE}};
    begin(&server);
    tidings_source *source = ask(&server, new_prompt());
    // It reads ahead, and meets the end before the host does.
    AWAIT(tidings_source_state(source) == TIDINGS_STATE_CLOSED);
    whole(source);
    CHECK(posts(&server) == 1);
    tidings_source_free(source);
    CHECK(posts(&server) == 1);
    end(&server);
}

static void a_cut_is_an_error_that_says_how_much_had_come(void) {
    struct server server = {.answers = {CUT, WHOLE}};
    begin(&server);
    tidings_source *source = ask(&server, new_prompt());
    skip(source, TIDINGS_SOURCE_KIND_OPEN);
    message(source, "a");
    message(source, "b");
    tidings_source_event *event = take(source, TIDINGS_SOURCE_KIND_UNFINISHED);
    CHECK(strcmp(tidings_source_event_data(event, NULL), "c") == 0);
    tidings_source_event_free(event);
    event = take(source, TIDINGS_SOURCE_KIND_CLOSED);
    const tidings_error *why = tidings_source_event_error(event);
    CHECK(tidings_error_status(why) == TIDINGS_ERR_NETWORK && tidings_error_messages(why) == 2);
    CHECK(strncmp(tidings_error_message(why), "the stream was cut after 2 messages: ", 37) == 0);
    CHECK(tidings_error_http_status(why) == 0 && tidings_error_header(why, "x") == NULL);
    tidings_source_event_free(event);
    CHECK(posts(&server) == 1);
    tidings_source_free(source);
    end(&server);
}

static void silence_is_a_cut_too(void) {
    struct server server = {.answers = {CUT, WHOLE}, .holds = true};
    begin(&server);
    tidings_source_options *options = new_prompt();
    CHECK_OK(tidings_source_options_set_read_timeout(options, 200));
    tidings_source *source = ask(&server, options);
    skip(source, TIDINGS_SOURCE_KIND_OPEN);
    message(source, "a");
    message(source, "b");
    skip(source, TIDINGS_SOURCE_KIND_UNFINISHED);
    tidings_source_event *event = take(source, TIDINGS_SOURCE_KIND_CLOSED);
    const tidings_error *why = tidings_source_event_error(event);
    CHECK(tidings_error_status(why) == TIDINGS_ERR_TIMEOUT && tidings_error_messages(why) == 2);
    tidings_source_event_free(event);
    CHECK(posts(&server) == 1);
    tidings_source_free(source);
    end(&server);
}

static void freeing_it_in_the_middle_asks_for_nothing(void) {
    struct server server = {.answers = {CUT, WHOLE}, .holds = true};
    begin(&server);
    tidings_source *source = ask(&server, new_prompt());
    skip(source, TIDINGS_SOURCE_KIND_OPEN);
    message(source, "a");
    tidings_source_free(source);
    CHECK(posts(&server) == 1);
    end(&server);
}

static void a_busy_server_is_asked_a_second_time(void) {
    struct server server = {.answers = {BUSY, WHOLE}};
    begin(&server);
    tidings_source *source = ask(&server, new_prompt());
    tidings_source_event *event = take(source, TIDINGS_SOURCE_KIND_DISCONNECTED);
    CHECK(tidings_error_retry_after_ms(tidings_source_event_error(event)) == 1000);
    tidings_source_event_free(event);
    whole(source);
    skip(source, TIDINGS_SOURCE_KIND_CLOSED);
    CHECK(posts(&server) == 2);
    tidings_source_free(source);
    end(&server);
}

static void limits_end_it_with_a_readable_refusal(void) {
    struct server server = {.answers = {BUSY}};
    begin(&server);
    for (int tries = 1; tries <= 2; tries++) {
        tidings_source_options *options = new_prompt();
        if (tries == 1) {
            // Shorter than what the server asks for.
            CHECK_OK(tidings_source_options_set_retry_for(options, 500));
        } else {
            CHECK_OK(tidings_source_options_set_retry_forever(options));
            CHECK_OK(tidings_source_options_set_max_tries(options, 2));
        }
        tidings_source *source = ask(&server, options);
        for (int i = 1; i < tries; i++) {
            skip(source, TIDINGS_SOURCE_KIND_DISCONNECTED);
        }
        tidings_source_event *event = take(source, TIDINGS_SOURCE_KIND_CLOSED);
        const tidings_error *why = tidings_source_event_error(event);
        CHECK(tidings_error_status(why) == TIDINGS_ERR_REFUSED && tidings_error_http_status(why) == 429);
        CHECK(strstr(tidings_error_message(why), tries == 1 ? "gave up after 1 try in " : "gave up after 2 tries in "));
        CHECK(strstr(tidings_error_message(why), "the server answered 429: Too busy"));
        CHECK(strcmp(tidings_error_header(why, "X-Request-ID"), "r1") == 0);
        CHECK(strcmp(tidings_error_header_name(why, 1), "x-request-id") == 0 && !tidings_error_header_name(why, 9));
        CHECK(tidings_error_messages(why) == -1);
        tidings_source_event_free(event);
        tidings_source_free(source);
    }
    CHECK(posts(&server) == 3);
    end(&server);
}

static void a_200_that_is_no_stream_is_readable(void) {
    static const char json[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n"
                               "{\"error\":\"Loads\"}";
    static const char empty[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n";
    struct server server = {.answers = {json, empty}};
    begin(&server);
    for (int i = 0; i < 2; i++) {
        tidings_source *source = ask(&server, new_prompt());
        tidings_source_event *event = take(source, TIDINGS_SOURCE_KIND_CLOSED);
        const tidings_error *why = tidings_source_event_error(event);
        CHECK(tidings_error_status(why) == TIDINGS_ERR_PROTOCOL && tidings_error_http_status(why) == 200);
        size_t len = 77;
        const char *body = tidings_error_body(why, &len);
        // An empty body can be looked at too.
        CHECK(i == 0 ? len == 17 && memcmp(body, json + sizeof json - 18, len) == 0 : len == 0 && *body == 0);
        CHECK(i == 1 || strstr(tidings_error_message(why), "instead of an event stream: Loads"));
        tidings_source_event_free(event);
        tidings_source_free(source);
    }
    // The same, if the host knows better.
    tidings_source_options *options = new_prompt();
    CHECK_OK(tidings_source_options_add_accept_type(options, "text/plain"));
    tidings_source *source = ask(&server, options);
    skip(source, TIDINGS_SOURCE_KIND_OPEN);
    skip(source, TIDINGS_SOURCE_KIND_CLOSED);
    tidings_source_free(source);
    CHECK(posts(&server) == 3);
    end(&server);
}

static void reconnect_decides_against_the_method(void) {
    struct server server = {.answers = {WHOLE}};
    begin(&server);
    tidings_source_options *options = new_prompt();
    CHECK_OK(tidings_source_options_set_reconnect(options, true));
    tidings_source *source = ask(&server, options);
    whole(source);
    skip(source, TIDINGS_SOURCE_KIND_DISCONNECTED);
    whole(source);
    CHECK_OK(tidings_source_close(source, &error));
    tidings_source_free(source);
    end(&server);
}

static void empty_data_and_the_head_can_be_read(void) {
    struct server server = {.answers = {STREAM "Content-Length: 6\r\n\r\ndata\n\n"}};
    begin(&server);
    tidings_source *source = ask(&server, new_prompt());
    tidings_source_event *event = take(source, TIDINGS_SOURCE_KIND_OPEN);
    CHECK(tidings_source_event_http_status(event) == 200 && strcmp(tidings_source_event_url(event), server.url) == 0);
    tidings_source_event_free(event);
    event = take(source, TIDINGS_SOURCE_KIND_MESSAGE);
    size_t len = 77;
    CHECK(strcmp(tidings_source_event_data(event, &len), "") == 0 && len == 0);
    CHECK(tidings_source_event_http_status(event) == 0 && tidings_source_event_url(event) == NULL);
    tidings_source_event_free(event);
    tidings_source_free(source);
    end(&server);
}

static void give(tidings_source_request *request, void *user_data) {
    struct counter *counter = user_data;
    int number = atomic_fetch_add(&counter->calls, 1);
    char token[16];
    snprintf(token, sizeof token, "token-%d", number);
    CHECK_OK(tidings_source_request_set_token(request, token));
    CHECK_OK(tidings_source_request_add_header(request, "X-Number", token));
    if (number == 0) {
        CHECK_OK(tidings_source_request_fail(request, "the vault is closed"));
    }
}

static void each_connection_is_made_with_what_the_host_says_then(void) {
    struct server server = {.answers = {WHOLE}};
    begin(&server);
    struct counter first = {0}, counter = {0};
    tidings_source_options *options = new_prompt();
    CHECK_OK(tidings_source_options_on_connect(options, give, &first, count_drop));
    CHECK_OK(tidings_source_options_on_connect(options, give, &counter, count_drop));
    CHECK(first.drops == 1 && first.calls == 0);
    tidings_source *source = ask(&server, options);
    tidings_source_event *event = take(source, TIDINGS_SOURCE_KIND_DISCONNECTED);
    const tidings_error *why = tidings_source_event_error(event);
    CHECK(tidings_error_status(why) == TIDINGS_ERR_TOKEN_PROVIDER);
    CHECK(strstr(tidings_error_message(why), "the vault is closed"));
    tidings_source_event_free(event);
    whole(source);
    CHECK(posts(&server) == 1 && strcasestr(server.request, "authorization: Bearer token-1\r\n"));
    CHECK(strcasestr(server.request, "x-number: token-1\r\n"));
    tidings_source_free(source);
    AWAIT(counter.drops == 1);
    CHECK(counter.calls == 2);
    end(&server);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"whole", a_whole_answer_is_asked_for_once},
        {"slow", a_slow_host_that_stops_at_the_mark_does_not_ask_again},
        {"cut", a_cut_is_an_error_that_says_how_much_had_come},
        {"silence", silence_is_a_cut_too},
        {"freed", freeing_it_in_the_middle_asks_for_nothing},
        {"busy", a_busy_server_is_asked_a_second_time},
        {"limits", limits_end_it_with_a_readable_refusal},
        {"json", a_200_that_is_no_stream_is_readable},
        {"reconnect", reconnect_decides_against_the_method},
        {"empty", empty_data_and_the_head_can_be_read},
        {"connect", each_connection_is_made_with_what_the_host_says_then},
        {NULL, NULL},
    };
    return run_tests(tests, argc, argv);
}
