// tidings for C++17: the handles of tidings.h as move-only classes, functions as callbacks, and exceptions.
//
//     tidings::client client("http://127.0.0.1:8090");
//     auto posts = client.subscribe("posts", "*", [](const tidings::event &event) {
//         std::cout << event.action_name() << ' ' << event.record().value_or("") << '\n';
//     });
//     std::cin.get();
//
// For threads and fork, see tidings.h. A std::string_view or a reference that a class returns belongs to that object. A call
// that fails throws tidings::error. An exception that leaves a callback is passed to the handler set by
// tidings::on_exception(); the default handler ends the process (std::terminate).
//
// It needs only tidings.h, the C library and the standard library, and nothing of it is compiled into the library.
#ifndef TIDINGS_HPP
#define TIDINGS_HPP

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tidings.h"

namespace tidings {

using milliseconds = std::chrono::milliseconds;

// ---- Errors -------------------------------------------------------------------------------------------------

/// Why a call failed, or a subscription ended. what() is one line for people.
class error : public std::runtime_error {
public:
    /// Copies the borrowed error.
    explicit error(const tidings_error *from)
        : std::runtime_error(from ? tidings_error_message(from) : "no error"),
          status_(tidings_error_status(from)), http_status_(tidings_error_http_status(from)) {
        std::size_t len = 0;
        if (const char *body = tidings_error_body(from, &len)) {
            body_.assign(body, len);
        }
        if (auto ms = tidings_error_retry_after_ms(from); ms >= 0) {
            retry_after_ = milliseconds(ms);
        }
        if (auto messages = tidings_error_messages(from); messages >= 0) {
            messages_ = static_cast<std::uint64_t>(messages);
        }
        for (std::size_t i = 0; const char *name = tidings_error_header_name(from, i); i++) {
            headers_.emplace(name, tidings_error_header(from, name));
        }
    }

    tidings_status status() const noexcept { return status_; }
    /// The HTTP status of the server's answer; 0 if there was none.
    std::uint16_t http_status() const noexcept { return http_status_; }
    /// The body of the server's answer.
    const std::string &body() const noexcept { return body_; }
    /// The headers of the server's answer, with their names in lower case.
    const std::map<std::string, std::string> &headers() const noexcept { return headers_; }
    std::optional<milliseconds> retry_after() const noexcept { return retry_after_; }
    /// The number of messages before the answer of an event source was cut.
    std::optional<std::uint64_t> messages() const noexcept { return messages_; }

private:
    tidings_status status_;
    std::uint16_t http_status_;
    std::string body_;
    std::map<std::string, std::string> headers_;
    std::optional<milliseconds> retry_after_;
    std::optional<std::uint64_t> messages_;
};

/// A handler for exceptions that leave a callback. It runs on the thread of that callback; what it throws itself ends the process.
using exception_handler = void (*)(std::exception_ptr);

/// Sets the handler of the process, and returns the previous one; nullptr restores the default. Threads: any.
inline exception_handler on_exception(exception_handler handler);

namespace detail {

template <auto Free> struct freer {
    template <typename T> void operator()(T *object) const noexcept { Free(object); }
};
template <typename T, auto Free> using owned = std::unique_ptr<T, freer<Free>>;

using owned_error = owned<tidings_error, tidings_error_free>;
using owned_string = owned<char, tidings_string_free>;

/// The `error` argument of a C call; throws the error that the call returned.
class outcome {
public:
    operator tidings_error **() noexcept { return &raw_; }
    void check(tidings_status status) {
        owned_error error(std::exchange(raw_, nullptr));
        if (status != TIDINGS_OK) {
            throw tidings::error(error.get());
        }
    }

private:
    tidings_error *raw_ = nullptr;
};

template <typename Call> void call(Call &&call) {
    outcome outcome;
    outcome.check(call(static_cast<tidings_error **>(outcome)));
}

/// For setters of options, which return a status only.
inline void check(tidings_status status) {
    if (status != TIDINGS_OK) {
        throw std::invalid_argument(tidings_status_name(status));
    }
}

inline std::optional<std::string> take(char *text) {
    owned_string owned(text);
    return text ? std::optional<std::string>(text) : std::nullopt;
}

inline std::optional<std::string_view> view(const char *text) noexcept {
    return text ? std::optional<std::string_view>(text) : std::nullopt;
}

inline std::optional<std::string_view> view(const char *text, std::size_t len) noexcept {
    return text ? std::optional(std::string_view(text, len)) : std::nullopt;
}

inline std::optional<std::chrono::system_clock::time_point> moment(std::int64_t unix_ms) noexcept {
    using std::chrono::system_clock;
    return unix_ms < 0 ? std::nullopt : std::optional(system_clock::time_point(milliseconds(unix_ms)));
}

inline const char *c_str(const std::optional<std::string> &text) noexcept { return text ? text->c_str() : nullptr; }

inline std::int64_t limit(std::optional<milliseconds> timeout) noexcept {
    return timeout ? (timeout->count() < 0 ? 0 : timeout->count()) : -1;
}

inline std::uint64_t count(milliseconds time) noexcept {
    return time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count());
}

[[noreturn]] inline void terminate(std::exception_ptr) { std::terminate(); }
inline std::atomic<exception_handler> handler = terminate;

/// Runs a callback of the host: no exception may pass through C.
template <typename Function> void guarded(Function &&function) noexcept {
    try {
        function();
    } catch (...) {
        handler.load()(std::current_exception());
    }
}

template <typename Function> void drop(void *function) { delete static_cast<Function *>(function); }

/// Hands a function over to the library, which frees it with drop().
template <typename Function> void *given(Function &&function) {
    return new std::decay_t<Function>(std::forward<Function>(function));
}

} // namespace detail

inline exception_handler on_exception(exception_handler handler) {
    return detail::handler.exchange(handler ? handler : detail::terminate);
}

// ---- Events and states --------------------------------------------------------------------------------------

