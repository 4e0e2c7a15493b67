// The C++ wrapper: that its handles end what they hold, and that exceptions cross neither way.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <tidings.hpp>
#include <unistd.h>

// As in check.h, which is C.
#ifdef _WIN32
#define HAS_DESCRIPTORS 0
#else
#define HAS_DESCRIPTORS 1
#endif

using namespace std::chrono_literals;

#define CHECK(condition)                                                                                               \
    ((condition) ? (void)0 : (std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition), _exit(1)))

static std::string url;
static const std::string records = "/api/collections/posts/records";
static std::atomic<int> exceptions{0};

static void post(tidings::client &client) {
    auto response = client.send("POST", records, R"({"title": "from C++"})");
    CHECK(response.status() == 200 && response.header("content-type") && !response.header("x-none"));
}

template <typename Condition> void await(Condition condition) {
    while (!condition()) {
        usleep(1000);
    }
}

static void handles_end_what_they_hold() {
    auto alive = std::make_shared<int>(0);
    std::weak_ptr<int> watch = alive;
    tidings::client client(url);
    std::optional<tidings::event> kept;
    std::promise<void> seen;
    {
        auto first = client.subscribe("posts", "*", [&, alive](const tidings::event &event) {
            kept = event;
            seen.set_value();
        });
        auto moved = std::move(first);
        CHECK(first.id() == 0 && moved.id() != 0 && moved.state() == TIDINGS_SUBSCRIPTION_STATE_LIVE);
        CHECK(client.active_subscriptions() == std::vector<std::string>{"posts/*"});
        alive.reset();
        post(client);
        seen.get_future().wait();
        CHECK(!watch.expired());
    }
    // The end of `moved` has unsubscribed, and the library has let go of the function.
    await([&] { return watch.expired(); });
    CHECK(client.stats().listeners == 0);
    CHECK(kept->action() == TIDINGS_ACTION_CREATE && kept->record()->find("from C++") != std::string_view::npos);
    tidings::event copy = *kept;
    kept.reset();
    CHECK(copy.topic() == "posts/*" && copy.record_id()->size() == 15 && !copy.data().empty() && !copy.error());

    std::optional<tidings::subscription> orphan;
    {
        tidings::client other(url);
        orphan = other.subscribe("posts", "*");
    }
    CHECK(orphan->state() == TIDINGS_SUBSCRIPTION_STATE_ENDED && orphan->lost() == 0);
}

static void errors_are_exceptions_with_a_status() {
    tidings::client client(url);
    try {
        client.send("GET", "/api/nothing");
        CHECK(!"it throws");
    } catch (const tidings::error &error) {
        CHECK(error.status() == TIDINGS_ERR_REFUSED && error.http_status() == 404 && !error.body().empty());
        CHECK(!error.retry_after() && std::string(error.what()).find("404") != std::string::npos);
    }
    auto held = std::make_shared<int>(0);
    try {
        auto none = client.subscribe("posts", "a b", [held](const tidings::event &) {});
        CHECK(!"it throws");
    } catch (const tidings::error &error) {
        CHECK(error.status() == TIDINGS_ERR_INVALID_TOPIC);
    }
    CHECK(held.use_count() == 1);
    try {
        tidings::client("nowhere");
        CHECK(!"it throws");
    } catch (const tidings::error &error) {
        CHECK(error.status() == TIDINGS_ERR_INVALID_URL);
    }
    client.close();
    try {
        client.next(1);
        CHECK(!"it throws");
    } catch (const tidings::error &error) {
        CHECK(error.status() == TIDINGS_ERR_CLOSED);
    }
}

static void an_exception_that_leaves_a_callback_goes_to_the_handler() {
    tidings::on_exception([](std::exception_ptr exception) {
        try {
            std::rethrow_exception(exception);
        } catch (const std::runtime_error &error) {
            CHECK(std::string(error.what()) == "too much");
            exceptions++;
        }
    });
    tidings::client client(url);
    auto posts = client.subscribe("posts", "*", [](const tidings::event &) { throw std::runtime_error("too much"); });
    post(client);
    post(client);
    await([] { return exceptions == 2; });
}