/// A list of texts.
inline std::vector<std::string> strings(const tidings_strings *list) {
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < tidings_strings_len(list); i++) {
        texts.emplace_back(tidings_strings_get(list, i));
    }
    return texts;
}

/// A state with its details.
struct state {
    tidings_state kind;
    tidings_reason reason;
    /// The state with its reason, for people.
    std::string text;
    std::optional<tidings::error> error;
    std::optional<milliseconds> retry_in;
    /// With TIDINGS_STATE_SUSPENDED, for how long there has been no connection.
    std::optional<milliseconds> offline;

    explicit state(const tidings_state_info *info)
        : kind(tidings_state_info_state(info)), reason(tidings_state_info_reason(info)),
          text(detail::view(tidings_state_info_text(info)).value_or("")) {
        if (auto *why = tidings_state_info_error(info)) {
            error.emplace(why);
        }
        if (auto ms = tidings_state_info_retry_in_ms(info); ms >= 0) {
            retry_in = milliseconds(ms);
        }
        if (auto ms = tidings_state_info_offline_ms(info); ms >= 0) {
            offline = milliseconds(ms);
        }
    }
};

/// One event of a subscription. Copies share the payload.
class event {
public:
    explicit event(const tidings_event *borrowed) : raw_(tidings_event_clone(borrowed)) {}
    event(const event &other) : event(other.get()) {}
    event(event &&) noexcept = default;
    event &operator=(event other) noexcept {
        raw_.swap(other.raw_);
        return *this;
    }

    tidings_action action() const noexcept { return tidings_event_action(get()); }
    std::string_view action_name() const noexcept { return tidings_action_name(action()); }
    bool is_notice() const noexcept { return tidings_event_is_notice(get()); }
    std::uint64_t subscription() const noexcept { return tidings_event_subscription(get()); }
    /// Of a call that did not wait, and has ended.
    std::uint64_t call() const noexcept { return tidings_event_call(get()); }
    /// The body of the response to send_async().
    std::optional<std::string_view> response_body() const noexcept {
        std::size_t len = 0;
        const char *body = tidings_response_body(tidings_event_response(get()), &len);
        return detail::view(body, len);
    }
    std::optional<std::string_view> topic() const noexcept { return detail::view(tidings_event_topic(get())); }
    std::optional<std::string_view> name() const noexcept { return detail::view(tidings_event_name(get())); }
    std::optional<std::string_view> record_id() const noexcept { return detail::view(tidings_event_record_id(get())); }
    /// The record as JSON text.
    std::optional<std::string_view> record() const noexcept {
        return detail::view(tidings_event_record(get()), tidings_event_record_len(get()));
    }
    /// The whole payload as JSON text.
    std::optional<std::string_view> json() const noexcept {
        return detail::view(tidings_event_json(get()), tidings_event_json_len(get()));
    }
    /// The payload as received; empty for notices.
    std::string_view data() const noexcept {
        std::size_t len = 0;
        const char *data = tidings_event_data(get(), &len);
        return data ? std::string_view(data, len) : std::string_view();
    }
    std::uint64_t lagged() const noexcept { return tidings_event_lagged(get()); }
    tidings_gap_reason gap_reason() const noexcept { return tidings_event_gap_reason(get()); }
    std::optional<std::chrono::system_clock::time_point> gap_since() const noexcept {
        return detail::moment(tidings_event_gap_since_ms(get()));
    }
    std::optional<std::chrono::system_clock::time_point> gap_until() const noexcept {
        return detail::moment(tidings_event_gap_until_ms(get()));
    }
    std::optional<milliseconds> gap_duration() const noexcept {
        auto ms = tidings_event_gap_duration_ms(get());
        return ms < 0 ? std::nullopt : std::optional(milliseconds(ms));
    }
    std::optional<tidings::error> error() const {
        auto *why = tidings_event_error(get());
        return why ? std::optional<tidings::error>(why) : std::nullopt;
    }
    std::optional<tidings::state> state() const {
        auto *state = tidings_event_state(get());
        return state ? std::optional<tidings::state>(state) : std::nullopt;
    }
    std::vector<std::string> topics() const { return strings(tidings_event_topics(get())); }

    const tidings_event *get() const noexcept { return raw_.get(); }

private:
    detail::owned<tidings_event, tidings_event_free> raw_;
};

/// A request for a token: answer it immediately or later. Destroying it without an answer counts as a failure.
class token_request {
public:
    explicit token_request(tidings_token_request *raw) noexcept : raw_(raw) {}
    void answer(const std::string &token) { detail::check(tidings_token_request_answer(raw_.release(), token.c_str())); }
    void answer_guest() { detail::check(tidings_token_request_answer(raw_.release(), nullptr)); }
    void fail(const std::string &message) { detail::check(tidings_token_request_fail(raw_.release(), message.c_str())); }

private:
    detail::owned<tidings_token_request, tidings_token_request_free> raw_;
};

/// The response to a request.
class response {
public:
    explicit response(tidings_response *raw) noexcept : raw_(raw) {}
    std::uint16_t status() const noexcept { return tidings_response_status(raw_.get()); }
    std::optional<std::string_view> header(const std::string &name) const noexcept {
        return detail::view(tidings_response_header(raw_.get(), name.c_str()));
    }
    std::string_view body() const noexcept {
        std::size_t len = 0;
        const char *body = tidings_response_body(raw_.get(), &len);
        return body ? std::string_view(body, len) : std::string_view();
    }

private:
    detail::owned<tidings_response, tidings_response_free> raw_;
};

// ---- Options ------------------------------------------------------------------------------------------------

/// Options for creating clients. See tidings_client_options_...().
class client_options {
public:
    client_options() : raw_(tidings_client_options_new()) {}
    client_options &token(const std::string &token, const std::optional<std::string> &record = {}) {
        return set(tidings_client_options_set_token_record, token.c_str(), detail::c_str(record));
    }
    client_options &header(const std::string &name, const std::string &value) {
        return set(tidings_client_options_add_header, name.c_str(), value.c_str());
    }
    client_options &user_agent(const std::string &name) {
        return set(tidings_client_options_set_user_agent, name.c_str());
    }
    client_options &rustbaas(const std::string &realm, const std::string &app) {
        return set(tidings_client_options_set_rustbaas, realm.c_str(), app.c_str());
    }
    client_options &rustbaas_workspace(const std::string &workspace, const std::string &app) {
        return set(tidings_client_options_set_rustbaas_workspace, workspace.c_str(), app.c_str());
    }
    client_options &heartbeat(milliseconds interval) {
        return set(tidings_client_options_set_heartbeat, detail::count(interval));
    }
    client_options &token_in_query() { return set(tidings_client_options_set_token_in_query); }
    client_options &ca_pem(std::string_view pem) {
        return set(tidings_client_options_set_ca_pem, pem.data(), pem.size());
    }
    client_options &client_certificate(std::string_view chain, std::string_view key) {
        return set(tidings_client_options_set_client_certificate, chain.data(), chain.size(), key.data(), key.size());
    }
    client_options &proxy(const std::string &url) { return set(tidings_client_options_set_proxy, url.c_str()); }
    client_options &no_proxy() { return set(tidings_client_options_set_proxy, nullptr); }
    client_options &connect_timeout(milliseconds timeout) {
        return set(tidings_client_options_set_connect_timeout, detail::count(timeout));
    }
    client_options &subscribe_timeout(milliseconds timeout) {
        return set(tidings_client_options_set_subscribe_timeout, detail::count(timeout));
    }
    client_options &backoff(milliseconds min, milliseconds max) {
        return set(tidings_client_options_set_backoff, detail::count(min), detail::count(max));
    }
    client_options &queue(std::size_t events, tidings_overflow overflow) {
        return set(tidings_client_options_set_queue, events, overflow);
    }
    client_options &message_limit(std::size_t bytes) { return set(tidings_client_options_set_message_limit, bytes); }
    client_options &identity_check(milliseconds interval) {
        return set(tidings_client_options_set_identity_check, detail::count(interval));
    }
    client_options &notices(bool wanted = true) { return set(tidings_client_options_set_notices, wanted); }
    /// The callback for token requests, which runs on a thread of its own for each request; an empty function removes it.
    client_options &on_token(std::function<void(token_request)> function) {
        using function_type = std::function<void(token_request)>;
        tidings_token_callback callback = [](tidings_token_request *request, void *data) {
            detail::guarded([&] { (*static_cast<function_type *>(data))(token_request(request)); });
        };
        void *data = function ? detail::given(std::move(function)) : nullptr;
        return set(tidings_client_options_on_token, data ? callback : nullptr, data, detail::drop<function_type>);
    }

    const tidings_client_options *get() const noexcept { return raw_.get(); }

private:
    template <typename Setter, typename... Arguments> client_options &set(Setter setter, Arguments... arguments) {
        detail::check(setter(raw_.get(), arguments...));
        return *this;
    }

    detail::owned<tidings_client_options, tidings_client_options_free> raw_;
};

/// Options for subscribing. See tidings_subscribe_options_...().
class subscribe_options {
public:
    subscribe_options() : raw_(tidings_subscribe_options_new()) {}
    subscribe_options &filter(const std::string &expression) {
        return set(tidings_subscribe_options_set_filter, expression.c_str());
    }
    subscribe_options &expand(const std::string &relations) {
        return set(tidings_subscribe_options_set_expand, relations.c_str());
    }
    subscribe_options &fields(const std::string &fields) {
        return set(tidings_subscribe_options_set_fields, fields.c_str());
    }
    subscribe_options &query(const std::string &name, const std::string &value) {
        return set(tidings_subscribe_options_add_query, name.c_str(), value.c_str());
    }
    subscribe_options &header(const std::string &name, const std::string &value) {
        return set(tidings_subscribe_options_add_header, name.c_str(), value.c_str());
    }
    subscribe_options &queue(std::size_t events, tidings_overflow overflow) {
        return set(tidings_subscribe_options_set_queue, events, overflow);
    }
    subscribe_options &wait(bool wanted) { return set(tidings_subscribe_options_set_wait, wanted); }
    subscribe_options &timeout(milliseconds timeout) {
        return set(tidings_subscribe_options_set_timeout, detail::count(timeout));
    }

    const tidings_subscribe_options *get() const noexcept { return raw_.get(); }

private:
    template <typename Setter, typename... Arguments> subscribe_options &set(Setter setter, Arguments... arguments) {
        detail::check(setter(raw_.get(), arguments...));
        return *this;
    }

    detail::owned<tidings_subscribe_options, tidings_subscribe_options_free> raw_;
};

/// Options for requests. See tidings_request_options_...().
class request_options {
public:
    request_options() : raw_(tidings_request_options_new()) {}
    request_options &query(const std::string &name, const std::string &value) {
        detail::check(tidings_request_options_add_query(raw_.get(), name.c_str(), value.c_str()));
        return *this;
    }
    request_options &header(const std::string &name, const std::string &value) {
        detail::check(tidings_request_options_add_header(raw_.get(), name.c_str(), value.c_str()));
        return *this;
    }
    request_options &body(std::string_view data, const std::string &content_type) {
        detail::check(
            tidings_request_options_set_body(raw_.get(), data.data(), data.size(), content_type.c_str()));
        return *this;
    }
    request_options &timeout(milliseconds timeout) {
        detail::check(tidings_request_options_set_timeout(raw_.get(), detail::count(timeout)));
        return *this;
    }

    const tidings_request_options *get() const noexcept { return raw_.get(); }

private:
    detail::owned<tidings_request_options, tidings_request_options_free> raw_;
};

// ---- The client ---------------------------------------------------------------------------------------------

/// Replaces the placeholders {:name} of a filter expression by values, a JSON object. See tidings_filter().
inline std::string filter(const std::string &expression, const std::string &values) {
    char *text = nullptr;
    detail::call([&](auto error) { return tidings_filter(expression.c_str(), values.c_str(), &text, error); });
    return *detail::take(text);
}