static void queue_state_and_login() {
    std::string record, token;
    {
        tidings::client client(url);
        record = client.auth_with_password("users", "ada@example.com", "secret");
        token = *client.token();
        CHECK(client.auth_is_valid() && client.auth_record() == record);
        client.clear_token();
        CHECK(!client.token());
    }
    int asked = 0;
    std::atomic<int> live{0};
    tidings::client_options options;
    options.notices().backoff(10ms, 1s).queue(10, TIDINGS_OVERFLOW_CONFLATE).on_token([&](tidings::token_request request) {
        asked++;
        request.answer(token);
    });
    tidings::client client(url, options);
    client.on_state([&](const tidings::state &state) { live += state.kind == TIDINGS_STATE_LIVE; });
    client.on_disconnect([](const std::vector<std::string> &) {});
    auto posts = client.subscribe("posts", "*", tidings::subscribe_options().filter(tidings::filter("title != {:t}", R"({"t": 1})")).timeout(60s));
    CHECK(asked == 1 && client.token() == token && client.id() && (client.fd() >= 0) == HAS_DESCRIPTORS);
    CHECK(client.state() == TIDINGS_STATE_LIVE && client.state_info().text == "live");
    await([&] { return live >= 1; });
    post(client);
    bool created = false;
    while (!created) {
        for (auto &event : client.next(10, 60s)) {
            created |= event.action() == TIDINGS_ACTION_CREATE;
            CHECK(event.action() != TIDINGS_ACTION_STATE || event.state().has_value());
        }
    }
    CHECK(client.next(10, 0ms).empty());
    CHECK(client.unsubscribe("posts") == 1 && client.unsubscribe_all() == 0);
}

static void an_empty_function_takes_the_handler_away() {
    auto held = std::make_shared<int>(0);
    tidings::client_options options;
    options.on_token([held](tidings::token_request) { CHECK(!"it is called"); }).on_token({});
    CHECK(held.use_count() == 1);
    tidings::client client(url, options);
    auto posts = client.subscribe("posts", "*");
    CHECK(!client.token());
    try {
        client.auth_with_oauth2("users", "nowhere", {});
        CHECK(!"it throws");
    } catch (const tidings::error &error) {
        CHECK(error.status() == TIDINGS_ERR_NULL_ARGUMENT);
    }
    // What is no event stream ends the source, as without a function.
    tidings::source_options source_options;
    source_options.on_status([](int) { return true; }).on_status(nullptr);
    tidings::source source(url + "/api/nothing", source_options);
    auto event = source.next(60s);
    CHECK(event->kind() == TIDINGS_SOURCE_KIND_CLOSED && event->error()->http_status() == 404);
    CHECK(event->error()->headers().count("content-type") == 1 && !event->error()->messages());
}

static void sources_and_the_log() {
    std::atomic<int> lines{0};
    tidings::set_log(TIDINGS_LOG_LEVEL_DEBUG, [&](tidings_log_level, std::string_view line) { lines += !line.empty(); });
    tidings::source source(url + "/api/realtime", tidings::source_options().header("X-Test", "1").on_status([](int) { return false; }));
    auto opened = source.next();
    CHECK(opened->kind() == TIDINGS_SOURCE_KIND_OPEN && opened->http_status() == 200 && opened->url() == url + "/api/realtime");
    auto message = source.next(60s);
    CHECK(message->name() == "PB_CONNECT" && !message->data().empty() && message->id() == source.last_event_id());
    CHECK(!source.next(1ms));
    {
        tidings::client client(url);
        auto posts = client.subscribe("posts", "*");
    }
    {
        std::atomic<int> asked{0};
        tidings::source_options options;
        options.reconnect(true).retry_for(60s).accept_type("text/plain").backoff(1ms, 1ms).retry(1ms).max_tries(2);
        options.on_connect([&](tidings::source_request &request) {
            if (asked++ == 0) {
                throw 1;
            }
            request.token("t").header("X-Test", "1").url(url + "/api/realtime");
        });
        static std::atomic<int> thrown{0};
        auto before = tidings::on_exception([](std::exception_ptr) { thrown++; });
        tidings::source asks(url + "/nowhere", options);
        auto why = asks.next(60s);
        CHECK(why->kind() == TIDINGS_SOURCE_KIND_DISCONNECTED && why->error()->status() == TIDINGS_ERR_TOKEN_PROVIDER);
        CHECK(asks.next(60s)->kind() == TIDINGS_SOURCE_KIND_OPEN && asked == 2 && thrown == 1);
        tidings::on_exception(before);
    }
    await([&] { return lines >= 1; });
    auto held = std::make_shared<int>(0);
    tidings::set_log(TIDINGS_LOG_LEVEL_ERROR, [held](tidings_log_level, std::string_view) {});
    tidings::set_log(TIDINGS_LOG_LEVEL_OFF, nullptr);
    await([&] { return held.use_count() == 1; });
}