class client;

/// A subscription. Its destructor unsubscribes, unless it was detached or the client is gone.
class subscription {
public:
    subscription(subscription &&other) noexcept
        : client_(std::move(other.client_)), id_(std::exchange(other.id_, 0)) {}
    subscription &operator=(subscription &&other) noexcept {
        unsubscribe();
        client_ = std::move(other.client_);
        id_ = std::exchange(other.id_, 0);
        return *this;
    }
    ~subscription() { unsubscribe(); }

    std::uint64_t id() const noexcept { return id_; }
    /// Keeps the subscription alive without this object, and returns its id.
    std::uint64_t detach() noexcept { return std::exchange(id_, 0); }
    void unsubscribe() noexcept {
        if (auto client = client_.lock()) {
            tidings_client_unsubscribe(client.get(), id_, nullptr);
        }
        id_ = 0;
    }
    tidings_subscription_state state() const noexcept {
        auto client = client_.lock();
        return client ? tidings_client_subscription_state(client.get(), id_) : TIDINGS_SUBSCRIPTION_STATE_ENDED;
    }
    std::uint64_t lost() const noexcept {
        auto client = client_.lock();
        return client ? tidings_client_subscription_lost(client.get(), id_) : 0;
    }
    /// Leaves events in its own queue, or goes on: see tidings_client_pause().
    void pause(bool paused) {
        if (auto client = client_.lock()) {
            detail::call([&](auto error) { return tidings_client_pause(client.get(), id_, paused, error); });
        }
    }

private:
    friend class client;
    subscription(std::weak_ptr<tidings_client> client, std::uint64_t id) noexcept
        : client_(std::move(client)), id_(id) {}

    std::weak_ptr<tidings_client> client_;
    std::uint64_t id_;
};

// ---- Live views ---------------------------------------------------------------------------------------------

/// Options for live views. See tidings_watch_options_...().
class watch_options {
public:
    watch_options() : raw_(tidings_watch_options_new()) {}
    watch_options &filter(const std::string &expression) {
        return set(tidings_watch_options_set_filter, expression.c_str());
    }
    watch_options &sort(const std::string &fields) { return set(tidings_watch_options_set_sort, fields.c_str()); }
    watch_options &limit(std::size_t rows) { return set(tidings_watch_options_set_limit, rows); }
    watch_options &slack(std::size_t rows) { return set(tidings_watch_options_set_slack, rows); }
    watch_options &expand(const std::string &relations) {
        return set(tidings_watch_options_set_expand, relations.c_str());
    }
    /// 0: never.
    watch_options &audit(milliseconds interval) {
        return set(tidings_watch_options_set_audit, detail::count(interval));
    }
    watch_options &filter_on_server(bool wanted = true) {
        return set(tidings_watch_options_set_filter_on_server, wanted);
    }
    watch_options &wait(bool wanted) { return set(tidings_watch_options_set_wait, wanted); }
    watch_options &timeout(milliseconds timeout) {
        return set(tidings_watch_options_set_timeout, detail::count(timeout));
    }

    const tidings_watch_options *get() const noexcept { return raw_.get(); }

private:
    template <typename Setter, typename... Arguments> watch_options &set(Setter setter, Arguments... arguments) {
        detail::check(setter(raw_.get(), arguments...));
        return *this;
    }

    detail::owned<tidings_watch_options, tidings_watch_options_free> raw_;
};

/// The records of a view at one moment, in their order.
class rows {
public:
    /// Takes what a function of tidings.h has given.
    explicit rows(tidings_rows *raw) noexcept : owned_(raw), raw_(raw) {}
    /// Reads rows that belong to somebody else, and must outlive this.
    explicit rows(const tidings_rows *lent) noexcept : raw_(lent) {}

    std::size_t size() const noexcept { return tidings_rows_len(raw_); }
    std::string_view id(std::size_t index) const noexcept {
        return detail::view(tidings_rows_id(raw_, index)).value_or("");
    }
    /// A record as JSON text; empty if there is none.
    std::string_view operator[](std::size_t index) const noexcept {
        std::size_t len = 0;
        const char *record = tidings_rows_record(raw_, index, &len);
        return record ? std::string_view(record, len) : std::string_view();
    }
    /// All records as one JSON array.
    std::string_view array() const noexcept {
        std::size_t len = 0;
        const char *array = tidings_rows_array(raw_, &len);
        return array ? std::string_view(array, len) : std::string_view();
    }

private:
    detail::owned<tidings_rows, tidings_rows_free> owned_;
    const tidings_rows *raw_;
};

/// What one delta does to the list: see tidings_delta_kind. The texts belong to the changes.
struct delta {
    tidings_delta_kind kind;
    /// SIZE_MAX where there is none.
    std::size_t from, to;
    tidings_remove_reason why;
    std::string_view id, record, old;
};

/// A batch of changes of a view.
class changes {
public:
    /// Takes what tidings_view_next() has given.
    explicit changes(tidings_changes *raw) noexcept : owned_(raw), raw_(raw) {}
    /// Reads what a callback was lent.
    explicit changes(const tidings_changes *lent) noexcept : raw_(lent) {}

    std::size_t size() const noexcept { return tidings_changes_len(raw_); }
    delta operator[](std::size_t index) const noexcept {
        std::size_t len = 0, old_len = 0;
        const char *record = tidings_changes_record(raw_, index, &len), *old = tidings_changes_old(raw_, index, &old_len);
        return {tidings_changes_kind(raw_, index),
                tidings_changes_from(raw_, index),
                tidings_changes_to(raw_, index),
                tidings_changes_why(raw_, index),
                detail::view(tidings_changes_id(raw_, index)).value_or(""),
                detail::view(record, len).value_or(""),
                detail::view(old, old_len).value_or("")};
    }
    /// The rows after these changes. They belong to the changes.
    tidings::rows rows() const noexcept { return tidings::rows(tidings_changes_rows(raw_)); }
    tidings_freshness freshness() const noexcept { return tidings_changes_freshness(raw_); }
    std::optional<tidings::error> error() const {
        auto *why = tidings_changes_error(raw_);
        return why ? std::optional<tidings::error>(why) : std::nullopt;
    }

private:
    detail::owned<tidings_changes, tidings_changes_free> owned_;
    const tidings_changes *raw_;
};

/// A live view: see tidings_client_watch(). Its destructor ends it.
class view {
public:
    std::uint64_t id() const noexcept { return tidings_view_id(raw()); }
    /// The next changes; none when the timeout expires. Throws when nothing more comes.
    std::optional<changes> next(std::optional<milliseconds> timeout = {}) {
        tidings_changes *made = nullptr;
        detail::call([&](auto error) { return tidings_view_next(raw(), detail::limit(timeout), &made, error); });
        return made ? std::optional<changes>(std::in_place, made) : std::nullopt;
    }
    tidings::rows rows() const {
        tidings_rows *made = nullptr;
        detail::call([&](auto error) { return tidings_view_rows(raw(), &made, error); });
        return tidings::rows(made);
    }
    tidings_freshness freshness() const noexcept { return tidings_view_freshness(raw()); }
    /// How long the rows have been in doubt; when they are proven, how long ago they were compared with the server's list.
    milliseconds since() const noexcept { return milliseconds(tidings_view_since_ms(raw())); }
    /// What ended the view, or put it in doubt.
    std::optional<tidings::error> error() const {
        detail::owned_error why(tidings_view_error(raw()));
        return why ? std::optional<tidings::error>(why.get()) : std::nullopt;
    }
    /// Compares it with the server's list: afterwards the rows show every write that was committed before the call.
    void prove(std::optional<milliseconds> timeout = {}) {
        detail::call([&](auto error) { return tidings_view_prove(raw(), detail::limit(timeout), error); });
    }
    void close() {
        detail::call([&](auto error) { return tidings_view_close(raw(), error); });
    }

    tidings_view *raw() const noexcept { return raw_.get(); }

private:
    friend class client;
    explicit view(tidings_view *raw) noexcept : raw_(raw) {}

    detail::owned<tidings_view, tidings_view_free> raw_;
};

// ---- Clients ------------------------------------------------------------------------------------------------

/// A client of one server. Its destructor closes it: see tidings_client_free().
class client {
public:
    using event_function = std::function<void(const event &)>;

    explicit client(const std::string &url) : client(url, nullptr) {}
    client(const std::string &url, const client_options &options) : client(url, options.get()) {}

    /// Passes each event to a function, which is called on a thread of the client.
    [[nodiscard]] subscription subscribe(const std::string &collection, const std::string &topic,
                                         event_function function, const subscribe_options &options = {}) {
        return subscribed(std::move(function), [&](auto... rest) {
            return tidings_client_subscribe(raw(), collection.c_str(), topic.c_str(), options.get(), rest...);
        });
    }
    /// Puts events into the queue: see next().
    [[nodiscard]] subscription subscribe(const std::string &collection, const std::string &topic,
                                         const subscribe_options &options = {}) {
        return subscribe(collection, topic, nullptr, options);
    }
    /// The same for any topic.
    [[nodiscard]] subscription subscribe_topic(const std::string &topic, event_function function,
                                               const subscribe_options &options = {}) {
        return subscribed(std::move(function), [&](auto... rest) {
            return tidings_client_subscribe_topic(raw(), topic.c_str(), options.get(), rest...);
        });
    }
    [[nodiscard]] subscription subscribe_topic(const std::string &topic, const subscribe_options &options = {}) {
        return subscribe_topic(topic, nullptr, options);
    }

    /// A live view of the collection's records. Changes come by view::next(), and the queue tells of them.
    [[nodiscard]] view watch(const std::string &collection, const watch_options &options = {}) {
        return watched(collection, nullptr, options);
    }
    /// The same; changes are passed to a function, which is called on a thread of the client.
    [[nodiscard]] view watch(const std::string &collection, std::function<void(const changes &)> function,
                             const watch_options &options = {}) {
        return watched(collection, std::move(function), options);
    }

    /// send() without waiting: its result is an event TIDINGS_ACTION_COMPLETED of the queue, with this id as event::call().
    std::uint64_t send_async(const std::string &method, const std::string &path,
                             const std::optional<std::string> &body = {}, const request_options &options = {}) {
        return submitted([&](auto... rest) {
            return tidings_client_send_async(raw(), method.c_str(), path.c_str(), detail::c_str(body), options.get(), nullptr,
                                             nullptr, rest...);
        });
    }
    std::uint64_t auth_with_password_async(const std::string &collection, const std::string &identity,
                                           const std::string &password) {
        return submitted([&](auto... rest) {
            return tidings_client_auth_with_password_async(raw(), collection.c_str(), identity.c_str(), password.c_str(),
                                                           nullptr, nullptr, rest...);
        });
    }
    std::uint64_t auth_refresh_async(const std::string &collection) {
        return submitted([&](auto... rest) {
            return tidings_client_auth_refresh_async(raw(), collection.c_str(), nullptr, nullptr, rest...);
        });
    }
    std::uint64_t prove_async(const view &shown) {
        return submitted(
            [&](auto... rest) { return tidings_client_prove_async(raw(), shown.raw(), nullptr, nullptr, rest...); });
    }
    /// subscribe() into the queue without waiting: its first event is TIDINGS_ACTION_ACKNOWLEDGED, or TIDINGS_ACTION_ENDED.
    [[nodiscard]] subscription subscribe_async(const std::string &collection, const std::string &topic,
                                               const subscribe_options &options = {}) {
        return subscription(raw_, submitted([&](auto... rest) {
                                return tidings_client_subscribe_async(raw(), collection.c_str(), topic.c_str(),
                                                                      options.get(), nullptr, nullptr, rest...);
                            }));
    }
    /// Whether the call was running; then nothing of it comes into the queue.
    bool cancel(std::uint64_t call) {
        bool was_running = false;
        detail::call([&](auto error) { return tidings_client_cancel(raw(), call, &was_running, error); });
        return was_running;
    }