static void views_and_calls_that_do_not_wait() {
    tidings::client client(url);
    tidings::watch_options options;
    options.filter("title ~ 'in C++'").sort("title").limit(10).slack(5).audit(0ms).timeout(60s);
    auto view = client.watch("posts", options);
    CHECK(view.freshness() == TIDINGS_FRESHNESS_PROVEN && view.since() >= 0ms && !view.error() && view.rows().size() == 0);
    auto reset = view.next(60s);
    CHECK(reset->size() == 1 && (*reset)[0].kind == TIDINGS_DELTA_KIND_RESET && (*reset)[0].from == SIZE_MAX);
    auto call = client.send_async("POST", "/api/collections/posts/records", R"({"title": "in C++"})");
    bool is_done = false, is_told = false;
    while (!is_done || !is_told) {
        for (auto &event : client.next(10, 60s)) {
            is_done |= event.call() == call && event.response_body()->find("in C++") != std::string_view::npos;
            is_told |= event.action() == TIDINGS_ACTION_CHANGED && event.subscription() == view.id();
        }
    }
    auto inserted = view.next(60s);
    while (inserted->size() == 0) {
        inserted = view.next(60s);
    }
    auto delta = (*inserted)[0];
    CHECK(delta.kind == TIDINGS_DELTA_KIND_INSERT && delta.to == 0 && delta.id.size() == 15 && delta.old.empty());
    CHECK(inserted->rows().id(0) == delta.id && inserted->rows()[0] == delta.record && inserted->rows()[1].empty());
    CHECK(inserted->rows().array().front() == '[' && !inserted->error());
    view.prove(60s);
    client.cancel(client.prove_async(view));
    client.cancel(client.auth_refresh_async("users"));
    client.cancel(client.auth_with_password_async("users", "nobody", "nothing"));
    auto posts = client.subscribe_async("posts", "*");
    posts.pause(true);
    posts.pause(false);

    std::atomic<std::size_t> rows{0};
    auto held = std::make_shared<int>(0);
    {
        auto told = client.watch("posts", [&, held](const tidings::changes &changes) { rows = changes.rows().size(); }, options);
        await([&] { return rows == 1; });
    }
    await([&] { return held.use_count() == 1; });
    try {
        (void)client.watch("posts", tidings::watch_options().filter("title ="));
        CHECK(!"it throws");
    } catch (const tidings::error &error) {
        CHECK(error.status() == TIDINGS_ERR_INVALID_ARGUMENT);
    }
    view.close();
    CHECK(view.freshness() == TIDINGS_FRESHNESS_ENDED && view.error()->status() == TIDINGS_ERR_CLOSED);
}

int main() {
    alarm(120);
    url = std::getenv("TIDINGS_HUB");
    for (auto test : {handles_end_what_they_hold, errors_are_exceptions_with_a_status,
                      an_exception_that_leaves_a_callback_goes_to_the_handler, queue_state_and_login,
                      an_empty_function_takes_the_handler_away, sources_and_the_log,
                      views_and_calls_that_do_not_wait}) {
        test();
        std::fprintf(stderr, "  ok \n");
    }
}