    std::size_t unsubscribe(const std::string &collection, const std::optional<std::string> &topic = {}) {
        std::size_t count = 0;
        detail::call([&](auto error) {
            return tidings_client_unsubscribe_collection(raw(), collection.c_str(), detail::c_str(topic), &count, error);
        });
        return count;
    }
    std::size_t unsubscribe_topic(const std::string &topic) {
        std::size_t count = 0;
        detail::call([&](auto error) { return tidings_client_unsubscribe_topic(raw(), topic.c_str(), &count, error); });
        return count;
    }
    std::size_t unsubscribe_prefix(const std::string &prefix) {
        std::size_t count = 0;
        detail::call(
            [&](auto error) { return tidings_client_unsubscribe_prefix(raw(), prefix.c_str(), &count, error); });
        return count;
    }
    std::size_t unsubscribe_all() {
        std::size_t count = 0;
        detail::call([&](auto error) { return tidings_client_unsubscribe_all(raw(), &count, error); });
        return count;
    }

    /// The next events of the queue, up to `most`; none when the timeout expires. Without a timeout it waits indefinitely.
    std::vector<event> next(std::size_t most, std::optional<milliseconds> timeout = {}) {
        detail::owned<tidings_batch, tidings_batch_free> batch(tidings_batch_new());
        detail::call([&](auto error) {
            return tidings_client_next(raw(), batch.get(), most, detail::limit(timeout), error);
        });
        std::vector<event> events;
        events.reserve(tidings_batch_len(batch.get()));
        for (std::size_t i = 0; i < tidings_batch_len(batch.get()); i++) {
            events.emplace_back(tidings_batch_event(batch.get(), i));
        }
        return events;
    }
    /// A descriptor that is readable exactly while next() would not wait.
    int fd() const noexcept { return tidings_client_fd(raw()); }

    tidings_state state() const noexcept { return tidings_client_state(raw()); }
    tidings::state state_info() const {
        tidings_state_info *info = nullptr;
        detail::call([&](auto error) { return tidings_client_state_info(raw(), &info, error); });
        detail::owned<tidings_state_info, tidings_state_info_free> owned(info);
        return tidings::state(info);
    }
    void on_state(std::function<void(const tidings::state &)> function) {
        using function_type = std::function<void(const tidings::state &)>;
        tidings_state_callback callback = [](const tidings_state_info *info, void *data) {
            detail::guarded([&] { (*static_cast<function_type *>(data))(tidings::state(info)); });
        };
        void *data = function ? detail::given(std::move(function)) : nullptr;
        detail::call([&](auto error) {
            return tidings_client_on_state(raw(), data ? callback : nullptr, data, detail::drop<function_type>, error);
        });
    }
    void on_disconnect(std::function<void(const std::vector<std::string> &)> function) {
        using function_type = std::function<void(const std::vector<std::string> &)>;
        tidings_disconnect_callback callback = [](const tidings_strings *topics, void *data) {
            detail::guarded([&] { (*static_cast<function_type *>(data))(strings(topics)); });
        };
        void *data = function ? detail::given(std::move(function)) : nullptr;
        detail::call([&](auto error) {
            return tidings_client_on_disconnect(raw(), data ? callback : nullptr, data, detail::drop<function_type>,
                                                error);
        });
    }
    void network_changed() {
        detail::call([&](auto error) { return tidings_client_network_changed(raw(), error); });
    }

    /// Logs in, and returns the user's record as JSON text.
    std::string auth_with_password(const std::string &collection, const std::string &identity,
                                   const std::string &password) {
        char *record = nullptr;
        detail::call([&](auto error) {
            return tidings_client_auth_with_password(raw(), collection.c_str(), identity.c_str(), password.c_str(),
                                                     &record, error);
        });
        return *detail::take(record);
    }
    std::string auth_with_oauth2(const std::string &collection, const std::string &provider,
                                 std::function<void(std::string_view)> open) {
        using function_type = std::function<void(std::string_view)>;
        char *record = nullptr;
        tidings_open_callback callback = [](const char *url, void *data) {
            detail::guarded([&] { (*static_cast<function_type *>(data))(url); });
        };
        void *data = open ? detail::given(std::move(open)) : nullptr;
        detail::call([&](auto error) {
            return tidings_client_auth_with_oauth2(raw(), collection.c_str(), provider.c_str(), data ? callback : nullptr,
                                                   data, detail::drop<function_type>, &record, error);
        });
        return *detail::take(record);
    }
    std::string auth_refresh(const std::string &collection) {
        char *record = nullptr;
        detail::call([&](auto error) { return tidings_client_auth_refresh(raw(), collection.c_str(), &record, error); });
        return *detail::take(record);
    }
    void set_token(const std::string &token, const std::optional<std::string> &record = {}) {
        detail::call(
            [&](auto error) { return tidings_client_set_token(raw(), token.c_str(), detail::c_str(record), error); });
    }
    void clear_token() {
        detail::call([&](auto error) { return tidings_client_set_token(raw(), nullptr, nullptr, error); });
    }
    std::optional<std::string> token() const { return text(tidings_client_token); }
    std::optional<std::string> auth_record() const { return text(tidings_client_auth_record); }
    bool auth_is_valid() const noexcept { return tidings_client_auth_is_valid(raw()); }

    /// Sends one request with the client's token; `body` is JSON text.
    response send(const std::string &method, const std::string &path, const std::optional<std::string> &body = {},
                  const request_options &options = {}) {
        tidings_response *answer = nullptr;
        detail::call([&](auto error) {
            return tidings_client_send(raw(), method.c_str(), path.c_str(), detail::c_str(body), options.get(), &answer,
                                       error);
        });
        return response(answer);
    }

    std::optional<std::string> id() const { return text(tidings_client_id); }
    std::vector<std::string> active_subscriptions() const {
        tidings_strings *topics = nullptr;
        detail::call([&](auto error) { return tidings_client_active_subscriptions(raw(), &topics, error); });
        detail::owned<tidings_strings, tidings_strings_free> owned(topics);
        return strings(topics);
    }
    tidings_stats stats() const {
        tidings_stats stats{};
        detail::call([&](auto error) { return tidings_client_stats(raw(), &stats, sizeof stats, error); });
        return stats;
    }

    /// Ends all subscriptions and all waiting calls.
    void close() {
        detail::call([&](auto error) { return tidings_client_close(raw(), error); });
    }

    tidings_client *raw() const noexcept { return raw_.get(); }

private:
    client(const std::string &url, const tidings_client_options *options) {
        tidings_client *made = nullptr;
        detail::call([&](auto error) { return tidings_client_new(url.c_str(), options, &made, error); });
        raw_.reset(made, tidings_client_free);
    }

    template <typename Subscribe> subscription subscribed(event_function function, Subscribe &&subscribe) {
        tidings_event_callback callback = [](const tidings_event *borrowed, void *data) {
            detail::guarded([&] { (*static_cast<event_function *>(data))(event(borrowed)); });
        };
        void *data = function ? detail::given(std::move(function)) : nullptr;
        std::uint64_t id = 0;
        detail::call([&](auto error) {
            return subscribe(data ? callback : nullptr, data, detail::drop<event_function>, &id, error);
        });
        return subscription(raw_, id);
    }

    view watched(const std::string &collection, std::function<void(const changes &)> function,
                 const watch_options &options) {
        using function_type = std::function<void(const changes &)>;
        tidings_changes_callback callback = [](const tidings_changes *lent, void *data) {
            detail::guarded([&] { (*static_cast<function_type *>(data))(changes(lent)); });
        };
        void *data = function ? detail::given(std::move(function)) : nullptr;
        tidings_view *made = nullptr;
        detail::call([&](auto error) {
            return tidings_client_watch(raw(), collection.c_str(), options.get(), data ? callback : nullptr, data,
                                        detail::drop<function_type>, &made, error);
        });
        return view(made);
    }

    template <typename Submit> std::uint64_t submitted(Submit &&submit) {
        std::uint64_t id = 0;
        detail::call([&](auto error) { return submit(&id, error); });
        return id;
    }

    template <typename Getter> std::optional<std::string> text(Getter getter) const {
        char *text = nullptr;
        detail::call([&](auto error) { return getter(raw(), &text, error); });
        return detail::take(text);
    }

    /// Shared so that subscriptions know when it is gone.
    std::shared_ptr<tidings_client> raw_;
};

// ---- Event sources ------------------------------------------------------------------------------------------

/// What one connection of an event source is made with, for the callback that is given one, until it returns.
class source_request {
public:
    explicit source_request(tidings_source_request *raw) noexcept : raw_(raw) {}
    source_request &url(const std::string &url) {
        detail::check(tidings_source_request_set_url(raw_, url.c_str()));
        return *this;
    }
    source_request &token(const std::string &token) {
        detail::check(tidings_source_request_set_token(raw_, token.c_str()));
        return *this;
    }
    source_request &header(const std::string &name, const std::string &value) {
        detail::check(tidings_source_request_add_header(raw_, name.c_str(), value.c_str()));
        return *this;
    }

private:
    tidings_source_request *raw_;
};

/// Options for creating event sources. See tidings_source_options_...().
class source_options {
public:
    source_options() : raw_(tidings_source_options_new()) {}
    source_options &method(const std::string &method) { return set(tidings_source_options_set_method, method.c_str()); }
    source_options &header(const std::string &name, const std::string &value) {
        return set(tidings_source_options_add_header, name.c_str(), value.c_str());
    }
    source_options &body(std::string_view data) {
        return set(tidings_source_options_set_body, data.data(), data.size());
    }
    source_options &token(const std::string &token) { return set(tidings_source_options_set_token, token.c_str()); }
    source_options &last_event_id(const std::string &id) {
        return set(tidings_source_options_set_last_event_id, id.c_str());
    }
    source_options &read_timeout(milliseconds timeout) {
        return set(tidings_source_options_set_read_timeout, detail::count(timeout));
    }
    source_options &connect_timeout(milliseconds timeout) {
        return set(tidings_source_options_set_connect_timeout, detail::count(timeout));
    }
    source_options &retry(milliseconds time) { return set(tidings_source_options_set_retry, detail::count(time)); }
    source_options &backoff(milliseconds min, milliseconds max) {
        return set(tidings_source_options_set_backoff, detail::count(min), detail::count(max));
    }
    source_options &once() { return set(tidings_source_options_set_once); }
    source_options &reconnect(bool wanted) { return set(tidings_source_options_set_reconnect, wanted); }
    source_options &max_tries(std::uint32_t tries) { return set(tidings_source_options_set_max_tries, tries); }
    source_options &retry_for(milliseconds time) {
        return set(tidings_source_options_set_retry_for, detail::count(time));
    }
    source_options &retry_forever() { return set(tidings_source_options_set_retry_forever); }
    source_options &accept_type(const std::string &content_type) {
        return set(tidings_source_options_add_accept_type, content_type.c_str());
    }
    source_options &comments(bool wanted = true) { return set(tidings_source_options_set_comments, wanted); }
    source_options &message_limit(std::size_t bytes) { return set(tidings_source_options_set_message_limit, bytes); }
    source_options &user_agent(const std::string &name) {
        return set(tidings_source_options_set_user_agent, name.c_str());
    }
    source_options &ca_pem(std::string_view pem) {
        return set(tidings_source_options_set_ca_pem, pem.data(), pem.size());
    }
    source_options &client_certificate(std::string_view chain, std::string_view key) {
        return set(tidings_source_options_set_client_certificate, chain.data(), chain.size(), key.data(), key.size());
    }
    source_options &proxy(const std::string &url) { return set(tidings_source_options_set_proxy, url.c_str()); }
    source_options &no_proxy() { return set(tidings_source_options_set_proxy, nullptr); }
    /// Sets what each connection is made with. The function runs on a thread of its own; if it throws, the connection
    /// counts as failed. An empty function removes it.
    source_options &on_connect(std::function<void(source_request &)> function) {
        using function_type = std::function<void(source_request &)>;
        tidings_connect_callback callback = [](tidings_source_request *raw, void *data) {
            bool is_done = false;
            detail::guarded([&] {
                source_request request(raw);
                (*static_cast<function_type *>(data))(request);
                is_done = true;
            });
            if (!is_done) {
                tidings_source_request_fail(raw, "the function has thrown an exception");
            }
        };
        void *data = function ? detail::given(std::move(function)) : nullptr;
        return set(tidings_source_options_on_connect, data ? callback : nullptr, data, detail::drop<function_type>);
    }
    /// Whether to try again after an answer that is not an event stream, by its HTTP status; an empty function removes it.
    source_options &on_status(std::function<bool(int)> function) {
        using function_type = std::function<bool(int)>;
        tidings_status_callback callback = [](int status, void *data) {
            bool again = false;
            detail::guarded([&] { again = (*static_cast<function_type *>(data))(status); });
            return again;
        };
        void *data = function ? detail::given(std::move(function)) : nullptr;
        return set(tidings_source_options_on_status, data ? callback : nullptr, data, detail::drop<function_type>);
    }

    const tidings_source_options *get() const noexcept { return raw_.get(); }

private:
    template <typename Setter, typename... Arguments> source_options &set(Setter setter, Arguments... arguments) {
        detail::check(setter(raw_.get(), arguments...));
        return *this;
    }

    detail::owned<tidings_source_options, tidings_source_options_free> raw_;
};

/// One event of an event source.
class source_event {
public:
    explicit source_event(tidings_source_event *raw) noexcept : raw_(raw) {}
    tidings_source_kind kind() const noexcept { return tidings_source_event_kind(raw_.get()); }
    /// The event type of a message.
    std::string_view name() const noexcept { return detail::view(tidings_source_event_name(raw_.get())).value_or(""); }
    /// The data of a message, or the text of a comment.
    std::string_view data() const noexcept {
        std::size_t len = 0;
        const char *data = tidings_source_event_data(raw_.get(), &len);
        return data ? std::string_view(data, len) : std::string_view();
    }
    std::string_view id() const noexcept { return detail::view(tidings_source_event_id(raw_.get())).value_or(""); }
    tidings_reason reason() const noexcept { return tidings_source_event_reason(raw_.get()); }
    std::optional<tidings::error> error() const {
        auto *why = tidings_source_event_error(raw_.get());
        return why ? std::optional<tidings::error>(why) : std::nullopt;
    }
    std::optional<milliseconds> retry_in() const noexcept {
        auto ms = tidings_source_event_retry_in_ms(raw_.get());
        return ms < 0 ? std::nullopt : std::optional(milliseconds(ms));
    }
    std::optional<std::string_view> header(const std::string &name) const noexcept {
        return detail::view(tidings_source_event_header(raw_.get(), name.c_str()));
    }
    /// Of an open stream.
    std::uint16_t http_status() const noexcept { return tidings_source_event_http_status(raw_.get()); }
    std::optional<std::string_view> url() const noexcept { return detail::view(tidings_source_event_url(raw_.get())); }

private:
    detail::owned<tidings_source_event, tidings_source_event_free> raw_;
};

/// A client for any stream of server-sent events.
class source {
public:
    explicit source(const std::string &url) : source(url, nullptr) {}
    source(const std::string &url, const source_options &options) : source(url, options.get()) {}

    /// The next event; none when the timeout expires. Throws TIDINGS_ERR_CLOSED after the last one.
    std::optional<source_event> next(std::optional<milliseconds> timeout = {}) {
        tidings_source_event *event = nullptr;
        detail::call(
            [&](auto error) { return tidings_source_next(raw(), detail::limit(timeout), &event, error); });
        return event ? std::optional<source_event>(std::in_place, event) : std::nullopt;
    }
    int fd() const noexcept { return tidings_source_fd(raw()); }
    tidings_state state() const noexcept { return tidings_source_state(raw()); }
    std::string last_event_id() const {
        char *id = nullptr;
        detail::call([&](auto error) { return tidings_source_last_event_id(raw(), &id, error); });
        return detail::take(id).value_or("");
    }
    void restart() {
        detail::call([&](auto error) { return tidings_source_restart(raw(), error); });
    }
    void close() {
        detail::call([&](auto error) { return tidings_source_close(raw(), error); });
    }

    tidings_source *raw() const noexcept { return raw_.get(); }

private:
    source(const std::string &url, const tidings_source_options *options) {
        tidings_source *made = nullptr;
        detail::call([&](auto error) { return tidings_source_new(url.c_str(), options, &made, error); });
        raw_.reset(made);
    }

    detail::owned<tidings_source, tidings_source_free> raw_;
};

// ---- The log ------------------------------------------------------------------------------------------------

/// Sets the callback for log lines, for the whole process; an empty function removes it.
inline void set_log(tidings_log_level level, std::function<void(tidings_log_level, std::string_view)> function) {
    using function_type = std::function<void(tidings_log_level, std::string_view)>;
    tidings_log_callback callback = [](tidings_log_level line_level, const char *line, void *data) {
        detail::guarded([&] { (*static_cast<function_type *>(data))(line_level, line); });
    };
    void *data = function ? detail::given(std::move(function)) : nullptr;
    detail::call([&](auto error) {
        return tidings_log_set(level, data ? callback : nullptr, data, detail::drop<function_type>, error);
    });
}

} // namespace tidings

#endif
